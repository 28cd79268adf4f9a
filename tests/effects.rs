//! Effects of idempotent consumers, end to end: guarantees that fail where they should, stores that somebody else writes
//! to, and stores that are gone.

// Clippy allows `expect` in test functions only, not in what they share.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod rig;

use std::path::Path;
use std::time::Duration;

use lurcher::idempotency::Server;
use lurcher::record::{Completeness, EffectsAccount, IncidentKind, Verdict};
use rig::{Held, Rig, containers_of, output, until};

/// One fleet of each kind, whose consumers have effects.
fn scenario(name: &str, idempotency: &str, more: &str) -> String {
    format!(
        "schema = 1\nname = \"{name}\"\n[[queue]]\nname = \"{name}.q\"\nkind = \"quorum\"\n\
         [[producer]]\nname = \"out\"\nrouting_key = \"{name}.q\"\nrate = \"200/s\"\non_unconfirmed = \"republish\"\n\
         [[consumer]]\nname = \"in\"\nqueue = \"{name}.q\"\ncount = 2\nidempotency = {{ {idempotency} }}\n\
         {more}\n[expect]\nguarantee = \"effectively-once\"\n"
    )
}

const LOAD: &str = "[load]\nduration = \"4s\"\nmax_lag = \"30s\"\n";

#[test]
fn effectively_once_needs_a_discipline_that_holds() {
    let broker = Held::start();
    let cuts = format!(
        "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"0s\"\npick = {{ first = 100, every = 200, times = 3 }}\n{LOAD}"
    );
    let without = broker.rig(&scenario("without", "store = \"none\"", &cuts)).run().expect_code(1);
    let record = without.record();
    let repeated = record.totals.effects_repeated.unwrap();
    assert!(repeated >= 3 && repeated <= record.totals.duplicates, "{:?}", record.totals);
    assert_eq!((record.totals.effects_missing, record.totals.effects_unknown), (Some(0), Some(0)));
    let listed = without.table("violations.csv").into_iter().filter(|row| row["class"] == "effect_repeated");
    let listed: Vec<_> = listed.collect();
    assert_eq!(listed.len() as u64, repeated, "each is listed");
    let history = &listed[0]["history"];
    assert!(history.starts_with("published by out/0") && history.ends_with("was applied 2 times"), "{history}");
    let counted = without.table("ledger.csv").into_iter().find(|row| row["class"] == "effects_repeated").unwrap();
    assert_eq!((counted["name"].as_str(), counted["count"].parse()), ("without.q", Ok(repeated)));

    let held = broker.rig(&scenario("held", "store = \"sqlite\"", &cuts)).run().expect_code(0).record();
    assert!(held.totals.duplicates >= 3, "{:?}", held.totals);
    let effects = held.account.queues[0].effects.unwrap();
    assert_eq!(effects, EffectsAccount { applied: held.totals.consumed, ..EffectsAccount::default() });
}

/// The table of effects, once a run has made it and there are some in it.
fn effects_in(file: &Path) -> Option<(rusqlite::Connection, String)> {
    if !file.exists() {
        return None;
    }
    let store = rusqlite::Connection::open(file).ok()?;
    store.busy_timeout(Duration::from_secs(30)).ok()?;
    let query = "SELECT name FROM sqlite_master WHERE name LIKE 'lurcher_%_effects'";
    let table: String = store.query_row(query, [], |row| row.get(0)).ok()?;
    let count: i64 = store.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).ok()?;
    (count > 100).then_some((store, table))
}

#[test]
fn the_audit_believes_the_store_alone() {
    let broker = Held::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("effects.sqlite");
    let store = format!("store = \"sqlite\", path = \"{}\"", file.display());
    let rig = broker.rig(&scenario("tampered", &store, LOAD));
    let child = rig.start();
    let mut found = None;
    until("effects in the store", || {
        found = effects_in(&file);
        found.is_some()
    });
    let (connection, table) = found.unwrap();
    let changes = format!(
        "DELETE FROM {table} WHERE sequence IN (10, 11); INSERT INTO {table} VALUES (0, 20), (0, 1000000), (9, 1);"
    );
    connection.execute_batch(&changes).unwrap();
    drop(connection);
    let ended = rig.wait(child).expect_code(1);
    let record = ended.record();
    let EffectsAccount { applied, repeated, missing, unknown } = record.account.queues[0].effects.unwrap();
    assert_eq!((repeated, missing, unknown), (1, 2, 2));
    assert_eq!(applied, record.totals.consumed - missing);
    let named = |class: &str| {
        let rows = ended.table("violations.csv").into_iter().filter(|row| row["class"] == class);
        let mut sequences: Vec<u64> = rows.map(|row| row["sequence"].parse().unwrap()).collect();
        sequences.sort_unstable();
        sequences
    };
    assert_eq!(named("effect_missing"), [10, 11]);
    assert_eq!(named("effect_repeated"), [20]);
    assert_eq!(named("effect_unknown"), [1, 1_000_000]);
    assert!(!file.exists(), "the file that the run made is left");
}

