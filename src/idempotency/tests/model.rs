//! Every store against a model of it, over histories of batches, crashes and time; and the audit against rows that are
//! put into the tables by hand.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MEMBERS: usize = 3;
const WINDOW_US: u64 = 50;

#[derive(Debug, Clone)]
enum Event {
    Batch { member: usize, ids: Vec<EffectId>, dies: Option<Step> },
    Crash { member: usize },
    Time { us: u64 },
}

/// What the effects must be.
struct Model {
    kind: StoreKind,
    discipline: Discipline,
    window_us: Option<u64>,
    now_us: u64,
    /// In a database one for all, else one for each member.
    known: Vec<BTreeMap<EffectId, u64>>,
    effects: BTreeMap<EffectId, u32>,
}

impl Model {
    fn memory_of(&mut self, member: usize) -> &mut BTreeMap<EffectId, u64> {
        let at = if self.kind.has_transactions() { 0 } else { member };
        &mut self.known[at]
    }

    fn crash(&mut self, member: usize) {
        if !self.kind.has_transactions() {
            self.memory_of(member).clear();
        }
    }

    fn batch(&mut self, member: usize, ids: &[EffectId], dies: Option<Step>) -> Vec<Handled> {
        let (now_us, oldest_us) = (self.now_us, self.window_us.map_or(0, |window| self.now_us.saturating_sub(window)));
        let forgets = self.kind == StoreKind::None;
        let known = self.memory_of(member).clone();
        let mut fresh = BTreeSet::new();
        let is_known = |id: &EffectId| known.get(id).is_some_and(|at_us| *at_us >= oldest_us);
        let apply = |id: &EffectId| !is_known(id) && fresh.insert(*id) || forgets;
        let handled: Vec<_> =
            ids.iter().map(apply).map(|new| if new { Handled::Applied } else { Handled::Repeated }).collect();
        let together = self.discipline == Discipline::OneTransaction;
        let (applies, records) = match dies {
            Some(Step::BeforeEffect) => (false, false),
            Some(Step::AfterEffect) => (!together, false),
            Some(Step::AfterRecord) | None => (true, true),
        };
        if applies {
            let applied = ids.iter().zip(&handled).filter(|(_, handled)| **handled == Handled::Applied);
            applied.for_each(|(id, _)| *self.effects.entry(*id).or_default() += 1);
        }
        if records && !forgets {
            self.memory_of(member).extend(fresh.into_iter().map(|id| (id, now_us)));
        }
        if dies.is_some() {
            self.crash(member);
        }
        handled
    }
}

fn ids() -> impl Strategy<Value = Vec<EffectId>> {
    let id = (prop_oneof![Just(0), Just(65_535)], 0u64..12);
    prop::collection::vec(id.prop_map(|(publisher, sequence)| EffectId { publisher, sequence }), 0..6)
}

fn event() -> impl Strategy<Value = Event> {
    let step = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Step::BeforeEffect)),
        1 => Just(Some(Step::AfterEffect)),
        1 => Just(Some(Step::AfterRecord)),
    ];
    prop_oneof![
        8 => (0..MEMBERS, ids(), step).prop_map(|(member, ids, dies)| Event::Batch { member, ids, dies }),
        1 => (0..MEMBERS).prop_map(|member| Event::Crash { member }),
        2 => (0u64..2 * WINDOW_US).prop_map(|us| Event::Time { us }),
    ]
}

fn history() -> impl Strategy<Value = (Vec<Event>, bool, bool)> {
    (prop::collection::vec(event(), 0..20), any::<bool>(), any::<bool>())
}

