//! What stays behind after a store is closed, dropped, or its run is killed: nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// Where the killed run of a test writes what it holds.
const HOLDS: &str = "LURCHER_TEST_HOLDS";

/// Waits for what happens soon; gives up after a minute.
fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if happens() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not happen: {what}");
}

/// Processes that were started with a path in their arguments.
fn processes_of(directory: &Path) -> usize {
    let directory = directory.to_str().unwrap();
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| arguments(entry.unwrap()));
    all.filter(|arguments| String::from_utf8_lossy(arguments).contains(directory)).count()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn used(effects: &Effects) -> Session {
    let mut session = effects.session(0).await.unwrap();
    session.handle(&batch(0..3), 0).await.unwrap();
    session
}

#[tokio::test]
async fn of_a_file_that_was_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let kind = StoreKind::Sqlite { path: Some(directory.path().join("effects.sqlite")) };
    for closes in [true, false] {
        let effects = open(&kind, Discipline::OneTransaction).await;
        let mut session = used(&effects).await;
        assert!(entries(directory.path()).len() > 1, "written ahead, in a file beside it");
        if closes {
            effects.close().await.unwrap();
        } else {
            drop(effects);
        }
        assert_eq!(entries(directory.path()), Vec::<PathBuf>::new());
        // Neither a member that lives on nor one that starts again brings it back.
        session.crash();
        assert!(session.handle(&batch(3..4), 0).await.is_err());
        assert_eq!(entries(directory.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn of_a_file_of_somebody_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("theirs.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    for closes in [true, false] {
        let effects = open(&StoreKind::Sqlite { path: Some(path.clone()) }, Discipline::OneTransaction).await;
        drop(used(&effects).await);
        if closes {
            effects.close().await.unwrap();
        } else {
            drop(effects);
        }
        let connection = rusqlite::Connection::open(&path).unwrap();
        let tables = "SELECT group_concat(name) FROM sqlite_master";
        assert_eq!(connection.query_row(tables, (), |row| row.get::<_, String>(0)).unwrap(), "theirs");
        let mode = |connection: &rusqlite::Connection| {
            connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).unwrap()
        };
        assert_eq!(mode(&connection), "delete", "as it was before");
        drop(connection);
        assert_eq!(entries(directory.path()), [path.as_path()]);
    }
}

#[tokio::test]
async fn of_a_file_of_our_own() {
    for closes in [true, false] {
        let effects = open(&sqlite(), Discipline::OneTransaction).await;
        let Store::Sqlite(store) = &effects.store else { panic!("it is SQLite") };
        let directory = store.directory().to_owned();
        drop(used(&effects).await);
        assert!(directory.exists());
        if closes {
            effects.close().await.unwrap();
        } else {
            drop(effects);
        }
        assert!(!directory.exists(), "{} is left", directory.display());
    }
}

#[tokio::test]
async fn of_tables_on_a_server_of_somebody_else() {
    let url = postgres_url().await;
    let link = super::super::postgres::connect(&super::super::postgres::config(&url).unwrap(), "test").await.unwrap();
    for closes in [true, false] {
        let options = options(StoreKind::Postgres { url: Some(url.clone()) }, Discipline::OneTransaction);
        let effects = Effects::open(&options).await.unwrap();
        let Tables { processed, effects: rows, .. } = Tables::of(&options);
        let query = "SELECT count(*) FROM pg_tables WHERE tablename IN ($1, $2)";
        let tables = async || link.client.query_one(query, &[&processed, &rows]).await.unwrap().get::<_, i64>(0);
        // A member that died in a transaction keeps nobody from removing its tables.
        used(&effects).await.handle_until(&batch(5..9), 0, Step::AfterEffect).await.unwrap();
        assert_eq!(tables().await, 2);
        if closes {
            effects.close().await.unwrap();
        } else {
            drop(effects);
        }
        assert_eq!(tables().await, 0);
    }
}

#[tokio::test]
async fn of_a_server_of_our_own() {
    for closes in [true, false] {
        let effects = open(&StoreKind::Postgres { url: None }, Discipline::OneTransaction).await;
        let Store::Postgres(store) = &effects.store else { panic!("it is PostgreSQL") };
        let directory = store.server().unwrap().directory().unwrap().to_owned();
        let session = used(&effects).await;
        assert!(processes_of(&directory) >= 2, "a shell and a server");
        assert_eq!(counts(&effects.audit().await.unwrap()), each(0..3, 1));
        if closes {
            effects.close().await.unwrap();
        } else {
            drop(effects);
        }
        assert_eq!((directory.exists(), processes_of(&directory)), (false, 0), "{}", directory.display());
        drop(session);
    }
}

/// Containers of a run of [`in_a_container`], and the volumes that they use.
fn containers_of(run: &str) -> (String, String) {
    let docker = |arguments: &[&str]| {
        let output = std::process::Command::new("docker").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("label=lurcher.run={run}")]);
    let mounts = "{{range .Mounts}}{{.Name}}{{end}}";
    let volumes = if ids.is_empty() { String::new() } else { docker(&["inspect", "--format", mounts, &ids]) };
    (ids, volumes)
}

