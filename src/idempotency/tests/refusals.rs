//! What is refused, and that what is said then helps and holds no password.

use super::*;

const PASSWORD: &str = "s3cr3t-0f-s0meb0dy";

async fn refused(kind: StoreKind, discipline: Discipline) -> StoreError {
    Effects::open(&options(kind, discipline)).await.unwrap_err()
}

fn at(url: String) -> StoreKind {
    StoreKind::Postgres { url: Some(Secret::new(url)) }
}

#[tokio::test]
async fn a_discipline_that_a_store_cannot_keep() {
    for kind in [StoreKind::None, StoreKind::Memory] {
        let error = refused(kind.clone(), Discipline::OneTransaction).await;
        assert!(matches!(error, StoreError::NoTransaction { store } if store == kind.name()), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used() {
    let ours = postgres_url().await;
    let host = ours.reveal().split_once('@').unwrap().1.to_owned();
    for (url, part) in [
        (format!("postgres://u:{PASSWORD}@127.0.0.1:port/x"), "it cannot be read"),
        (format!("postgres://u:{PASSWORD}@127.0.0.1/x?sslmode=require"), "TLS"),
        (format!("postgres://u:{PASSWORD}@127.0.0.1:1/x"), "refused"),
        (format!("postgres://lurcher:{PASSWORD}@{host}"), "password authentication failed"),
        (format!("postgres://lurcher@{host}"), "password"),
    ] {
        let kind = at(url);
        let error = refused(kind.clone(), Discipline::OneTransaction).await;
        let text = format!("{error} {error:?} {kind:?}");
        assert!(text.contains(part) && !text.contains(PASSWORD), "{text}");
    }
}

#[tokio::test]
async fn a_stores_own_text_holds_no_password() {
    let kind = postgres().await;
    let StoreKind::Postgres { url: Some(url) } = &kind else { panic!("it is PostgreSQL") };
    let password = url.reveal().split(['@', ':']).nth(2).unwrap();
    assert!(password.len() >= 32, "of the server's own making");
    let effects = open(&kind, Discipline::OneTransaction).await;
    let session = effects.session(0).await.unwrap();
    let text = format!("{effects:?} {session:?} {kind:?} {:?}", SERVER.get());
    assert!(!text.contains(password), "{text}");
}

#[tokio::test]
async fn a_server_of_ours_listens_on_no_port() {
    let config = super::super::postgres::config(&postgres_url().await).unwrap();
    let link = super::super::postgres::connect(&config, "test").await.unwrap();
    let shown = async |name: &str| link.client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
    assert_eq!(shown("listen_addresses").await.get::<_, String>(0), "");
    assert_eq!(shown("synchronous_commit").await.get::<_, String>(0), "on");
    assert_eq!(shown("fsync").await.get::<_, String>(0), "on");
}

#[tokio::test]
async fn an_id_that_no_integer_of_sql_holds() {
    for kind in [StoreKind::None, StoreKind::Memory, sqlite(), postgres().await] {
        let effects = open(&kind, Discipline::CheckThenAct).await;
        let mut session = effects.session(0).await.unwrap();
        session.handle(&[id(MAX_SEQUENCE)], 0).await.unwrap();
        let error = session.handle(&[id(1), id(MAX_SEQUENCE + 1)], 0).await.unwrap_err();
        assert!(matches!(error, StoreError::IdTooLarge { id } if id.sequence == MAX_SEQUENCE + 1), "{error}");
        assert_eq!(counts(&effects.audit().await.unwrap()), [(id(MAX_SEQUENCE & !NEW_ID), 1)], "{}", kind.name());
    }
}

#[tokio::test]
async fn a_row_that_lurcher_did_not_write() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [StoreKind::Sqlite { path: Some(directory.path().join("s")) }, postgres().await] {
        for row in [(-1, 5), (65_536, 5), (3, -5)] {
            let options = options(kind.clone(), Discipline::OneTransaction);
            let effects = Effects::open(&options).await.unwrap();
            super::model::write_by_hand(&options, std::iter::once(row)).await;
            let error = effects.audit().await.unwrap_err();
            let StoreError::ForeignRow { publisher, sequence, .. } = error else { panic!("{error}") };
            assert_eq!((publisher, sequence), row);
        }
    }
}

#[tokio::test]
async fn a_second_store_in_the_same_tables_and_the_first_stays() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [StoreKind::Sqlite { path: Some(directory.path().join("s")) }, postgres().await] {
        let options = options(kind, Discipline::OneTransaction);
        let effects = Effects::open(&options).await.unwrap();
        let error = Effects::open(&options).await.unwrap_err().to_string();
        assert!(error.contains("already exists"), "{error}");
        let mut session = effects.session(0).await.unwrap();
        assert_eq!(session.handle(&[id(1)], 0).await.unwrap(), [Handled::Applied]);
    }
}
