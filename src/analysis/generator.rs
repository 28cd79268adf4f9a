//! Whether the generator offered the load that it was asked for, and whether it can be trusted to have measured it.

use std::collections::BTreeMap;

use super::phrase::{count, decimal, micros, percent, things};
use super::{Finding, Weight, is_complete};
use crate::plan::FaultKind;
use crate::record::{FaultRow, Phase, Record};

/// Share of the paced sends that may be late through the generator's own doing.
const LATE_SHARE_MAX: f64 = 0.01;
/// Share of the planned messages that must have been sent.
const OFFERED_SHARE_MIN: f64 = 0.95;
/// Share of its processors that the generator must have used in some second before its cost per message is held
/// against it.
const BUSY_SHARE_MIN: f64 = 0.2;
/// Farthest that the wall clock may move against the monotonic one, in microseconds.
const CLOCK_STEP_MAX_US: u64 = 100_000;

pub(super) fn findings(record: &Record) -> Vec<Finding> {
    let generator = &record.generator;
    let mut findings = Vec::new();
    if generator.overflow > 0 {
        findings.push(Finding::new(
            Weight::Invalid,
            format!(
                "{} dropped because a channel or a list was full: the books are not whole",
                things(generator.overflow, "event")
            ),
        ));
    }
    findings.extend(late(record));
    findings.extend(shortfall(record));
    let step_us = generator.clock_step_us.unsigned_abs();
    if step_us > CLOCK_STEP_MAX_US {
        findings.push(Finding::new(
            Weight::Invalid,
            format!("the machine's clock was set by {} during the run", micros(step_us as f64)),
        ));
    }
    if generator.clipped > 0 {
        let samples = things(generator.clipped, "latency sample");
        let sentence = format!("{samples} longer than an hour were counted as an hour");
        findings.push(Finding::new(Weight::Note, sentence));
    }
    findings
}

fn late(record: &Record) -> Option<Finding> {
    let generator = &record.generator;
    if generator.paced_sends == 0 {
        return None;
    }
    let share = generator.late_sends as f64 / generator.paced_sends as f64;
    (share > LATE_SHARE_MAX).then(|| {
        let sentence = format!(
            "the generator could not keep its schedule: {} of {} ({}) were more than {} late through its own doing, \
             and at most {} may be; its 99th percentile was {}",
            count(generator.late_sends),
            things(generator.paced_sends, "send"),
            percent(share),
            micros(record.plan.load.max_lag_us as f64),
            percent(LATE_SHARE_MAX),
            micros(generator.own_lag_p99_us as f64),
        );
        Finding::new(Weight::Invalid, sentence)
    })
}

/// Too few of the planned messages were sent: the generator's fault, or the broker's to show as backlog and latency?
fn shortfall(record: &Record) -> Option<Finding> {
    let generator = &record.generator;
    let planned = generator.load_planned.filter(|planned| *planned > 0)?;
    let share = generator.load_sends as f64 / planned as f64;
    // A load that was cut short has not been asked for the rest.
    if share >= OFFERED_SHARE_MIN || !is_complete(record) {
        return None;
    }
    let offered = format!(
        "it sent {} of {} ({})",
        count(generator.load_sends),
        things(planned, "planned message"),
        percent(share)
    );
    let needs = [threads_needed(record, planned), cores_needed(record, planned)];
    if let Some(need) = needs.into_iter().flatten().find(Need::is_unmet) {
        let Need { what, needed, cost_us, owner, there } = need;
        let sentence = format!(
            "the generator could not offer the load: it needs {} {what} at {} µs per message, {owner} {there}; {offered}",
            decimal(needed, 1),
            decimal(cost_us, 1),
        );
        return Some(Finding::new(Weight::Invalid, sentence));
    }
    let held = held_share(record);
    let load = &record.plan.load;
    if load.stop_when_empty_us.is_some() || load.stop_when_idle_us.is_some() {
        return Some(Finding::new(Weight::Note, format!("the load may have ended early: {offered}")));
    }
    if record.incidents_total == 0 && held < (1.0 - share) / 2.0 {
        let sentence = format!(
            "the load was not offered, and nothing that was recorded explains it: {offered}, publishers were held up \
             for {} of the time, and no connection was lost",
            percent(held)
        );
        return Some(Finding::new(Weight::Invalid, sentence));
    }
    let of_producers = |row: &&FaultRow| row.kind == FaultKind::ProducerCrash.to_string();
    let crashes: u64 = record.faults.iter().filter(of_producers).map(|row| row.done).sum();
    let why = match crashes {
        0 => "the broker did not take the offered load".to_owned(),
        // What fell due while they were away is nobody's but theirs.
        crashes => format!("the load was not offered, and producers died on purpose {}", things(crashes, "time")),
    };
    let sentence = format!(
        "{why}: {offered}; publishers were held up for {} of the time by full \
         confirm windows or the broker's socket, with {} of connections and channels",
        percent(held),
        things(record.incidents_total, "incident"),
    );
    Some(Finding::new(Weight::Note, sentence))
}

