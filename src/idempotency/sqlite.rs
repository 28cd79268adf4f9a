//! Ids and effects in a SQLite file, written ahead (WAL) and synced with each commit (`synchronous=FULL`).
//!
//! Each member has a connection on a thread of its own, not one of the runtime's for blocking work: that pool has a
//! limit, and members that wait for their turn to write would fill it. A batch also runs to its end there when the
//! future that waits for it is dropped, so that no connection is left in the middle of a transaction. SQLite lets one
//! write at a time and lets the others poll, the unlucky ones for seconds; the members of this process take turns by a
//! lock instead, which is held for one transaction.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::directory::OwnDirectory;
use super::error::StoreError;
use super::session::{Batch, Next, Step};
use super::{Audit, Discipline, EffectId, Tables, cutoff_us, effect, removed_max, sql_integer};

/// How long another process may hold the file before that is an error.
const BUSY: Duration = Duration::from_secs(30);

/// How long the members' threads may take to let go of the file.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

/// The store's file.
#[derive(Debug)]
pub(super) struct Store {
    shared: Arc<Shared>,
    removal: Removal,
}

/// What goes with the store.
#[derive(Debug)]
enum Removal {
    Directory(OwnDirectory),
    File,
    /// In a file that was there before, whose journal was in this mode.
    Tables {
        journal: String,
    },
    Done,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    tables: Tables,
    turn: Mutex<()>,
}

/// One member's connection.
#[derive(Debug)]
pub(super) struct Member {
    shared: Arc<Shared>,
    name: String,
    /// Ends when this end of the line is dropped.
    thread: Option<mpsc::SyncSender<Request>>,
}

/// A batch on its way to the thread.
struct Request {
    batch: Batch,
    hook: Option<Hook>,
    reply: oneshot::Sender<Reply>,
}

/// The ids whose effects were applied; none where the member died.
type Reply = Result<Option<Vec<EffectId>>, StoreError>;

/// The thread's end of a hook that runs elsewhere.
struct Hook {
    reached: tokio::sync::mpsc::Sender<Step>,
    answer: mpsc::Receiver<Next>,
}

impl Hook {
    /// Dies where nobody answers any more.
    fn ask(hook: &mut Option<Self>, step: Step) -> Next {
        let Some(hook) = hook else { return Next::GoOn };
        match hook.reached.blocking_send(step) {
            Ok(()) => hook.answer.recv().unwrap_or(Next::Die),
            Err(_) => Next::Die,
        }
    }
}

impl Store {
    pub(super) async fn open(path: Option<PathBuf>, tables: Tables) -> Result<Self, StoreError> {
        blocking(move || {
            let (path, removal) = match path {
                None => {
                    let directory = OwnDirectory::create(&[])?;
                    (directory.path().join("effects.sqlite"), Some(Removal::Directory(directory)))
                }
                Some(path) if path.exists() => (path, None),
                Some(path) => (path, Some(Removal::File)),
            };
            let shared = Arc::new(Shared { path, tables, turn: Mutex::new(()) });
            // The one who did not make the tables does not remove them.
            let mut store = Self { shared, removal: Removal::Done };
            let journal = store.shared.create()?;
            store.removal = removal.unwrap_or(Removal::Tables { journal });
            Ok(store)
        })
        .await
    }

    pub(super) async fn member(&self, member: usize) -> Result<Member, StoreError> {
        let (shared, name) = (Arc::clone(&self.shared), format!("sqlite-{member}"));
        blocking(move || {
            let thread = Some(start(&shared, &name)?);
            Ok(Member { shared, name, thread })
        })
        .await
    }

    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.audit()).await
    }

    pub(super) async fn close(mut self) -> Result<(), StoreError> {
        blocking(move || self.remove()).await
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> &Path {
        self.shared.path.parent().unwrap()
    }

    fn remove(&mut self) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.removal, Removal::Done) {
            Removal::Done => Ok(()),
            Removal::Directory(directory) => directory.remove(),
            Removal::Tables { journal } => self.shared.drop_tables(&journal),
            Removal::File => ["", "-wal", "-shm"].iter().try_for_each(|suffix| {
                let mut path = self.shared.path.clone().into_os_string();
                path.push(suffix);
                let action = format!("remove {}", Path::new(&path).display());
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(StoreError::system(action)(error))
                    }
                    _ => Ok(()),
                }
            }),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _nobody_is_told = self.remove();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| StoreError::system("use the SQLite store")(std::io::Error::other(error)))?
}

impl Shared {
    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
        move |source| StoreError::Sqlite { action, path: self.path.display().to_string(), source }
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection, StoreError> {
        let open = || {
            let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok(connection)
        };
        open().map_err(self.failed("open a connection"))
    }

