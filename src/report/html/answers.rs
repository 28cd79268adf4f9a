//! What a reader asks first: the verdict and why, then three questions, then each expectation.

use super::escaped;
use super::markup::{Cell, Html};
use crate::record::Record;
use crate::report::figure::{self, Figure};
use crate::report::summary::{self, Row};
use crate::report::words;

/// The verdict as a word.
pub(super) fn word(record: &Record) -> &'static str {
    record.verdict.as_ref().map_or("not judged", |judgement| judgement.verdict.word())
}

pub(super) fn banner(html: &mut Html, record: &Record) {
    let class = record.verdict.as_ref().map_or("unjudged", |judgement| judgement.verdict.word());
    html.markup(&format!("<header class=\"banner {class}\">\n<p class=\"verdict\">{}</p>\n", word(record)));
    html.element("h1", &record.plan.name);
    record.plan.description.iter().for_each(|description| html.element("p", description));
    let reasons = record.verdict.as_ref().map_or(&[][..], |judgement| &judgement.reasons);
    let reasons: Vec<String> =
        words::incomplete(&record.completeness).into_iter().chain(reasons.iter().cloned()).collect();
    if !reasons.is_empty() {
        html.markup("<ul>\n");
        reasons.iter().for_each(|reason| html.element("li", reason));
        html.markup("</ul>\n");
    }
    let broker = &record.broker;
    let facts = [&record.started_at.to_string(), &record.id, &format!("{} {}", broker.product, broker.version)]
        .map(|fact| escaped(fact));
    html.markup(&format!("<p class=\"when\">{}</p>\n</header>\n", facts.join(" · ")));
}

pub(super) fn checks(html: &mut Html, record: &Record) {
    html.section("checks", "Expectations", |html| {
        let Some(judgement) = &record.verdict else {
            html.element("p", "This record was not judged.");
            return;
        };
        let rows = judgement.checks.iter().map(|check| {
            let unit = unit(&check.unit);
            [
                Cell::code(&check.metric),
                Cell::code(&check.expectation),
                Cell::Number(check.value.map(|value| Figure::of(value, &check.unit)), unit),
                Cell::Verdict(Some(check.verdict)),
                Cell::text(check.note.clone().unwrap_or_default()),
            ]
        });
        let header = ["metric", "expected", "measured", "verdict", "note"];
        html.table("expectations", header, rows, "The scenario expects nothing.");
    });
}

/// A unit that this program knows, for a check's own.
fn unit(unit: &str) -> &'static str {
    ["messages", "us", "per_s", "cores", "bytes"].into_iter().find(|known| *known == unit).unwrap_or("")
}

