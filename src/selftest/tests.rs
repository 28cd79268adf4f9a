//! What is planned, and that whatever differs from it is told: each number, each message and each word is put wrong in
//! turn.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::prediction::OFFENCES;
use super::sabotage::{MESSAGES, USED, WINDOW, orders};
use super::*;
use crate::plan::{self, ClientKind};
use crate::proxy::Hit;
use crate::record::{
    Check, Judgement, LatencySummary, PercentilePoint, Record, Totals, Verdict, Violation, ViolationClass, fixture,
};
use crate::scenario;
use crate::stamp::{MAX_SEQUENCE, Stamp};

const BOTH: [ClientKind; 2] = [ClientKind::Wire, ClientKind::Lapin];

fn stamp(sequence: u64) -> Stamp {
    Stamp { run: 1, publisher: 0, attempt: 0, sequence, intended_us: 5, lag_us: 0 }
}

proptest! {
    #[test]
    fn no_message_is_hit_twice(seed: u64) {
        let orders = orders(&Sabotage::ALL, seed);
        let times: BTreeSet<u64> = orders.iter().map(|order| order.picks.times).collect();
        prop_assert_eq!(times.len(), Sabotage::ALL.len(), "no number passes for another");
        for (place, order) in orders.iter().enumerate() {
            let picks = order.picks;
            prop_assert!(picks.times >= 3 && picks.every >= 3);
            let (window, last) = (100 + WINDOW * place as u64, picks.first + picks.every * (picks.times - 1));
            prop_assert!((window..window + USED).contains(&picks.first), "{order:?}");
            prop_assert!(last < window + USED, "{order:?}");
        }
        // Lost deliveries, corrupt ones and swaps are fewer events for others.
        let unseen: u64 = [1, 4, 6].map(|place| orders[place].picks.times).iter().sum();
        prop_assert!(USED + unseen <= WINDOW);
        let lost: u64 = orders[..2].iter().map(|order| order.picks.times).sum();
        prop_assert!(100 + WINDOW * 7 + unseen + lost < MESSAGES, "all come to their turn");
    }
}

#[test]
fn a_seed_draws_the_same_and_each_case_its_own() {
    let all = Case::named("all-classic").expect("a case");
    let seeds = |seed| BOTH.map(|client| CASES.map(|case| case.seed(seed, client)));
    assert_eq!(seeds(5), seeds(5));
    let distinct: BTreeSet<u64> = seeds(5).into_iter().flatten().collect();
    assert_eq!(distinct.len(), 2 * CASES.len());
    assert_eq!(all.orders(9), all.orders(9));
    assert_ne!(all.orders(9), all.orders(10));
    let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), CASES.len());
}

fn metric(expectation: &plan::Expectation) -> String {
    match expectation {
        plan::Expectation::Bound { metric, .. } => metric.to_string(),
        plan::Expectation::Guarantee(_) => "guarantee".to_owned(),
        plan::Expectation::Ordered => "ordered".to_owned(),
    }
}

#[test]
fn every_case_is_a_scenario_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    for (case, client) in CASES.iter().flat_map(|case| BOTH.map(|client| (case, client))) {
        let path = folder.path().join("scenario.toml");
        std::fs::write(&path, case.scenario(u64::from(u32::MAX), client)).expect("written");
        let loaded = scenario::load(&path, &[], &|_| None).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
        let plan = plan::resolve(&loaded.scenario, &|_| Err(std::io::Error::other("no file")));
        let plan = plan.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", case.name));
        assert_eq!((plan.producers[0].client, plan.consumers[0].client), (client, client));
        // What must fail is among what is expected.
        let prediction = case.prediction(&case.orders(1));
        let expected: BTreeSet<String> = plan.expect.iter().map(metric).collect();
        assert!(prediction.failing.iter().all(|metric| expected.contains(*metric)), "{}: {expected:?}", case.name);
        assert!(!expected.is_empty());
    }
}

/// A case, what is planned in it, and a record in which just that is found.
fn exact(name: &str) -> (Case, Prediction, Record) {
    let case = Case::named(name).expect("a case");
    let orders = case.orders(5);
    let mut prediction = case.prediction(&orders);
    for (order, first) in orders.iter().zip((0..).step_by(100)) {
        let hit = |n| match order.sabotage {
            Sabotage::Invent => Hit { had: stamp(n), became: stamp(MAX_SEQUENCE - n) },
            Sabotage::Corrupt => Hit { had: stamp(n), became: stamp(n ^ 1 << 30) },
            _ => Hit { had: stamp(n), became: stamp(n) },
        };
        let hits: Vec<Hit> = (first..first + order.picks.times).map(hit).collect();
        prediction.hit(order, order.picks.times, &hits);
    }
    let record = record(&prediction);
    (case, prediction, record)
}

