//! Every output of a record says the same numbers, to the digit: `run.json`, the tables, the page and the terminal.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lurcher::analysis;
use lurcher::ledger::{Account, PublisherAccount, QueueAccount};
use lurcher::plan::expect::{CHAIN_COUNTS, CONNECTION_COUNTS, FATE_COUNTS};
use lurcher::record::{EffectsAccount, Record, fixture};
use lurcher::report::{self, terminal};
use proptest::prelude::*;

type Rows = Vec<BTreeMap<String, String>>;

/// A table as a program reads it that knows nothing but CSV.
fn table(folder: &Path, file: &str) -> Rows {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect(file);
    reader.deserialize().collect::<Result<_, _>>().expect(file)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a whole number"))
}

struct Written {
    folder: tempfile::TempDir,
    run: serde_json::Value,
}

fn write(record: &Record) -> Written {
    let folder = tempfile::tempdir().expect("a folder");
    record.write(folder.path()).expect("written");
    report::write_all(record, folder.path()).expect("written");
    let text = std::fs::read_to_string(folder.path().join("run.json")).expect("text");
    Written { folder, run: serde_json::from_str(&text).expect("json") }
}

impl Written {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn totals(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.run["totals"].clone()).expect("totals")
    }

    fn page(&self) -> String {
        std::fs::read_to_string(self.path().join("report.html")).expect("page")
    }

    fn summary(&self) -> BTreeMap<String, String> {
        table(self.path(), "summary.csv").into_iter().map(|row| (row["metric"].clone(), row["value"].clone())).collect()
    }
}

/// Numbers that `html` carries for programs; what people read beside each must be the same one.
fn numbers(html: &str) -> Vec<u64> {
    let numbers = html.split("<data value=\"").skip(1).map(|rest| {
        let (value, rest) = rest.split_once("\">").expect("a value");
        let (shown, _) = rest.split_once("</data>").expect("a text");
        assert_eq!(shown.replace(',', ""), value);
        number(value)
    });
    numbers.collect()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} after {from}")).0
}

fn totals_agree(written: &Written) {
    let (totals, summary) = (written.totals(), written.summary());
    for (word, count) in &totals {
        assert_eq!(number(&summary[word]), *count, "{word} in summary.csv");
    }
    let ledger = table(written.path(), "ledger.csv");
    let of_run = [&CONNECTION_COUNTS[..], &FATE_COUNTS, &CHAIN_COUNTS].concat();
    let is_of_run = |word: &str| of_run.contains(&word);
    for (word, count) in totals.iter().filter(|(word, _)| !is_of_run(word)) {
        let of_word = ledger.iter().filter(|row| row["class"] == *word);
        let sum: u64 = of_word.map(|row| number(&row["count"])).sum();
        assert_eq!(sum, *count, "{word} in ledger.csv");
    }
}

fn the_page_agrees(written: &Written) {
    let (totals, page) = (written.totals(), written.page());
    let producers = between(&page, "<table id=\"producers\">", "</table>");
    let last = producers.rsplit("<tr>").next().expect("a row");
    let words = ["planned", "published", "confirmed", "nacked", "returned", "unconfirmed", "sent", "unsent"];
    assert_eq!(numbers(last)[..words.len()], words.map(|word| totals[word]));
    let answers = between(&page, "<section id=\"correct\">", "</section>");
    let words = [
        "lost",
        "possibly_lost",
        "recovered",
        "duplicates",
        "republished",
        "redelivered",
        "unflagged",
        "phantom",
        "corrupt",
        "misordered",
        "dead_lettered",
        "removed_by_rule",
        "left_in_queue",
        "effects_applied",
        "effects_repeated",
        "effects_missing",
        "effects_unknown",
        "fates_foretold",
        "fates_differing",
        "fates_unexplained",
        "attempts",
        "attempts_max",
        "follow_ups_missing",
        "follow_ups_repeated",
        "ids_missing",
        "ids_crossed",
    ];
    // What no store says is not in the totals, nor are fates where no message has one of its own, nor chains where no
    // message leads to another.
    let known: Vec<u64> = words.iter().filter_map(|word| totals.get(*word)).copied().collect();
    assert!(known.len() >= words.len() - 13 && numbers(answers) == known, "{answers}");
    let conservation = numbers(between(&page, "<table id=\"conservation\">", "</table>"));
    for (column, word) in [(1, "consumed"), (2, "dead_lettered"), (3, "removed_by_rule"), (4, "left_in_queue")] {
        let rows: Vec<u64> = conservation.chunks(6).map(|row| row[column]).collect();
        let (all, each) = rows.split_last().expect("rows");
        assert_eq!((*all, each.iter().sum::<u64>()), (totals[word], totals[word]), "{word} on the page");
    }
}

