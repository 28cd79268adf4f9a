//! What was broken on purpose and how the run recovered from it, and how long repetitions have to be remembered.

use super::markup::{Cell, Html};
use crate::record::{DuplicateGap, FaultCost, FaultRow, Record};
use crate::report::figure::{self, Figure};
use crate::report::recovery::{drained, keep_ids, rate_back};

/// So many of the messages that a fault acted on are shown.
const MESSAGES_SHOWN: usize = 5;

pub(super) fn faults(html: &mut Html, record: &Record) {
    html.section("faults", "Faults", |html| {
        let rows = record.faults.iter().map(|row| {
            [
                Cell::text(row.id.to_string()),
                Cell::text(&row.kind),
                Cell::text(&row.detail),
                time(row.planned_us),
                time(row.started_us),
                time(row.broken_us),
                time(row.undone_us),
                time(row.healed_us),
                Cell::count(row.done),
                Cell::text(messages(row)),
                Cell::text(row.error.as_deref().unwrap_or_default()),
            ]
        });
        let header = [
            "",
            "fault",
            "of",
            "planned",
            "begun",
            "broken by",
            "mended from",
            "whole again",
            "acted",
            "on messages",
            "trouble",
        ];
        html.table("fault-rows", header, rows, "Nothing was broken on purpose.");
        if record.faults.is_empty() {
            return;
        }
        recovery(html, &record.faults);
        window(html, &record.faults);
    });
}

/// The first messages that it acted on; faults.csv has more.
fn messages(row: &FaultRow) -> String {
    let named = row.messages.iter().map(|message| format!("{} {}", message.publisher, message.sequence));
    let mut named: Vec<String> = named.take(MESSAGES_SHOWN).collect();
    if row.messages.len() > MESSAGES_SHOWN {
        named.push("…".to_owned());
    }
    named.join(", ")
}

fn time(at_us: Option<u64>) -> Cell {
    let seconds = |us: u64| figure::seconds(us.try_into().unwrap_or(i64::MAX));
    Cell::Right(at_us.map_or_else(|| "–".to_owned(), seconds))
}

fn with_costs(rows: &[FaultRow]) -> impl Iterator<Item = (Cell, &FaultCost)> {
    rows.iter().filter_map(|row| Some((Cell::text(format!("{} {}", row.id, row.kind)), row.cost.as_ref()?)))
}

fn maybe(count: Option<u64>) -> Cell {
    Cell::Number(count.map(Figure::from), "messages")
}

fn recovery(html: &mut Html, rows: &[FaultRow]) {
    html.element("h3", "Recovery");
    html.element(
        "p",
        "The first lost connection counts from when breaking it began, all other times from when mending began. The rate \
         is back once nine tenths of what was confirmed and consumed per second before keep coming for three seconds; \
         the backlog is drained once, after its peak, no more copies wait than in the five seconds before.",
    );
    let costs = with_costs(rows).map(|(fault, cost)| {
        let us_or = |us: Option<u64>, why: String| us.map_or_else(|| Cell::Right(why), |us| Cell::us(Some(us)));
        [
            fault,
            Cell::us(cost.detected_after_us),
            Cell::us(cost.first_confirm_after_us),
            Cell::us(cost.first_delivery_after_us),
            us_or(cost.rate_restored_after_us, rate_back(cost)),
            us_or(cost.backlog_drained_after_us, drained(cost)),
            maybe(cost.backlog_before),
            Cell::count(cost.backlog_peak),
            maybe(cost.at_risk_unanswered),
            maybe(cost.at_risk_unacknowledged),
        ]
    });
    let header = [
        "fault",
        "first disconnect",
        "first confirm",
        "first delivery",
        "rate back",
        "backlog drained",
        "backlog before",
        "peak",
        "at risk: unanswered",
        "unacked",
    ];
    html.table("fault-recovery", header, costs, "None of them happened.");
}

fn window(html: &mut Html, rows: &[FaultRow]) {
    html.element("h3", "Counted in each window");
    html.element(
        "p",
        "From its start to 5 s after it was whole again. Losses are those of messages due before the end of this window and \
         after the one before.",
    );
    let costs = with_costs(rows).map(|(fault, cost)| {
        [
            fault,
            Cell::count(cost.published),
            Cell::count(cost.confirmed),
            Cell::count(cost.consumed),
            maybe(cost.lost),
            maybe(cost.possibly_lost),
            Cell::count(cost.duplicates),
            maybe(cost.republished),
            maybe(cost.redelivered),
            maybe(cost.unflagged),
            Cell::count(cost.disconnects),
        ]
    });
    let header = [
        "fault",
        "published",
        "confirmed",
        "consumed",
        "lost",
        "possibly lost",
        "duplicates",
        "republished",
        "redelivered",
        "unflagged",
        "disconnects",
    ];
    html.table("fault-costs", header, costs, "None of them happened.");
}

pub(super) fn gaps(html: &mut Html, record: &Record) {
    html.section("gaps", "Repetitions: how long to remember", |html| {
        let gaps = &record.duplicate_gaps;
        gaps.iter().for_each(|gap| html.element("p", &keep_ids(gap)));
        let row = |gap: &DuplicateGap| {
            let (time, messages) = (gap.time_us, gap.messages);
            [
                Cell::code(&gap.queue),
                Cell::count(gap.count),
                Cell::us(Some(time.p50)),
                Cell::us(Some(time.p99)),
                Cell::us(Some(time.longest_at_least)),
                Cell::us(Some(time.longest_at_most)),
                Cell::count(messages.p50),
                Cell::count(messages.p99),
                Cell::count(messages.longest_at_least),
                Cell::count(messages.longest_at_most),
            ]
        };
        let header = [
            "queue",
            "repetitions",
            "time, p50",
            "p99",
            "longest, at least",
            "at most",
            "messages, p50",
            "p99",
            "longest, at least",
            "at most",
        ];
        html.table(
            "gap-rows",
            header,
            gaps.iter().map(row),
            "No message was delivered twice to the same queue's consumers.",
        );
    });
}