fn record(prediction: &Prediction) -> Record {
    let mut totals = serde_json::to_value(Totals::default()).expect("JSON");
    for (word, number) in &prediction.counts {
        totals[*word] = (*number).into();
    }
    let totals = serde_json::from_value(totals).expect("words of the ledger");
    let check = |metric: &&str| Check {
        metric: (*metric).to_owned(),
        unit: String::new(),
        value: None,
        expectation: "== 0".to_owned(),
        verdict: Verdict::Fail,
        note: None,
    };
    let judgement = Judgement {
        verdict: prediction.verdict,
        reasons: prediction.reason.iter().map(|reason| format!("because {reason}, that is")).collect(),
        checks: prediction.failing.iter().map(check).collect(),
    };
    let mut record = Record { totals, verdict: Some(judgement), ..fixture::empty() };
    let violation = |(class, publisher, sequence): &Named| Violation {
        class: *class,
        cause: None,
        queue: None,
        publisher: *publisher,
        sequence: *sequence,
        attempt: None,
        intended_us: None,
        observed_us: None,
        history: "".into(),
    };
    record.account.violations = prediction.named.iter().flatten().map(violation).collect();
    // A list has its own order.
    record.account.violations.reverse();
    record.account.violations_total = record.account.violations.len() as u64;
    if let Some(band) = prediction.median {
        let point = PercentilePoint { percentile: 50.0, value_us: band.at_us, count: 50 };
        record.latency.push(LatencySummary {
            metric: "end_to_end".to_owned(),
            fleet: "all".to_owned(),
            count: 100,
            mean_us: 0.0,
            stdev_us: 0.0,
            percentiles: vec![point],
        });
    }
    record
}

fn differences(case: &Case, prediction: &Prediction, record: &Record) -> Vec<String> {
    compare(case, ClientKind::Wire, prediction, record).differences
}

#[test]
fn what_is_as_planned_is_exact() {
    for case in CASES {
        let (case, prediction, record) = exact(case.name);
        let row = compare(&case, ClientKind::Lapin, &prediction, &record);
        assert!(row.is_exact(), "{row:#?}");
        assert_eq!(row.planned.len(), row.found.len());
        assert!(!row.planned.is_empty());
    }
}

#[test]
fn each_count_that_is_one_off_is_told() {
    for name in ["control", "all-quorum", "overload", "no-message", "latency"] {
        let (case, prediction, record) = exact(name);
        let words: Vec<&str> = prediction.counts.keys().copied().collect();
        assert!(OFFENCES.iter().all(|offence| words.contains(offence)), "{name}: {words:?}");
        for (word, off) in words.iter().flat_map(|word| [-1, 1].map(|off| (*word, off))) {
            let mut totals = serde_json::to_value(&record.totals).expect("JSON");
            let Some(number) = totals[word].as_u64().and_then(|number| number.checked_add_signed(off)) else {
                continue;
            };
            totals[word] = number.into();
            let wrong = Record { totals: serde_json::from_value(totals).expect("totals"), ..record.clone() };
            let planned = prediction.counts[word];
            let row = compare(&case, ClientKind::Wire, &prediction, &wrong);
            let grouped = |number: u64| crate::report::figure::shown(number, "messages");
            let told = format!("{word}: planned {}, found {}", grouped(planned), grouped(number));
            assert_eq!(row.differences, [told], "{name}");
            assert!(row.found.contains(&format!("{} {word}", grouped(number))), "{name}: {row:?}");
            assert!(table::lines(&row).contains("DIFFERS"));
        }
    }
}

#[test]
fn each_message_that_is_another_is_told() {
    let (case, prediction, record) = exact("all-classic");
    let classes: BTreeSet<ViolationClass> = record.account.violations.iter().map(|it| it.class).collect();
    assert_eq!(classes.len(), 5, "{classes:?}");
    for class in classes {
        let place = record.account.violations.iter().position(|it| it.class == class).expect("one of it");
        let mut other = record.clone();
        other.account.violations[place].sequence = Some(77_777);
        let told = differences(&case, &prediction, &other);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("hit and not listed: ") && !told[0].contains("77777"), "{told:?}");
        assert!(told[1].starts_with("listed and not hit: ") && told[1].contains("0/77777"), "{told:?}");
        let mut without = record.clone();
        without.account.violations.remove(place);
        assert_eq!(differences(&case, &prediction, &without).len(), 2, "it is missing, and the total says so");
        let mut twice = record.clone();
        twice.account.violations.push(record.account.violations[place].clone());
        assert!(differences(&case, &prediction, &twice)[0].starts_with("listed and not hit"));
        let mut of_other = record.clone();
        of_other.account.violations[place].publisher = None;
        assert!(differences(&case, &prediction, &of_other)[1].contains("?/"));
    }
}