/// Share of the load that publishers were held up, on average.
fn held_share(record: &Record) -> f64 {
    let publishers = record.plan.leaders().map(|fleet| fleet.publishers.len()).sum::<usize>().max(1) as f64;
    let load_us = record.generator.load_us.max(1) as f64;
    (record.generator.held_us as f64 / publishers / load_us).min(1.0)
}

/// What the planned rate takes of something, and how much of that there is.
struct Need {
    what: &'static str,
    needed: f64,
    /// What a message takes, in microseconds.
    cost_us: f64,
    /// Who has it, such as "this machine has".
    owner: &'static str,
    there: u32,
}

impl Need {
    fn of_load(record: &Record, planned: u64, cost_us: f64) -> f64 {
        let asked_us = record.plan.load.duration_us.unwrap_or(record.generator.load_us);
        if asked_us == 0 { 0.0 } else { cost_us * planned as f64 / asked_us as f64 }
    }

    fn is_unmet(&self) -> bool {
        self.there > 0 && self.needed > f64::from(self.there)
    }
}

/// The threads that publishers would be busy on all the time. What a message costs there counts no wait, and so is a
/// limit however long the broker held them up.
fn threads_needed(record: &Record, planned: u64) -> Option<Need> {
    let cost_us = record.generator.message_cost_us?;
    let needed = Need::of_load(record, planned, cost_us);
    let there = record.generator.publisher_threads;
    Some(Need { what: "threads", needed, cost_us, owner: "its publishers have", there })
}

/// The processors that the planned rate would take at the CPU time that a message cost the whole process.
fn cores_needed(record: &Record, planned: u64) -> Option<Need> {
    let generator = &record.generator;
    if generator.load_sends == 0 || generator.cpu_us == 0 {
        return None;
    }
    // A generator that mostly waits has shown nothing of its limits: what it costs to wait is in its cost per message.
    // What a second costs in which next to nothing was sent says nothing of messages either, however busy it was. And where
    // the broker stood still for most of the load, what the harness costs while it waits would be charged to the few
    // messages that went out. So the second with the most of them is looked at.
    let fullest = fullest_second(record);
    let average = generator.cpu_us as f64 / generator.load_us.max(1) as f64;
    let busy = fullest.as_ref().map_or(average, |second| second.cpu_us / second.length_us.max(1) as f64).max(average);
    // Fleets run on half of the processors where the broker runs on the others.
    let own = (record.host.cpus / 2).max(1);
    if busy / f64::from(own) < BUSY_SHARE_MIN {
        return None;
    }
    let whole = generator.cpu_us as f64 / generator.load_sends as f64;
    let of_fullest = fullest.filter(|second| second.published > 0 && second.cpu_us > 0.0);
    let cost_us = of_fullest.map_or(whole, |second| whole.min(second.cpu_us / second.published as f64));
    let needed = Need::of_load(record, planned, cost_us);
    Some(Need { what: "cores", needed, cost_us, owner: "this machine has", there: record.host.cpus })
}

/// One second of the load.
#[derive(Default)]
struct Second {
    /// Messages published by all fleets.
    published: u64,
    /// CPU time of the whole process, in microseconds.
    cpu_us: f64,
    length_us: u64,
}

/// The second of the load in which most messages were published.
fn fullest_second(record: &Record) -> Option<Second> {
    let phase = Phase::Load.to_string();
    let mut seconds: BTreeMap<u64, Second> = BTreeMap::new();
    for interval in record.intervals.iter().filter(|interval| interval.phase == phase) {
        let second = seconds.entry(interval.start_us).or_default();
        second.published = second.published.saturating_add(interval.published);
        // Every fleet's row holds the figure of the whole process.
        second.cpu_us = second.cpu_us.max(interval.generator_cpu_cores * interval.length_us as f64);
        second.length_us = second.length_us.max(interval.length_us);
    }
    seconds.into_values().max_by_key(|second| second.published)
}