/// Lets a store and the model live through a history.
async fn lives_like_its_model(kind: StoreKind, (events, together, has_window): (Vec<Event>, bool, bool)) {
    let together = together && kind.has_transactions();
    let discipline = if together { Discipline::OneTransaction } else { Discipline::CheckThenAct };
    let window_us = has_window.then_some(WINDOW_US);
    let window = window_us.map(|us| Span(std::time::Duration::from_micros(us)));
    let effects = Effects::open(&Options { window, ..options(kind.clone(), discipline) }).await.unwrap();
    let known = vec![BTreeMap::new(); MEMBERS];
    let mut model = Model { kind, discipline, window_us, now_us: 1_000, known, effects: BTreeMap::new() };
    let mut sessions = Vec::new();
    for member in 0..MEMBERS {
        sessions.push(effects.session(member).await.unwrap());
    }
    for event in events {
        match event {
            Event::Batch { member, ids, dies } => {
                let expected = model.batch(member, &ids, dies);
                let hook = |step| std::future::ready(if Some(step) == dies { Next::Die } else { Next::GoOn });
                let handled = sessions[member].handle_with(&ids, model.now_us, hook).await.unwrap();
                assert_eq!(handled, dies.is_none().then_some(&expected[..]), "{ids:?}");
            }
            Event::Crash { member } => {
                model.crash(member);
                sessions[member].crash();
            }
            Event::Time { us } => model.now_us += us,
        }
    }
    check(&effects.audit().await.unwrap(), &model.effects);
    drop(sessions);
    effects.close().await.unwrap();
}

/// The audit finds exactly what was applied how often, and what never.
fn check(audit: &Audit, effects: &BTreeMap<EffectId, u32>) {
    assert_eq!(counts(audit), effects.iter().map(|(id, times)| (*id, *times)).collect::<Vec<_>>());
    assert_eq!(audit.applications(), effects.values().map(|times| u64::from(*times)).sum::<u64>());
    assert_eq!(audit.applied_once(), effects.values().filter(|times| **times == 1).count() as u64);
    assert_eq!(audit.applied_again(), effects.values().filter(|times| **times > 1).count() as u64);
    for publisher in [0, 65_535] {
        let never: Vec<u64> = audit.never(publisher, 0..12).flatten().collect();
        let missing = |sequence: &u64| !effects.contains_key(&EffectId { publisher, sequence: *sequence });
        assert_eq!(never, (0..12).filter(missing).collect::<Vec<_>>());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn memory(history in history()) {
        runtime().block_on(lives_like_its_model(StoreKind::Memory, history));
    }

    #[test]
    fn no_store(history in history()) {
        runtime().block_on(lives_like_its_model(StoreKind::None, history));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn in_sqlite(history in history()) {
        runtime().block_on(lives_like_its_model(sqlite(), history));
    }

    #[test]
    fn in_postgres(history in history()) {
        runtime().block_on(async { lives_like_its_model(postgres().await, history).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_audit_reads_the_tables_and_nothing_else(rows in prop::collection::vec(ids(), 0..6)) {
        let rows: Vec<EffectId> = rows.concat();
        let mut effects = BTreeMap::new();
        rows.iter().for_each(|id| *effects.entry(*id).or_default() += 1);
        runtime().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            for kind in [StoreKind::Sqlite { path: Some(directory.path().join("s")) }, postgres().await] {
                let options = options(kind, Discipline::OneTransaction);
                let store = Effects::open(&options).await.unwrap();
                write_by_hand(&options, rows.iter().map(|id| (i64::from(id.publisher), id.sequence as i64))).await;
                check(&store.audit().await.unwrap(), &effects);
                store.close().await.unwrap();
            }
        });
    }
}

/// Rows of the effects that no consumer wrote.
pub(super) async fn write_by_hand(options: &Options, rows: impl Iterator<Item = (i64, i64)>) {
    let insert = |(publisher, sequence)| {
        format!("INSERT INTO {} (publisher, sequence) VALUES ({publisher}, {sequence});", Tables::of(options).effects)
    };
    let statements: String = rows.map(insert).collect();
    match &options.kind {
        StoreKind::Sqlite { path: Some(path) } => {
            rusqlite::Connection::open(path).unwrap().execute_batch(&statements).unwrap();
        }
        StoreKind::Postgres { url: Some(url) } => {
            let link = super::super::postgres::connect(&super::super::postgres::config(url).unwrap(), "test").await;
            link.unwrap().client.batch_execute(&statements).await.unwrap();
        }
        other => panic!("{} has no tables", other.name()),
    }
}
