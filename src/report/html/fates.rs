//! What became of messages that consumers fail, or that died, against what was foretold.

use super::markup::{Cell, Html};
use crate::record::Record;

pub(super) fn section(html: &mut Html, record: &Record) {
    let Some(fates) = &record.fates else { return };
    html.section("fates", "Fates of failing messages", |html| {
        html.element(
            "p",
            "The plan says which messages fail, how often and what is done with them then, so that the attempts at each, \
             the queue that it ends in and what x-death says there are known before. Messages that just work are left out.",
        );
        if fates.account.unforeseeable > 0 {
            let note = format!(
                "Of {} messages the fate could not be foretold: it depends on time, or on other messages.",
                fates.account.unforeseeable
            );
            html.element("p", &note);
        }
        let rows = fates.rows.iter().map(|row| {
            [
                Cell::text(row.outcome.replace('_', " ")),
                Cell::count(row.messages),
                Cell::text(&row.foretold),
                Cell::text(&row.seen),
                Cell::code(&row.first),
            ]
        });
        html.table(
            "fate-rows",
            ["outcome", "messages", "foretold", "seen, where it differs", "the first of them"],
            rows,
            "No message was to fail.",
        );
        if fates.rows_left_out > 0 {
            html.element("p", &format!("{} more kinds of fates are not listed.", fates.rows_left_out));
        }
    });
}
