//! Messages that led to others.

use super::markup::{Cell, Html};
use crate::record::Record;

pub(super) fn section(html: &mut Html, record: &Record) {
    let Some(chains) = &record.chains else { return };
    html.section("chains", "Messages that led to others", |html| {
        html.element(
            "p",
            "A consumer that publishes in turn should publish one message for each that it works off: with an id of its \
             own, the correlation id of the first message of all, and the id of the message that caused it.",
        );
        let rows = chains.rows.iter().map(|row| {
            [
                Cell::text(&row.consumer),
                Cell::text(&row.producer),
                Cell::count(row.worked_off),
                Cell::count(row.confirmed),
                Cell::count(row.missing),
                Cell::count(row.repeated),
            ]
        });
        html.table(
            "chain-rows",
            ["consumers", "publish", "worked off", "published and confirmed", "without one", "with more than one"],
            rows,
            "No consumer published.",
        );
        if chains.unwritten > 0 {
            let note = format!("Of {} more messages it was not remembered what they led to.", chains.unwritten);
            html.element("p", &note);
        }
        if chains.ids_unchecked > 0 {
            let note = format!(
                "The ids of {} more deliveries were not looked at: it was not remembered what they follow.",
                chains.ids_unchecked
            );
            html.element("p", &note);
        }
    });
}