    /// Makes the tables; the mode that the journal was in before.
    fn create(&self) -> Result<String, StoreError> {
        let Tables { processed, effects, window_us, .. } = &self.tables;
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let mut schema = format!(
            "BEGIN IMMEDIATE;
            CREATE TABLE {processed} (publisher INTEGER NOT NULL, sequence INTEGER NOT NULL, at_us INTEGER NOT NULL,
                PRIMARY KEY (publisher, sequence)) WITHOUT ROWID;
            CREATE TABLE {effects} (publisher INTEGER NOT NULL, sequence INTEGER NOT NULL);"
        );
        if window_us.is_some() {
            schema += &format!("CREATE INDEX {processed}_at ON {processed} (at_us);");
        }
        schema += "COMMIT;";
        let create = || {
            let journal = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.execute_batch(&schema)?;
            Ok(journal)
        };
        create().map_err(self.failed("create the tables"))
    }

    /// Leaves the file as it was before, its journal in the mode `journal`.
    fn drop_tables(&self, journal: &str) -> Result<(), StoreError> {
        let Tables { processed, effects, .. } = &self.tables;
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let _turn = self.turn();
        connection
            .execute_batch(&format!("DROP TABLE {processed}; DROP TABLE {effects};"))
            .map_err(self.failed("drop the tables"))?;
        if journal.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        // SQLite waits for nobody here, and a member's thread may be about to let go of the file.
        let asked = std::time::Instant::now();
        loop {
            match connection.pragma_update(None, "journal_mode", journal) {
                Err(_) if asked.elapsed() < RELEASED_WITHIN => std::thread::sleep(RELEASED_WITHIN / 100),
                done => return done.map_err(self.failed("put the mode of the journal back")),
            }
        }
    }

    fn audit(&self) -> Result<Audit, StoreError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let failed = self.failed("read the effects");
        let mut statement =
            connection.prepare(&format!("SELECT publisher, sequence FROM {}", self.tables.effects)).map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        let mut audit = Audit::default();
        while let Some(row) = rows.next().map_err(failed)? {
            let (publisher, sequence) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            audit.add(effect(publisher, sequence, &self.path.display().to_string())?);
        }
        Ok(audit)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one_transaction(&self, connection: &mut Connection, batch: &Batch, hook: &mut Option<Hook>) -> Reply {
        let failed = self.failed("record and apply a batch");
        let _turn = self.turn();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let fresh = self.record(&transaction, &batch.ids, batch.now_us).map_err(failed)?;
        if Hook::ask(hook, Step::BeforeEffect) == Next::Die {
            return Ok(None);
        }
        self.apply(&transaction, &fresh).map_err(failed)?;
        if Hook::ask(hook, Step::AfterEffect) == Next::Die {
            return Ok(None);
        }
        self.forget(&transaction, batch).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok((Hook::ask(hook, Step::AfterRecord) == Next::GoOn).then_some(fresh))
    }

    fn check_then_act(&self, connection: &mut Connection, batch: &Batch, hook: &mut Option<Hook>) -> Reply {
        let fresh = self.look_up(connection, batch).map_err(self.failed("look up a batch"))?;
        if Hook::ask(hook, Step::BeforeEffect) == Next::Die {
            return Ok(None);
        }
        self.commit(connection, |transaction| self.apply(transaction, &fresh)).map_err(self.failed("apply a batch"))?;
        if Hook::ask(hook, Step::AfterEffect) == Next::Die {
            return Ok(None);
        }
        self.commit(connection, |transaction| {
            self.record(transaction, &fresh, batch.now_us)?;
            self.forget(transaction, batch)
        })
        .map_err(self.failed("record a batch"))?;
        Ok((Hook::ask(hook, Step::AfterRecord) == Next::GoOn).then_some(fresh))
    }

