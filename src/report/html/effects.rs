//! Effects of idempotent consumers: what each store says of each queue.

use std::time::Duration;

use super::markup::{Cell, Html};
use crate::record::{EffectsAccount, Record, StoreRow};
use crate::report::figure::Figure;
use crate::units::Span;

/// The section; nothing where no fleet has effects.
pub(super) fn section(html: &mut Html, record: &Record) {
    if record.stores.is_empty() {
        return;
    }
    html.section("effects", "Effects: what the stores of idempotent consumers say", |html| {
        html.element(
            "p",
            "Read from the stores after the drain. Each message that was consumed or lost should have been applied once; \
             what was applied, was so whether or not its ack came through.",
        );
        let header = [
            "fleet",
            "queue",
            "store",
            "discipline",
            "ids kept for",
            "applied once",
            "more than once",
            "never",
            "unknown",
            "trouble",
        ];
        html.table("stores", header, record.stores.iter().map(|row| cells(record, row)), "");
    });
}

fn cells(record: &Record, row: &StoreRow) -> [Cell; 10] {
    let effects = record.account.queues.iter().find(|queue| queue.queue == row.queue).and_then(|queue| queue.effects);
    let number = |of: fn(EffectsAccount) -> u64| Cell::Number(effects.map(of).map(Figure::from), "messages");
    let has_store = row.store != "none";
    let kept = match row.window_us {
        Some(us) => Cell::text(Span(Duration::from_micros(us)).to_string()),
        None => Cell::text(if has_store { "the whole run" } else { "–" }),
    };
    [
        Cell::code(&row.fleet),
        Cell::code(&row.queue),
        Cell::text(&row.store),
        Cell::text(if has_store { &row.discipline } else { "–" }),
        kept,
        number(|effects| effects.applied.saturating_sub(effects.repeated)),
        number(|effects| effects.repeated),
        number(|effects| effects.missing),
        number(|effects| effects.unknown),
        Cell::text(row.error.clone().unwrap_or_default()),
    ]
}