#[test]
fn each_word_that_is_another_is_told() {
    for case in CASES {
        let (case, prediction, record) = exact(case.name);
        let judgement = record.verdict.clone().expect("a verdict");
        let judged = |judgement: Judgement| Record { verdict: Some(judgement), ..record.clone() };
        for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Invalid] {
            let told = differences(&case, &prediction, &judged(Judgement { verdict, ..judgement.clone() }));
            assert_eq!(told.is_empty(), verdict == prediction.verdict, "{}: {told:?}", case.name);
        }
        let mut checks = judgement.checks.clone();
        if checks.pop().is_some() {
            let told = differences(&case, &prediction, &judged(Judgement { checks, ..judgement.clone() }));
            assert!(told[0].starts_with("failed expectations: planned "), "{told:?}");
        }
        if prediction.reason.is_some() {
            let reasons = vec!["another one".to_owned()];
            let row = compare(&case, ClientKind::Wire, &prediction, &judged(Judgement { reasons, ..judgement }));
            assert!(row.differences[0].contains("another one"), "{row:?}");
            assert_eq!(row.found, ["another reason"]);
        }
        let unjudged = Record { verdict: None, ..record.clone() };
        assert_eq!(differences(&case, &prediction, &unjudged), ["the run was not judged"]);
    }
}

#[test]
fn a_median_of_the_other_case_is_told() {
    let ((base, planned, record), (raised, planned_raised, record_raised)) =
        (exact("latency"), exact("latency-raised"));
    let (band, band_raised) = (planned.median.expect("a band"), planned_raised.median.expect("a band"));
    assert_eq!(band_raised.at_us * 10, band.at_us * 11, "10 %");
    assert!(band.at_us + band.off_us <= band_raised.at_us - band_raised.off_us, "no median is in both");
    let of = |mut record: Record, us| {
        record.latency[0].percentiles[0].value_us = us;
        record
    };
    for us in [band.at_us - band.off_us - 1, band.at_us + band.off_us + 1, band_raised.at_us] {
        let told = differences(&base, &planned, &of(record.clone(), us));
        assert!(told[0].starts_with("end_to_end: planned p50 1000 ± 50 ms, found p50 "), "{told:?}");
    }
    assert_eq!(differences(&raised, &planned_raised, &of(record_raised, band.at_us)).len(), 1);
    let none = Record { latency: Vec::new(), ..record };
    assert!(differences(&base, &planned, &none)[0].ends_with("found no p50"));
}

#[test]
fn what_the_proxy_did_not_do_is_told() {
    let case = Case::named("swap").expect("a case");
    let orders = case.orders(5);
    let times = orders[0].picks.times;
    let hits: Vec<Hit> = (0..times).map(|n| Hit { had: stamp(n), became: stamp(n) }).collect();
    for (done, hits) in [(times - 1, &hits[..]), (times, &hits[1..]), (times + 1, &hits)] {
        let mut prediction = case.prediction(&orders);
        prediction.hit(&orders[0], done, hits);
        let told = differences(&case, &prediction, &record(&prediction));
        assert!(told.len() == 1 && told[0].starts_with(&format!("the proxy acted {done} times")), "{told:?}");
    }
}

#[test]
fn the_table_reads_in_columns() {
    let (case, prediction, mut found) = exact("corrupt");
    let good = compare(&case, ClientKind::Wire, &prediction, &found);
    found.totals.lost += 1;
    let mut wrong = compare(&case, ClientKind::Wire, &prediction, &found);
    wrong.record = Some("records/corrupt".into());
    let (case, prediction, found) = exact("overload");
    let word = compare(&case, ClientKind::Wire, &prediction, &found);
    let rows = [good, wrong, word];
    let lines: Vec<String> = rows.iter().map(table::lines).collect();
    let text = format!("{}\n{}\n\n{}", table::heading(ClientKind::Wire), lines.join("\n"), table::conclusion(&rows));
    insta::assert_snapshot!(text);
    assert_eq!(table::conclusion(&rows[..1]), "exact: what was planned was found in all 1 cases");
}