#[test]
fn a_store_that_is_gone_ends_the_run_and_no_password_is_kept() {
    let broker = Held::start();
    let server = broker.wait(Server::start(None, "test", &|_| {})).unwrap();
    let url = server.url().reveal().to_owned();
    let store = "store = \"postgres\", url = \"${LURCHER_TEST_STORE}\"";
    let load = "[load]\nduration = \"120s\"\ndrain = \"1s\"\nmax_lag = \"60s\"\n";
    let rig = broker.rig(&scenario("gone", store, load));
    let mut command = rig.command();
    command.env("LURCHER_TEST_STORE", &url).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    until("the run to declare its queue", || broker.has_queues());
    std::thread::sleep(Duration::from_secs(2));
    broker.wait(server.stop()).unwrap();
    let ended = rig.wait(child).expect_code(3);
    let record = ended.record();
    let Completeness::Aborted { reason } = &record.completeness else { panic!("{:?}", record.completeness) };
    assert!(reason.starts_with("in: the store of its effects has failed for 30s"), "{reason}");
    assert!(record.incidents.iter().any(|incident| incident.kind == IncidentKind::StoreFailed));
    assert!(record.stores[0].error.is_some() && record.totals.effects_applied.is_none(), "{:?}", record.stores);
    assert_eq!(record.verdict.as_ref().map(|judged| judged.verdict), Some(Verdict::Inconclusive));
    let password = url.split(['@', ':']).nth(2).unwrap();
    assert!(password.len() >= 16, "no password in {url}");
    for file in std::fs::read_dir(ended.record.as_ref().unwrap()).unwrap().filter_map(Result::ok) {
        let text = std::fs::read(file.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(!text.unwrap_or_default().contains(password), "the password is in {}", file.path().display());
    }
    assert!(!ended.err.contains(password) && !ended.out.contains(password));
}

/// What tells a run to have its PostgreSQL in a container, where the machine has one too.
const POSTGRES_IMAGE: &str = "lurcher/postgres:17";

#[test]
fn a_server_in_a_container_is_private_and_goes_with_its_run() {
    let broker = Held::start();
    let cuts = format!(
        "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"0s\"\npick = {{ first = 100, every = 200, times = 3 }}\n{LOAD}"
    );
    let rig = broker.rig(&scenario("boxed", "store = \"postgres\"", &cuts)).with(&["--postgres-image", POSTGRES_IMAGE]);
    let child = rig.start();
    let pid = child.id();
    until("the run to declare its queue", || broker.has_queues());
    let [container] = &containers_of(pid)[..] else { panic!("one container: {:?}", containers_of(pid)) };
    let addresses = output("docker", &["port", container]);
    assert!(!addresses.is_empty() && addresses.lines().all(|line| line.contains("-> 127.0.0.1:")), "{addresses}");
    let record = rig.wait(child).expect_code(0).record();
    assert!(record.totals.duplicates >= 3, "{:?}", record.totals);
    let effects = record.account.queues[0].effects.unwrap();
    assert_eq!(effects, EffectsAccount { applied: record.totals.consumed, ..EffectsAccount::default() });
    assert_eq!(containers_of(pid), Vec::<String>::new());
}

#[test]
fn a_server_in_a_container_goes_after_an_interrupt_and_with_the_doctor_after_a_kill() {
    let broker = Held::start();
    let load = "[load]\nduration = \"120s\"\n";
    let rig = broker.rig(&scenario("ended", "store = \"postgres\"", load)).with(&["--postgres-image", POSTGRES_IMAGE]);
    for (signal, waits) in [("INT", false), ("INT", true), ("KILL", true)] {
        let child = rig.start();
        let pid = child.id();
        until("the container", || !containers_of(pid).is_empty());
        if waits {
            until("the run to declare its queue", || broker.has_queues());
        }
        output("kill", &["-s", signal, &pid.to_string()]);
        let ended = rig.wait(child);
        if signal == "KILL" {
            assert_eq!(containers_of(pid).len(), 1, "a killed run can remove nothing");
            let doctor = output(env!("CARGO_BIN_EXE_lurcher"), &["doctor", "--postgres-image", POSTGRES_IMAGE]);
            assert!(doctor.contains("PostgreSQL: in a container of lurcher/postgres:17"), "{doctor}");
        } else {
            ended.expect_code(130);
        }
        assert_eq!(containers_of(pid), Vec::<String>::new(), "after {signal}");
    }
}

#[test]
fn an_image_that_cannot_be_had_is_named_with_what_fixes_it() {
    // Nothing listens there, so that no registry is asked.
    let image = "127.0.0.1:1/postgres:17";
    let broker = Held::start();
    let rig = broker.rig(&scenario("imageless", "store = \"postgres\"", LOAD)).with(&["--postgres-image", image]);
    let ended = rig.run().expect_code(5);
    for part in ["the store of fleet `in` is not there", image, "LURCHER_POSTGRES_IMAGE=lurcher/postgres:17"] {
        assert!(ended.err.contains(part), "no {part} in {}", ended.err);
    }
    assert!(ended.record.is_none());
    let doctor = output(env!("CARGO_BIN_EXE_lurcher"), &["doctor", "--postgres-image", image]);
    assert!(doctor.contains(&format!("MISSING  PostgreSQL: the image {image} is not here")), "{doctor}");
}

/// A server that takes connections and never says a word, and how many it has taken.
fn silent() -> (u16, std::sync::mpsc::Receiver<std::net::TcpStream>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| taken.send(stream)));
    (port, connections)
}