fn the_terminal_agrees(record: &Record, written: &Written) {
    let screen = terminal::Screen { width: 40, colour: false };
    let text = terminal::render(record, written.path(), screen);
    for (word, label) in [("lost", "lost"), ("duplicates", "duplicates"), ("confirmed", "confirmed")] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{label} "))).expect(label);
        let shown = line.split_whitespace().last().expect("a number").replace(',', "");
        assert_eq!(number(&shown), written.totals()[word], "{word} on the terminal");
    }
    let json: serde_json::Value =
        serde_json::from_str(&terminal::json(record, written.path()).expect("json")).expect("json");
    assert_eq!(json["totals"], written.run["totals"]);
}

fn latencies_agree(record: &Record, written: &Written) {
    let summary = written.summary();
    let distribution = table(written.path(), "latency.csv");
    for latency in &record.latency {
        let name = if latency.fleet == "all" {
            latency.metric.clone()
        } else {
            format!("{}.{}", latency.metric, latency.fleet)
        };
        for (statistic, percentile) in [("p50", "50"), ("p99", "99"), ("p99.9", "99.9"), ("max", "100")] {
            let row = distribution.iter().find(|row| {
                (&row["metric"], &row["fleet"], row["percentile"].as_str())
                    == (&latency.metric, &latency.fleet, percentile)
            });
            assert_eq!(summary[&format!("{name}.{statistic}")], row.expect("a row")["value_us"], "{name}.{statistic}");
        }
        assert_eq!(number(&summary[&format!("{name}.count")]), latency.count);
    }
}

#[test]
fn all_outputs_of_the_fixture_agree() {
    let record = fixture::record();
    let written = write(&record);
    totals_agree(&written);
    the_page_agrees(&written);
    the_terminal_agrees(&record, &written);
    latencies_agree(&record, &written);
}

#[test]
fn intervals_add_up_to_what_the_summary_says() {
    let record = fixture::record();
    let written = write(&record);
    let rows = table(written.path(), "intervals.csv");
    let sum = |column: &str| rows.iter().map(|row| number(&row[column])).sum::<u64>();
    for word in ["published", "confirmed", "delivered", "consumed"] {
        assert_eq!(sum(word), written.totals()[word], "{word}");
        let in_load = rows.iter().filter(|row| row["phase"] == "load").map(|row| number(&row[word])).sum::<u64>();
        let per_s = in_load as f64 / (record.generator.load_us as f64 / 1e6);
        assert_eq!(written.summary()[&format!("throughput.{word}")], format!("{per_s:.3}"), "{word}");
    }
}

#[test]
fn each_violation_is_in_its_table() {
    let written = write(&fixture::record());
    let rows = table(written.path(), "violations.csv");
    let count = |class: &str| rows.iter().filter(|row| row["class"] == class).count() as u64;
    let totals = written.totals();
    for (class, word) in
        [("lost", "lost"), ("possibly_lost", "possibly_lost"), ("duplicate", "duplicates"), ("phantom", "phantom")]
    {
        assert_eq!(count(class), totals[word], "{class}");
    }
    assert_eq!(rows.len() as u64, written.run["account"]["violations_total"]);
}

