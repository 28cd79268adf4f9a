//! Ids older than the window are forgotten, exactly then, and what is forgotten does not pile up.

use super::*;

const WINDOW_US: u64 = 1_000;

async fn windowed(kind: StoreKind, discipline: Discipline) -> (Options, Effects) {
    let window = Some(Span(std::time::Duration::from_micros(WINDOW_US)));
    let options = Options { window, ..options(kind, discipline) };
    let effects = Effects::open(&options).await.unwrap();
    (options, effects)
}

/// Every store that keeps ids, with every discipline that it knows.
async fn stores() -> Vec<(StoreKind, Discipline)> {
    let mut all = vec![(StoreKind::Memory, Discipline::CheckThenAct)];
    for kind in databases().await {
        all.extend([(kind.clone(), Discipline::OneTransaction), (kind, Discipline::CheckThenAct)]);
    }
    all
}

#[tokio::test]
async fn an_id_is_known_up_to_the_window_and_applied_again_after_it() {
    for (kind, discipline) in stores().await {
        let (_, effects) = windowed(kind.clone(), discipline).await;
        let mut session = effects.session(0).await.unwrap();
        let what = format!("{} {discipline:?}", kind.name());
        for (now_us, expected) in [
            (5_000, Handled::Applied),
            (5_000 + WINDOW_US, Handled::Repeated),
            // A repetition does not make it younger.
            (5_000 + WINDOW_US + 1, Handled::Applied),
            (5_000 + 2 * WINDOW_US + 1, Handled::Repeated),
        ] {
            assert_eq!(session.handle(&[id(1)], now_us).await.unwrap(), [expected], "{what} at {now_us}");
        }
        assert_eq!(counts(&effects.audit().await.unwrap()), [(id(1), 2)], "{what}");
    }
}

#[tokio::test]
async fn what_is_forgotten_does_not_pile_up() {
    for (kind, discipline) in stores().await {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join("effects.sqlite");
        let kind = match kind {
            StoreKind::Sqlite { .. } => StoreKind::Sqlite { path: Some(file.clone()) },
            other => other,
        };
        let (options, effects) = windowed(kind.clone(), discipline).await;
        let mut session = effects.session(0).await.unwrap();
        for round in 0..60 {
            session.handle(&batch(round * 10..round * 10 + 10), round * WINDOW_US / 2).await.unwrap();
        }
        let held = held(&options, &session).await;
        // What the last three rounds brought is within the window.
        assert!((30..60).contains(&held), "{} {discipline:?}: {held} of 600 ids are held", kind.name());
        assert_eq!(effects.audit().await.unwrap().applications(), 600);
    }
}

/// Ids that a store holds.
async fn held(options: &Options, session: &Session) -> usize {
    let query = format!("SELECT count(*) FROM {}", Tables::of(options).processed);
    match &options.kind {
        StoreKind::Sqlite { path: Some(path) } => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.query_row(&query, (), |row| row.get::<_, i64>(0)).unwrap() as usize
        }
        StoreKind::Postgres { url: Some(url) } => {
            let link = super::super::postgres::connect(&super::super::postgres::config(url).unwrap(), "test").await;
            link.unwrap().client.query_one(&query, &[]).await.unwrap().get::<_, i64>(0) as usize
        }
        _ => session.remembered(),
    }
}