#[test]
fn an_interrupt_is_heard_while_a_store_does_not_answer() {
    let (broker, (port, connections)) = (Held::start(), silent());
    let store = format!("store = \"postgres\", url = \"postgres://me:hush@127.0.0.1:{port}/db\"");
    let rig = broker.rig(&scenario("silent", &store, LOAD));
    let mut child = rig.start();
    let held = connections.recv().unwrap();
    rig::output("kill", &["-INT", &child.id().to_string()]);
    until("the end", || child.try_wait().unwrap().is_some());
    // Had it waited for the store, that would have been the reason.
    let ended = rig.wait(child).expect_code(130);
    assert!(ended.record.is_none() && ended.err.contains("interrupted before the load began"), "{}", ended.err);
    drop(held);
}

#[test]
fn one_member_remembers_what_any_of_its_channels_has_done() {
    let broker = Held::start();
    let more = "[[fault]]\nkind = \"cut-before-confirm\"\nat = \"0s\"\nfleets = [\"out\"]\n\
                pick = { first = 100, every = 100, times = 5 }\n";
    let text = scenario("channels", "store = \"memory\"", &format!("{more}{LOAD}"));
    let rig = broker.rig(&text).with(&["--set", "consumer.in.count=1", "--set", "consumer.in.channels=4"]);
    let totals = rig.run().record().totals;
    assert!(totals.republished >= 5, "{totals:?}");
    assert_eq!((totals.effects_repeated, totals.effects_missing), (Some(0), Some(0)), "{totals:?}");
}

#[test]
fn a_store_that_is_not_there_is_trouble_of_the_environment() {
    let store = "store = \"postgres\", url = \"postgres://me:hush@127.0.0.1:1/db\"";
    let broker = Held::start();
    let ended = broker.rig(&scenario("nowhere", store, LOAD)).run().expect_code(5);
    assert!(ended.err.contains("the store of fleet `in` is not there"), "{}", ended.err);
    assert!(!ended.err.contains("hush") && ended.record.is_none(), "{}", ended.err);
    let bad = Rig::new(&scenario("bad", "store = \"sqlite\", discipline = \"sometimes\"", LOAD)).run().expect_code(2);
    assert!(bad.err.contains("`one-transaction`"), "{}", bad.err);
}