    fn commit(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let _turn = self.turn();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&transaction)?;
        transaction.commit()
    }

    fn look_up(&self, connection: &Connection, batch: &Batch) -> rusqlite::Result<Vec<EffectId>> {
        let cutoff = cutoff_us(batch.now_us, self.tables.window_us);
        let mut statement = connection.prepare_cached(&format!(
            "SELECT 1 FROM {} WHERE publisher = ?1 AND sequence = ?2 AND at_us >= ?3",
            self.tables.processed
        ))?;
        let mut fresh = batch.ids.clone();
        let mut failure = None;
        fresh.retain(|id| match statement.exists((id.publisher, sql_integer(id.sequence), cutoff)) {
            Ok(known) => !known,
            Err(error) => {
                failure = Some(error);
                false
            }
        });
        failure.map_or(Ok(fresh), Err)
    }

    /// Those of the ids that were not known, or forgotten.
    fn record(&self, transaction: &Transaction<'_>, ids: &[EffectId], now_us: u64) -> rusqlite::Result<Vec<EffectId>> {
        let cutoff = cutoff_us(now_us, self.tables.window_us);
        let mut statement = transaction.prepare_cached(&format!(
            "INSERT INTO {} AS held (publisher, sequence, at_us) VALUES (?1, ?2, ?3)
            ON CONFLICT (publisher, sequence) DO UPDATE SET at_us = excluded.at_us WHERE held.at_us < ?4",
            self.tables.processed
        ))?;
        let mut fresh = Vec::with_capacity(ids.len());
        for id in ids {
            let row = (id.publisher, sql_integer(id.sequence), sql_integer(now_us), cutoff);
            if statement.execute(row)? == 1 {
                fresh.push(*id);
            }
        }
        Ok(fresh)
    }

    fn apply(&self, transaction: &Transaction<'_>, ids: &[EffectId]) -> rusqlite::Result<()> {
        let mut statement = transaction
            .prepare_cached(&format!("INSERT INTO {} (publisher, sequence) VALUES (?1, ?2)", self.tables.effects))?;
        ids.iter().try_for_each(|id| statement.execute((id.publisher, sql_integer(id.sequence))).map(drop))
    }

    /// Removes what the window no longer holds.
    fn forget(&self, transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
        if self.tables.window_us.is_none() {
            return Ok(());
        }
        let processed = &self.tables.processed;
        let mut statement = transaction.prepare_cached(&format!(
            "DELETE FROM {processed} WHERE (publisher, sequence) IN
            (SELECT publisher, sequence FROM {processed} WHERE at_us < ?1 ORDER BY at_us LIMIT ?2)"
        ))?;
        let cutoff = cutoff_us(batch.now_us, self.tables.window_us);
        statement.execute((cutoff, sql_integer(removed_max(batch.ids.len()) as u64))).map(drop)
    }
}

/// Opens a connection and serves it on a thread.
fn start(shared: &Arc<Shared>, name: &str) -> Result<mpsc::SyncSender<Request>, StoreError> {
    // Without the leave to create the file: a member that outlives the store does not bring it back.
    let mut connection = shared.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let shared = Arc::clone(shared);
    let (sender, requests) = mpsc::sync_channel::<Request>(1);
    let serve = move || {
        for Request { batch, mut hook, reply } in requests {
            let applied = match shared.tables.discipline {
                Discipline::OneTransaction => shared.one_transaction(&mut connection, &batch, &mut hook),
                Discipline::CheckThenAct => shared.check_then_act(&mut connection, &batch, &mut hook),
            };
            let _nobody_waits_any_more = reply.send(applied);
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(serve)
        .map_err(StoreError::system("start a thread for a SQLite connection"))?;
    Ok(sender)
}

impl Member {
    pub(super) fn crash(&mut self) {
        self.thread = None;
    }

    pub(super) async fn handle<F, Fut>(&mut self, batch: Batch, hook: Option<F>) -> Reply
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        // Back in its place after an answer only: a connection whose answer nobody waited for is not used again.
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => {
                let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
                blocking(move || start(&shared, &name)).await?
            }
        };
        let (reply, replied) = oneshot::channel();
        let (reached, mut steps) = tokio::sync::mpsc::channel(1);
        let (answers, answer) = mpsc::sync_channel(1);
        let thread_hook = hook.is_some().then_some(Hook { reached, answer });
        let sent = thread.try_send(Request { batch, hook: thread_hook, reply }).is_ok();
        if let (true, Some(mut hook)) = (sent, hook) {
            // The line closes when the thread is through with the batch.
            while let Some(step) = steps.recv().await {
                let _ended_meanwhile = answers.try_send(hook(step).await);
            }
        }
        let applied = replied.await.unwrap_or(Err(StoreError::ThreadGone))?;
        self.thread = Some(thread);
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_commit_is_on_the_disk() {
        let store = store().await;
        let connection = store.shared.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".to_owned()));
        assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2), "FULL");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_process_that_writes_is_waited_for() {
        let store = store().await;
        let mut member = store.member(0).await.unwrap();
        // One of another process, as far as the member's lock knows.
        let other = Connection::open(&store.shared.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waiting = tokio::spawn(async move {
            let batch = Batch { ids: vec![EffectId { publisher: 1, sequence: 1 }], now_us: 0 };
            member.handle(batch, None::<fn(Step) -> std::future::Ready<Next>>).await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().map(|applied| applied.len()), Some(1));
    }

    async fn store() -> Store {
        let (processed, effects) = ("lurcher_p".to_owned(), "lurcher_e".to_owned());
        let tables = Tables { processed, effects, discipline: Discipline::OneTransaction, window_us: None };
        Store::open(None, tables).await.unwrap()
    }
}
