//! The record on disk: `run.json` and `violations.csv`, in a folder that has its name only once it is whole.
//!
//! A run writes into `OUT/<scenario>/.partial-<UTC time>-<id>/`; [`RecordFolder::finish`] gives the folder its name
//! and points `OUT/latest` at it. What a crash leaves behind is therefore always marked as partial.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Cause, Record, SCHEMA_VERSION, Texts, Violation, ViolationClass};

/// The evidence but for the violations.
pub const RUN_FILE: &str = "run.json";
/// Each offending message with its history.
pub const VIOLATIONS_FILE: &str = "violations.csv";
/// The HdrHistogram interval log, which a run writes as it goes.
pub const LOG_FILE: &str = "latency.hlog";
/// Points at the newest record, beside the scenarios' folders.
pub const LATEST: &str = "latest";

const PARTIAL_PREFIX: &str = ".partial-";

/// Why a record could not be written or read. The text fits the sentence "the record was not kept: {error}".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("could not {action} `{}`{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is whole, but the pointer to it could not be set.
    #[error("the record is in `{}`, but `{}` could not be pointed at it", record.display(), latest.display())]
    Latest {
        /// Where the record is.
        record: PathBuf,
        /// The pointer.
        latest: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `run.json` is not what this program writes.
    #[error("`{}` is not a record", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// `violations.csv` is not what this program writes.
    #[error("`{}` is not a list of violations", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: csv::Error,
    },
    /// The record was written by another version of this program.
    #[error(
        "`{}` has schema_version {found}, and this program reads {SCHEMA_VERSION}: use the program that wrote it",
        path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// The version it says it has.
        found: u64,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full; free some space, or choose another folder with --out"
        }
        io::ErrorKind::PermissionDenied => ": not permitted; choose another folder with --out",
        _ => "",
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// A folder for one record that is being made.
#[derive(Debug)]
pub struct RecordFolder {
    out_dir: PathBuf,
    scenario: String,
    name: String,
}

/// Makes the folder for the record `id` of `scenario`, below `out_dir`, under its temporary name.
///
/// Characters of the scenario's name and of `id` that do not belong in a file's name become `-`.
///
/// # Errors
/// Where the system refuses.
pub fn create(
    out_dir: &Path,
    scenario: &str,
    started_at: jiff::Timestamp,
    id: &str,
) -> Result<RecordFolder, StoreError> {
    let name = format!("{}-{}", started_at.strftime("%Y%m%dT%H%M%SZ"), file_name(id));
    let folder = RecordFolder { out_dir: out_dir.to_owned(), scenario: file_name(scenario), name };
    fs::create_dir_all(folder.path()).map_err(io_error("make the folder", &folder.path()))?;
    Ok(folder)
}

/// `text` as one harmless part of a path.
fn file_name(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = text.chars().map(kept).collect();
    // A leading dot would hide the folder, or leave it for its parent.
    match name.trim_start_matches('.') {
        "" => "unnamed".to_owned(),
        visible => visible.to_owned(),
    }
}

impl RecordFolder {
    /// Where the record is written until it is whole.
    pub fn path(&self) -> PathBuf {
        self.out_dir.join(&self.scenario).join(format!("{PARTIAL_PREFIX}{}", self.name))
    }

    /// Where the record will be once it is whole.
    pub fn final_path(&self) -> PathBuf {
        self.out_dir.join(&self.scenario).join(&self.name)
    }

    /// Gives the folder its name and points `latest` at it. Returns where the record is.
    ///
    /// # Errors
    /// Where the system refuses. After [`StoreError::Latest`] the record itself is in place.
    pub fn finish(self) -> Result<PathBuf, StoreError> {
        let (partial, whole) = (self.path(), self.final_path());
        fs::rename(&partial, &whole).map_err(io_error("rename the folder", &partial))?;
        let latest = self.out_dir.join(LATEST);
        let target = Path::new(&self.scenario).join(&self.name);
        let new = self.out_dir.join(format!(".{LATEST}-{}", self.name));
        match point(&new, &target).and_then(|()| fs::rename(&new, &latest)) {
            Ok(()) => Ok(whole),
            Err(source) => {
                // Best effort: the pointer under its temporary name is of no use to anybody.
                let _ = fs::remove_file(&new);
                Err(StoreError::Latest { record: whole, latest, source })
            }
        }
    }
}