#[test]
fn a_report_is_rebuilt_from_what_is_on_disk() {
    let written = write(&fixture::record());
    let read = Record::read(written.path()).expect("read");
    let again = tempfile::tempdir().expect("a folder");
    report::write_all(&read, again.path()).expect("written");
    for output in report::OUTPUTS {
        let [before, after] =
            [written.path(), again.path()].map(|folder| std::fs::read(folder.join(output.file)).expect(output.file));
        assert!(before == after, "{} differs", output.file);
    }
}

/// All files below `folder`, by their path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder").to_owned();
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// The README shows it. After a change of an output, `lurcher report reports/sample` writes it anew.
#[test]
fn the_shipped_record_is_what_would_be_written_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/sample");
    let record = Record::read(&folder).expect("the sample record");
    let mut unjudged = record.clone();
    unjudged.verdict = None;
    assert_eq!(record.verdict, Some(analysis::judge(&unjudged)), "it would be judged otherwise");
    let (mut shipped, today) = (files(&folder), files(write(&record).path()));
    // The run writes its log of latencies, and nobody else can: a record holds no histograms.
    assert!(shipped.remove(Path::new("latency.hlog")).is_some(), "it lacks its log");
    assert_eq!(shipped.keys().collect::<Vec<_>>(), today.keys().collect::<Vec<_>>());
    for (file, bytes) in &shipped {
        assert!(*bytes == today[file], "{} would be written otherwise", file.display());
    }
}

fn publisher() -> impl Strategy<Value = PublisherAccount> {
    prop::array::uniform7(0u64..1 << 40).prop_map(
        |[confirmed, nacked, returned, unconfirmed, sent, unsent, resends]| {
            let published = confirmed + nacked + returned + unconfirmed + sent;
            PublisherAccount {
                planned: published + unsent,
                published,
                confirmed,
                nacked,
                returned,
                unconfirmed,
                sent,
                unsent,
                resends,
            }
        },
    )
}

fn queue() -> impl Strategy<Value = QueueAccount> {
    let counts = prop::array::uniform19(0u64..1 << 40);
    (counts, "[a-z<>,\"&.]{1,12}", prop::collection::btree_map("[a-z_]{1,9}", 0u64..1 << 40, 0..4)).prop_map(
        |(counts, queue, dead_lettered)| {
            let [delivered, consumed, removed_by_rule, left_in_queue, lost, possibly_lost, recovered, rest @ ..] =
                counts;
            let [
                republished,
                redelivered,
                unflagged,
                phantom,
                corrupt,
                misordered,
                misrouted,
                acknowledged,
                redelivered_flag,
                requeued,
                rejected,
                retried,
            ] = rest;
            let dead: u64 = dead_lettered.values().sum();
            QueueAccount {
                queue,
                routed: consumed + dead + removed_by_rule + left_in_queue + lost,
                delivered,
                redelivered_flag,
                acknowledged,
                consumed,
                dead_lettered,
                removed_by_rule,
                left_in_queue,
                lost,
                possibly_lost,
                removed_unverified: 0,
                lost_among_several: 0,
                unaccounted: 0,
                recovered,
                republished,
                redelivered,
                unflagged,
                requeued,
                rejected,
                retried,
                phantom,
                corrupt,
                misordered,
                misrouted,
                effects: (misrouted % 2 == 0).then_some(EffectsAccount {
                    applied: consumed,
                    repeated: republished,
                    missing: lost,
                    unknown: phantom,
                }),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn all_outputs_of_any_books_agree(
        publishers in prop::collection::vec(publisher(), 3),
        queues in prop::collection::vec(queue(), 1..6),
        unroutable in 0u64..1 << 40,
        unroutable_unconfirmed in 0u64..1 << 40,
    ) {
        let account = Account { publishers, queues, unroutable, unroutable_unconfirmed, ..Account::default() };
        // The fixture's judgement is of other books.
        let record = Record { verdict: None, ..fixture::of_account(account) };
        let written = write(&record);
        totals_agree(&written);
        the_page_agrees(&written);
        the_terminal_agrees(&record, &written);
        prop_assert_eq!(Record::read(written.path()).expect("read"), record);
    }
}
