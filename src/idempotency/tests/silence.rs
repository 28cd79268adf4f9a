//! A PostgreSQL server that takes a connection, and does not answer. Time stands still, and goes on where all wait.

use std::time::Duration;

use super::*;

/// Longer than any wait for an answer may be.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Secret::new(format!("postgres://user:word@{}/base", listener.local_addr().unwrap()));
    let options = options(StoreKind::Postgres { url: Some(url) }, Discipline::OneTransaction);
    let error = tokio::time::timeout(FOR_EVER, Effects::open(&options)).await.expect("it is given up").unwrap_err();
    assert!(error.to_string().starts_with("could not open a connection in the PostgreSQL store"), "{error}");
}

#[tokio::test]
async fn a_batch_that_is_not_answered_fails_and_the_next_begins_anew() {
    for discipline in [Discipline::OneTransaction, Discipline::CheckThenAct] {
        let effects = open(&postgres().await, discipline).await;
        let mut session = effects.session(0).await.unwrap();
        session.handle(&batch(0..2), 1).await.unwrap();
        tokio::time::pause();
        let handled = tokio::time::timeout(FOR_EVER, session.handle(&batch(0..5), 2)).await;
        tokio::time::resume();
        let error = handled.expect("it is given up").unwrap_err();
        assert!(matches!(error, StoreError::Silent { action: "handle a batch", .. }), "{error}");
        let handled = session.handle(&batch(1..3), 3).await.unwrap();
        assert_eq!(handled[0], Handled::Repeated, "{discipline:?}");
        // Whether the server had come to a step that was not waited for nobody knows. In one transaction that matters
        // little: what was not committed is gone, and what was is known. Else it is applied again.
        let applied = counts(&effects.audit().await.unwrap());
        let once = each(0..3, 1);
        assert!(once.iter().all(|(id, _)| applied.iter().any(|(other, _)| other == id)), "{discipline:?}: {applied:?}");
        let most = if discipline == Discipline::OneTransaction { 1 } else { 2 };
        assert!(applied.iter().all(|(_, times)| *times <= most), "{discipline:?}: {applied:?}");
        assert!(applied.len() <= 5, "{discipline:?}: {applied:?}");
        drop(session);
        effects.close().await.unwrap();
    }
}