/// Makes `link` point at `target`: a symbolic link, or a file that holds the path where there are none.
fn point(link: &Path, target: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if std::os::unix::fs::symlink(target, link).is_ok() {
        return Ok(());
    }
    fs::write(link, format!("{}\n", target.display()))
}

impl Record {
    /// Writes `violations.csv` and then `run.json` into `folder`, which exists. A file that is there already is
    /// replaced only by a whole one.
    ///
    /// # Errors
    /// Where the system refuses; a full disk among them.
    pub fn write(&self, folder: &Path) -> Result<(), StoreError> {
        write_whole(&folder.join(VIOLATIONS_FILE), |out| write_violations(&self.account.violations, out))?;
        write_whole(&folder.join(RUN_FILE), |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// Reads the record in `folder`.
    ///
    /// # Errors
    /// Where a file is missing, unreadable, not what [`Record::write`] writes, or of another version.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(RUN_FILE);
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let not_json = |source| StoreError::Json { path: path.clone(), source };
        // The version first: what another version holds beside it is not ours to complain about.
        let version: Version = serde_json::from_str(&text).map_err(not_json)?;
        if version.schema_version != u64::from(SCHEMA_VERSION) {
            return Err(StoreError::Schema { path, found: version.schema_version });
        }
        let mut record: Self = serde_json::from_str(&text).map_err(not_json)?;
        record.account.violations = read_violations(&folder.join(VIOLATIONS_FILE))?;
        Ok(record)
    }
}

#[derive(Deserialize)]
struct Version {
    schema_version: u64,
}

/// Writes `path` under a temporary name, and renames it once it is whole.
fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StoreError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        // Dropping the buffer would swallow the error of a full disk.
        out.flush()
    });
    written.map_err(io_error("write", &partial))?;
    fs::rename(&partial, path).map_err(io_error("write", path))
}

/// Columns of `violations.csv`, in the order of [`ViolationRow`].
const VIOLATION_COLUMNS: [&str; 9] =
    ["class", "cause", "queue", "publisher", "sequence", "attempt", "intended_us", "observed_us", "history"];

type ViolationRow = (
    ViolationClass,
    Option<Cause>,
    Option<String>,
    Option<u16>,
    Option<u64>,
    Option<u8>,
    Option<u64>,
    Option<u64>,
    String,
);

fn write_violations(violations: &[Violation], out: &mut dyn Write) -> io::Result<()> {
    // The header is written by hand, so that a run without violations has one too.
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    writer.write_record(VIOLATION_COLUMNS)?;
    for v in violations {
        writer.serialize((
            v.class,
            v.cause,
            v.queue.as_deref(),
            v.publisher,
            v.sequence,
            v.attempt,
            v.intended_us,
            v.observed_us,
            &*v.history,
        ))?;
    }
    writer.flush()
}