pub(super) fn questions(html: &mut Html, record: &Record, rows: &[Row]) {
    html.markup("<div class=\"questions\">\n");
    html.section("correct", "Was anything lost, repeated or misplaced?", |html| {
        let counts = [
            ("lost", "lost: confirmed and gone"),
            ("possibly_lost", "possibly lost: not confirmed and gone"),
            ("recovered", "recovered: not confirmed, and arrived"),
            ("duplicates", "duplicates: repeated deliveries"),
            ("republished", "… the producer sent again"),
            ("redelivered", "… the broker said so"),
            ("unflagged", "… the broker did not say so"),
            ("phantom", "phantoms: never sent in this run"),
            ("corrupt", "corrupt: checksum does not match"),
            ("misordered", "out of order"),
            ("dead_lettered", "dead-lettered"),
            ("removed_by_rule", "removed by a rule (TTL, length or delivery limit, rejected)"),
            ("left_in_queue", "left in a queue after the drain"),
        ];
        let effects = [
            ("effects_applied", "effects applied, as the stores tell"),
            ("effects_repeated", "… more than once"),
            ("effects_missing", "effects never applied"),
            ("effects_unknown", "effects of unknown messages"),
        ];
        let effects = effects.into_iter().filter(|_| !record.stores.is_empty());
        let fates = [
            ("fates_foretold", "fates foretold: messages that fail or die"),
            ("fates_differing", "… that were other ones"),
            ("fates_unexplained", "… for which nothing seen accounts"),
            ("attempts", "attempts at messages that were to fail"),
            ("attempts_max", "… at one of them in one queue, at most"),
        ];
        let fates = fates.into_iter().filter(|_| record.fates.is_some());
        let chains = [
            ("follow_ups_missing", "worked off, and the message that should follow was never published"),
            ("follow_ups_repeated", "more than one message follows"),
            ("ids_missing", "deliveries without message, correlation or causation id"),
            ("ids_crossed", "… with one of another message"),
        ];
        let chains = chains.into_iter().filter(|_| record.chains.is_some());
        let line = |(metric, label): (&str, &str)| (label.to_owned(), summary::value(rows, metric), "messages");
        lines(html, counts.into_iter().chain(effects).chain(fates).chain(chains).map(line));
        html.element("p", &balance(record));
    });
    html.section("fast", "How fast?", |html| {
        let rates = ["published", "confirmed", "delivered", "consumed"]
            .map(|step| (format!("{step} per second"), summary::value(rows, &format!("throughput.{step}")), "per_s"));
        let backlog = ("largest backlog".to_owned(), summary::value(rows, "backlog.max"), "messages");
        lines(html, rates.into_iter().chain([backlog]));
        let latencies = summary::STATISTICS.map(|(statistic, _)| {
            let of = |metric: &str| Cell::Number(summary::value(rows, &format!("{metric}.{statistic}")), "us");
            [Cell::text(statistic), of("end_to_end"), of("end_to_end_from_send")]
        });
        html.table("end-to-end", ["end to end", "from intended send", "from actual send"], latencies, "");
    });
    html.section("sound", "Was the measurement sound?", |html| {
        let facts = [
            ("generator.load_planned", "sends planned in the measured load", "messages"),
            ("generator.load_sends", "sends made", "messages"),
            ("generator.late_sends", "sends late through the generator's own doing", "messages"),
            ("generator.late_sends_percent", "… of the sends with an intended time", "percent"),
            ("generator.own_lag_p99", "generator's own lag, p99", "us"),
            ("generator.held", "publishers held up by the broker, all together", "us"),
            ("generator_cpu.mean", "generator's CPU, mean", "cores"),
            ("broker_cpu.mean", "broker's CPU, mean", "cores"),
            ("generator.overflow", "events dropped for want of room", "events"),
            ("generator.clock_step", "step of the wall clock", "us"),
            ("generator.clipped", "latencies beyond an hour", "samples"),
            ("disconnects", "connections lost", "times"),
            ("blocked", "connections blocked by the broker", "times"),
        ];
        lines(html, facts.map(|(metric, label, unit)| (label.to_owned(), summary::value(rows, metric), unit)));
    });
    html.markup("</div>\n");
}

fn lines(html: &mut Html, lines: impl IntoIterator<Item = (String, Option<Figure>, &'static str)>) {
    html.markup("<dl class=\"figures\">\n");
    for (label, value, unit) in lines {
        html.markup("<div><dt>");
        html.text(&label);
        html.markup("</dt><dd>");
        html.number(value, unit);
        html.markup("</dd></div>\n");
    }
    html.markup("</dl>\n");
}

/// Whether the books balance, as a sentence.
fn balance(record: &Record) -> String {
    let queues = &record.account.queues;
    let off: Vec<&str> =
        queues.iter().filter(|queue| queue.imbalance() != 0).map(|queue| queue.queue.as_str()).collect();
    match (queues.len(), off.as_slice()) {
        (0, _) => "There is no account of any queue.".to_owned(),
        (count, []) => {
            format!("The books of all {} queues balance to the message.", figure::shown(count as u64, "messages"))
        }
        (_, off) => format!("The books do not balance for {}.", off.join(", ")),
    }
}
