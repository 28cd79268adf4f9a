//! `idempotency` of a `[[consumer]]`: what goes with which store, and fleets whose effects could not be told apart.

use std::collections::BTreeSet;

use super::names::Names;
use crate::scenario::Scenario;
use crate::scenario::consumer::{Ack, Consumer};
use crate::scenario::idempotency::{Discipline, Idempotency, Store};
use crate::scenario::pattern;
use crate::scenario::problem::Problems;
use crate::scenario::topology::QueueKind;
use crate::units::Span;

pub(super) fn check(scenario: &Scenario, names: &Names<'_>, problems: &mut Problems) {
    for (index, consumer) in scenario.consumers.iter().enumerate() {
        let Some(idempotency) = &consumer.idempotency else { continue };
        let at = format!("consumer[{index}]");
        check_store(&at, idempotency, problems);
        check_places(&at, idempotency, problems);
        check_acks(&at, consumer, problems);
        check_queues(&at, consumer, names, problems);
        check_sharing(index, consumer, scenario, problems);
    }
}

fn check_store(at: &str, idempotency: &Idempotency, problems: &mut Problems) {
    let Idempotency { store, window, discipline, .. } = idempotency;
    match discipline {
        Some(Discipline::OneTransaction) if !store.has_transactions() => {
            problems
                .at(
                    format!("{at}.idempotency.discipline"),
                    format!("the store `{store}` has no transaction that spans the ids and the effects"),
                )
                .help("take the store `sqlite` or `postgres`, or leave `discipline` out")
                .see(format!("{at}.idempotency.store"), "the store");
        }
        Some(Discipline::CheckThenAct) if *store == Store::None => {
            problems
                .at(format!("{at}.idempotency.discipline"), "without a store there is nothing to look up")
                .help("leave `discipline` out, or take a store")
                .see(format!("{at}.idempotency.store"), "no store");
        }
        _ => {}
    }
    match window {
        Some(_) if *store == Store::None => {
            problems
                .at(format!("{at}.idempotency.window"), "without a store no id is kept, for however long")
                .help("leave `window` out, or take a store")
                .see(format!("{at}.idempotency.store"), "no store");
        }
        Some(Span::ZERO) => {
            problems
                .at(
                    format!("{at}.idempotency.window"),
                    "an id that is kept for no time keeps nothing from being repeated",
                )
                .help("write how long, such as `window = \"5m\"`, or `store = \"none\"`");
        }
        _ => {}
    }
}

/// A URL may hold a password: nothing here repeats it.
fn check_places(at: &str, idempotency: &Idempotency, problems: &mut Problems) {
    let Idempotency { store, path, url, .. } = idempotency;
    let keys = [("path", path.is_some(), Store::Sqlite), ("url", url.is_some(), Store::Postgres)];
    for (key, _, of) in keys.into_iter().filter(|(_, written, of)| *written && store != of) {
        problems
            .at(format!("{at}.idempotency.{key}"), format!("`{key}` belongs to the store `{of}`"))
            .help(format!("remove it, or write `store = \"{of}\"`"))
            .see(format!("{at}.idempotency.store"), "the store");
    }
    if path.as_ref().is_some_and(|path| path.trim().is_empty()) {
        problems
            .at(format!("{at}.idempotency.path"), "the path is empty")
            .help("write it like `effects.sqlite`, or leave it out: a temporary file is the default");
    }
    let fits = |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
    if url.as_ref().is_some_and(|url| !fits(url)) {
        problems
            .at(format!("{at}.idempotency.url"), "the URL does not begin with `postgres://`")
            .help("write it like `postgres://user:${PASSWORD}@host/database`");
    }
}

fn check_acks(at: &str, consumer: &Consumer, problems: &mut Problems) {
    if consumer.ack == Some(Ack::Auto) {
        problems
            .at(
                format!("{at}.idempotency"),
                "with automatic acks the broker takes a message as settled before its effect is applied",
            )
            .help("write `ack = \"manual\"`, or remove `idempotency`")
            .see(format!("{at}.ack"), "acks are automatic");
    }
}

fn check_queues(at: &str, consumer: &Consumer, names: &Names<'_>, problems: &mut Problems) {
    let places = names.queues(&consumer.queue).unwrap_or_default();
    if places.into_iter().any(|place| names.kind(place) == QueueKind::Stream) {
        problems
            .at(
                format!("{at}.idempotency"),
                "a stream gives every message to each of its readers: what one of them applied is no repetition for \
                 another",
            )
            .help("consume from a classic or a quorum queue, or remove `idempotency`")
            .see(format!("{at}.queue"), "a stream");
    }
}

/// The effects of a queue's messages are those of one fleet: of two, nobody could say which owes one.
fn check_sharing(index: usize, consumer: &Consumer, scenario: &Scenario, problems: &mut Problems) {
    let queues = |fleet: &Consumer| -> BTreeSet<String> {
        pattern::expand(&fleet.queue).unwrap_or_default().into_iter().collect()
    };
    let own = queues(consumer);
    let others = scenario.consumers.iter().enumerate().filter(|(other, _)| *other != index);
    // Two that both have a store are told once, at the later one.
    let mut others = others.filter(|(other, fleet)| fleet.idempotency.is_none() || *other < index);
    if let Some((other, fleet)) = others.find(|(_, fleet)| !queues(fleet).is_disjoint(&own)) {
        problems
            .at(
                format!("consumer[{index}].idempotency"),
                format!(
                    "`{}` consumes from the same queue: an effect that is missing could be owed by either",
                    fleet.name
                ),
            )
            .help("give each fleet a queue of its own, or make them one fleet with a larger `count`")
            .see(format!("consumer[{other}].queue"), "the same queue");
    }
}