fn read_violations(path: &Path) -> Result<Vec<Violation>, StoreError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let mut texts = Texts::default();
    let rows = reader.deserialize().map(|row| {
        let (class, cause, queue, publisher, sequence, attempt, intended_us, observed_us, history): ViolationRow = row?;
        let queue = queue.map(|queue| texts.keep(&queue));
        let history = texts.keep(&history);
        Ok(Violation { class, cause, queue, publisher, sequence, attempt, intended_us, observed_us, history })
    });
    rows.collect::<Result<_, csv::Error>>().map_err(|source| StoreError::Csv { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use proptest::prelude::*;

    use super::*;
    use crate::record::fixture;

    fn written(record: &Record) -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().expect("a folder");
        record.write(folder.path()).expect("written");
        let read = Record::read(folder.path()).expect("read");
        (folder, read)
    }

    #[test]
    fn what_is_written_reads_back() {
        for record in [fixture::record(), fixture::empty()] {
            let (folder, read) = written(&record);
            assert_eq!(read, record);
            let json: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(folder.path().join(RUN_FILE)).expect("text")).expect("json");
            assert_eq!(json["schema_version"], 1);
            assert!(json["account"].get("violations").is_none(), "violations stand in violations.csv only");
        }
    }

    #[test]
    fn a_phase_has_one_word_in_every_file() {
        use crate::record::Phase::{Audit, Broker, Drain, Heal, Load, Topology, Warmup};
        for phase in [Broker, Topology, Warmup, Load, Heal, Drain, Audit] {
            assert_eq!(serde_json::json!(phase), phase.to_string());
        }
    }

    #[test]
    fn a_run_without_violations_has_a_header() {
        let (folder, _) = written(&fixture::empty());
        let text = fs::read_to_string(folder.path().join(VIOLATIONS_FILE)).expect("text");
        assert_eq!(text.trim_end(), VIOLATION_COLUMNS.join(","));
    }

    #[test]
    fn another_version_is_refused() {
        let (folder, _) = written(&fixture::empty());
        fs::write(folder.path().join(RUN_FILE), r#"{ "schema_version": 2, "anything": [] }"#).expect("written");
        let error = Record::read(folder.path()).expect_err("another version");
        assert!(matches!(error, StoreError::Schema { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("schema_version 2, and this program reads 1"), "{error}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Record::read(folder.path()), Err(StoreError::Io { action: "read", .. })));
        fs::write(folder.path().join(RUN_FILE), "{").expect("written");
        assert!(matches!(Record::read(folder.path()), Err(StoreError::Json { .. })));
        fixture::record().write(folder.path()).expect("written");
        fs::write(folder.path().join(VIOLATIONS_FILE), "class\nstolen\n").expect("written");
        assert!(matches!(Record::read(folder.path()), Err(StoreError::Csv { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(format!("{RUN_FILE}.partial"));
        std::os::unix::fs::symlink("/dev/full", &file).expect("a link");
        let error = fixture::record().write(folder.path()).expect_err("no space");
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(error.source().is_some());
        assert!(!folder.path().join(RUN_FILE).exists());
    }

    #[test]
    fn a_folder_has_its_name_only_when_it_is_whole() {
        let out = tempfile::tempdir().expect("a folder");
        let at = "2026-11-21T05:17:19.5Z".parse().expect("a time");
        let folder = create(out.path(), "orders", at, "k3").expect("made");
        assert_eq!(folder.path(), out.path().join("orders/.partial-20261121T051719Z-k3"));
        assert!(folder.path().is_dir());
        // A crash here leaves the partial folder and nothing else.
        assert!(!folder.final_path().exists() && !out.path().join(LATEST).exists());
        fixture::record().write(&folder.path()).expect("written");
        let partial = folder.path();
        let whole = folder.finish().expect("finished");
        assert_eq!(whole, out.path().join("orders/20261121T051719Z-k3"));
        assert!(!partial.exists());
        assert_eq!(Record::read(&out.path().join(LATEST)).expect("through the pointer"), fixture::record());
    }

    #[test]
    fn latest_points_at_the_newest() {
        let out = tempfile::tempdir().expect("a folder");
        for (at, id) in [("2026-11-21T05:17:19Z", "a"), ("2026-11-21T05:18:00Z", "b")] {
            create(out.path(), "orders", at.parse().expect("a time"), id).and_then(RecordFolder::finish).expect("made");
        }
        let target = fs::read_link(out.path().join(LATEST)).expect("a link");
        assert_eq!(target, Path::new("orders/20261121T051800Z-b"));
        let entries = fs::read_dir(out.path()).expect("entries").count();
        assert_eq!(entries, 2, "the scenario's folder and `latest`, nothing temporary");
    }

    #[test]
    fn a_pointer_that_is_in_the_way_costs_no_record() {
        let out = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(out.path().join(LATEST).join("mine")).expect("made");
        let at = "2026-11-21T05:17:19Z".parse().expect("a time");
        let error = create(out.path(), "orders", at, "a").and_then(RecordFolder::finish).expect_err("in the way");
        let StoreError::Latest { record, .. } = error else { panic!("{error}") };
        assert!(record.is_dir());
    }

    #[test]
    fn names_stay_inside_their_folder() {
        for (text, name) in
            [("orders", "orders"), ("../../etc", "-..-etc"), ("..", "unnamed"), ("", "unnamed"), ("a/b c", "a-b-c")]
        {
            assert_eq!(file_name(text), name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_numbers_and_texts_read_back(
            mean_us in 0.0f64..1e12, cpu in 0.0f64..64.0, history in ".*", queue in ".+", count: u64,
        ) {
            let mut record = fixture::record();
            record.latency[0].mean_us = mean_us;
            record.intervals[0].generator_cpu_cores = cpu;
            record.totals.planned = count;
            record.account.violations[0].history = history.into();
            record.account.violations[0].queue = Some(queue.into());
            prop_assert_eq!(written(&record).1, record);
        }
    }
}
