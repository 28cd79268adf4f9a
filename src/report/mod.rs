//! What people and programs read of a record: tables, plots, a page, and the terminal.
//!
//! May use `units`, `plan`, `record` and `analysis`. Everything here is a pure function of the record, and every number
//! goes through [`figure`], so that it is the same in every output. An output is one line in [`OUTPUTS`].

mod csv;
pub mod figure;
mod html;
mod plots;
mod recovery;
mod series;
pub mod summary;
pub mod terminal;
mod words;

use std::path::{Path, PathBuf};

use crate::record::Record;

/// Why one output could not be made. The text fits the sentence "the report is incomplete: {error}".
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("could not write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A table could not be made.
    #[error("could not make the table `{file}`")]
    Table {
        /// The file.
        file: &'static str,
        /// What went wrong.
        source: ::csv::Error,
    },
    /// A plot could not be drawn.
    #[error("could not draw `{file}`: {message}")]
    Plot {
        /// The file.
        file: &'static str,
        /// What went wrong.
        message: String,
    },
}

/// Outputs that could not be made; all others are written.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} files failed: {}", failures.len(), OUTPUTS.len(), listed(failures))]
pub struct ReportError {
    /// One for each file that is missing.
    pub failures: Vec<OutputError>,
}

impl ReportError {
    /// The same, after the folder `from` was renamed to `to`.
    pub fn moved(mut self, from: &Path, to: &Path) -> Self {
        for failure in &mut self.failures {
            if let OutputError::Write { path, .. } = failure
                && let Ok(file) = path.strip_prefix(from)
            {
                *path = to.join(file);
            }
        }
        self
    }
}

fn listed(failures: &[OutputError]) -> String {
    let with_cause = failures.iter().map(|failure| match std::error::Error::source(failure) {
        Some(cause) => format!("{failure}: {cause}"),
        None => failure.to_string(),
    });
    with_cause.collect::<Vec<_>>().join("; ")
}

/// One file of a report.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Path below the record's folder.
    pub file: &'static str,
    /// Makes the file's text.
    pub render: fn(&Record) -> Result<String, OutputError>,
}

/// Every file that is made from a record. `run.json` and `violations.csv` are the record itself.
pub const OUTPUTS: &[Output] = &[
    Output { file: csv::SUMMARY, render: csv::summary },
    Output { file: csv::INTERVALS, render: csv::intervals },
    Output { file: csv::LATENCY, render: csv::latency },
    Output { file: csv::LEDGER, render: csv::ledger },
    Output { file: csv::DEAD_LETTERS, render: csv::dead_letters },
    Output { file: csv::FATES, render: csv::fates },
    Output { file: csv::FAULTS, render: csv::faults },
    Output { file: csv::INCIDENTS, render: csv::incidents },
    Output { file: csv::QUEUES, render: csv::queues },
    Output { file: csv::BROKER, render: csv::broker },
    Output { file: plots::THROUGHPUT, render: plots::throughput },
    Output { file: plots::LATENCY_OVER_TIME, render: plots::latency_over_time },
    Output { file: plots::LATENCY_PERCENTILES, render: plots::latency_percentiles },
    Output { file: plots::BACKLOG, render: plots::backlog },
    Output { file: plots::DEAD_LETTERS, render: plots::dead_letters },
    Output { file: html::PAGE, render: html::page },
];

/// Makes every output of `record` in `folder`, which exists.
///
/// # Errors
/// Names each file that could not be made; the others are written all the same.
pub fn write_all(record: &Record, folder: &Path) -> Result<(), ReportError> {
    let failures: Vec<OutputError> = OUTPUTS.iter().filter_map(|output| write(output, record, folder).err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(ReportError { failures }) }
}

fn write(output: &Output, record: &Record, folder: &Path) -> Result<(), OutputError> {
    let path = folder.join(output.file);
    let text = (output.render)(record)?;
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| OutputError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixture;

    #[test]
    fn every_output_is_made_of_any_record() {
        for record in [fixture::record(), fixture::empty()] {
            let folder = tempfile::tempdir().expect("a folder");
            write_all(&record, folder.path()).expect("written");
            for output in OUTPUTS {
                let text = std::fs::read_to_string(folder.path().join(output.file)).expect(output.file);
                assert!(!text.is_empty(), "{} is empty", output.file);
            }
        }
    }

    #[test]
    fn a_failure_names_its_file_and_spares_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join(csv::LEDGER)).expect("a folder in the way");
        let error = write_all(&fixture::record(), folder.path()).expect_err("in the way");
        assert_eq!(error.failures.len(), 1);
        assert!(error.to_string().contains("ledger.csv"), "{error}");
        let moved = error.moved(folder.path(), Path::new("reports/orders/1")).to_string();
        assert!(moved.contains("could not write `reports/orders/1/ledger.csv`"), "{moved}");
        for output in OUTPUTS.iter().filter(|output| output.file != csv::LEDGER) {
            assert!(folder.path().join(output.file).is_file(), "{} is missing", output.file);
        }
    }
}
