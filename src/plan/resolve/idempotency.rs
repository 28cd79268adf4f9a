//! Stores of idempotent consumers: their defaults, and how many connections they ask for.

use super::{Problems, without_password};
use crate::plan::{ConsumerFleet, Discipline, IdempotencyPlan, Store};
use crate::scenario::idempotency::Idempotency;
use crate::units::Span;

/// Each subscriber has a connection to the store of each of its queues: for SQLite a thread too, and a PostgreSQL of our
/// own takes a thousand.
const MAX_SESSIONS: usize = 900;

pub(super) fn resolve(written: &Idempotency) -> IdempotencyPlan {
    let default = if written.store.has_transactions() { Discipline::OneTransaction } else { Discipline::CheckThenAct };
    IdempotencyPlan {
        store: written.store,
        discipline: written.discipline.unwrap_or(default),
        window_us: written.window.map(Span::as_us),
        path: written.path.clone(),
        url: written.url.as_deref().map(without_secrets),
    }
}

/// Refuses more connections to stores than a machine and a server can be expected to have.
pub(super) fn limit(fleets: &[ConsumerFleet], problems: &mut Problems) {
    let mut sessions = 0;
    for (place, fleet) in fleets.iter().enumerate() {
        let has_connections =
            fleet.idempotency.as_ref().is_some_and(|plan| matches!(plan.store, Store::Sqlite | Store::Postgres));
        let before = sessions;
        if has_connections {
            sessions += fleet.subscribers.iter().map(|subscriber| subscriber.queues.len()).sum::<usize>();
        }
        if sessions > MAX_SESSIONS && before <= MAX_SESSIONS {
            problems.add_with_help(
                format!("consumer[{place}].idempotency"),
                format!(
                    "{sessions} connections to stores: each subscriber has one for each of its queues, and at most \
                     {MAX_SESSIONS} are opened"
                ),
                "fewer members or queues, or the store `memory`",
            );
        }
    }
}

/// The URL without its password. Parameters may hold one too, and go as a whole.
fn without_secrets(url: &str) -> String {
    let url = without_password(url);
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_left_of_a_url() {
        for (url, kept) in [
            ("postgres://me:hush@host/db", "postgres://me:***@host/db"),
            ("postgres://me@host/db?password=hush", "postgres://me@host/db"),
            ("postgres://host?password=hu@sh", "postgres://host"),
            ("postgres:///db?user=me&password=hush", "postgres:///db"),
            ("postgres://me:hu?sh@host/db", "postgres://me:***@host/db"),
        ] {
            let plan = resolve(&Idempotency {
                store: Store::Postgres,
                window: None,
                discipline: None,
                path: None,
                url: Some(url.to_owned()),
            });
            assert_eq!((plan.url.as_deref(), plan.discipline), (Some(kept), Discipline::OneTransaction), "{url}");
        }
    }
}