async fn in_a_container(image: &str, run: &str) -> Result<Server, StoreError> {
    Server::start(Some(image), run, &|_| {}).await
}

/// A run that no other test has.
fn any_run() -> String {
    super::super::directory::secret_text().unwrap()
}

#[tokio::test]
async fn of_a_server_in_a_container() {
    for stops in [true, false] {
        let run = any_run();
        let server = in_a_container("lurcher/postgres:17", &run).await.expect("`make postgres-image` makes the image");
        let (container, volume) = containers_of(&run);
        assert!(!container.is_empty() && !volume.is_empty(), "{container}: {volume}");
        let kind = StoreKind::Postgres { url: Some(server.url().clone()) };
        let effects = open(&kind, Discipline::OneTransaction).await;
        drop(used(&effects).await);
        assert_eq!(counts(&effects.audit().await.unwrap()), each(0..3, 1));
        effects.close().await.unwrap();
        if stops {
            server.stop().await.unwrap();
        } else {
            drop(server);
        }
        assert_eq!(containers_of(&run), (String::new(), String::new()));
        let volumes = std::process::Command::new("docker").args(["volume", "inspect", &volume]).output().unwrap();
        assert!(!volumes.status.success(), "the volume {volume} is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_start_in_a_container_that_is_given_up() {
    for after_ms in [0, 30, 100, 300, 1_000] {
        let run = any_run();
        let started = in_a_container("lurcher/postgres:17", &run);
        let _given_up = tokio::time::timeout(Duration::from_millis(after_ms), started).await;
        assert_eq!(containers_of(&run), (String::new(), String::new()), "given up after {after_ms} ms");
    }
}

#[tokio::test]
async fn of_a_container_of_something_else() {
    let image = std::env::var("LURCHER_BROKER_IMAGE").ok().filter(|image| !image.is_empty());
    let image = image.unwrap_or_else(|| "lurcher/rabbitmq:4.0".to_owned());
    let run = any_run();
    let error = in_a_container(&image, &run).await.unwrap_err().to_string();
    assert!(error.contains(&image) && error.contains("postgres:17"), "{error}");
    assert_eq!(containers_of(&run), (String::new(), String::new()));
}

/// Starts this test once more as a process of its own, which holds a server and is killed.
#[test]
fn of_a_run_that_was_killed() {
    if let Some(file) = std::env::var_os(HOLDS) {
        hold_a_server(Path::new(&file));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("holds");
    let mut run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "idempotency::tests::leftovers::of_a_run_that_was_killed"])
        .env(HOLDS, &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the run holds a server", || file.exists() || run.try_wait().unwrap().is_some());
    run.kill().unwrap();
    run.wait().unwrap();
    let held = PathBuf::from(std::fs::read_to_string(&file).unwrap());
    eventually("the server of the killed run ends", || !held.exists() && processes_of(&held) == 0);
}

fn hold_a_server(file: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start(None, "test", &|_| {})).unwrap();
    assert!(server.directory().unwrap().exists());
    let written = file.with_extension("new");
    std::fs::write(&written, server.directory().unwrap().to_str().unwrap()).unwrap();
    std::fs::rename(written, file).unwrap();
    loop {
        std::thread::park();
    }
}
