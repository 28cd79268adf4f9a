//! Ids and effects in PostgreSQL: a server that the caller names, or one of our own. TLS is not spoken.
//!
//! A member's connection is used for one batch at a time and put back only when that went well: after an error, a
//! crash or a dropped future it is cut, and the server rolls back what was open.

use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::error::StoreError;
use super::server::Server;
use super::session::{Batch, Next, Step, ask};
use super::{Audit, Discipline, EffectId, Tables, cutoff_us, effect, removed_max, sql_integer};
use crate::endpoint::Secret;

/// How long a connection may take, all that is said to open it included.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How long a statement may take: as long as SQLite waits for a lock, which is what takes long here too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// How long the tables may take to go.
const REMOVED_WITHIN: Duration = Duration::from_secs(15);

/// The tables, and the server where it is ours.
#[derive(Debug)]
pub(super) struct Store {
    /// It prints no password.
    config: Config,
    tables: Tables,
    server: Option<Server>,
    /// Whether there are tables of ours to drop.
    made: bool,
}

/// One member's connection.
#[derive(Debug)]
pub(super) struct Member {
    config: Config,
    tables: Tables,
    name: String,
    link: Option<(Link, Prepared)>,
}

/// A connection, cut when dropped: without a farewell, as by a process that dies.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A member's connection with what it says over and over.
#[derive(Debug)]
struct Prepared {
    look_up: Statement,
    record: Statement,
    apply: Statement,
    forget: Option<Statement>,
}

/// What a URL says.
pub(super) fn config(url: &Secret) -> Result<Config, StoreError> {
    let parsed = url.reveal().parse::<Config>();
    let mut config = parsed.map_err(|_| StoreError::BadUrl { reason: "it cannot be read" })?;
    if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
        return Err(StoreError::BadUrl { reason: "it asks for TLS, which this store does not speak" });
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECTED_WITHIN);
    }
    Ok(config)
}

/// Waits for what PostgreSQL is asked for, but not for ever: a server may take a connection, and never answer.
async fn answered<T>(
    action: &'static str,
    within: Duration,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer.map_err(StoreError::postgres(action)),
        Err(_) => Err(StoreError::Silent { action, within }),
    }
}

/// The same for a statement of a batch.
async fn step<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, StoreError> {
    answered("handle a batch", ANSWERED_WITHIN, asked).await
}

/// Connects; the server shows `name` as part of the application's.
pub(super) async fn connect(config: &Config, name: &str) -> Result<Link, StoreError> {
    let mut config = config.clone();
    config.application_name(format!("lurcher {name}"));
    let connecting = answered("open a connection", CONNECTED_WITHIN, config.connect(NoTls));
    let (client, connection) = connecting.await?;
    // How it ends, its client learns with the next statement.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Link { client, task })
}

impl Store {
    pub(super) async fn open(url: Option<Secret>, tables: Tables, run: u32) -> Result<Self, StoreError> {
        let (server, config) = match url {
            Some(url) => (None, config(&url)?),
            None => {
                let server = Server::start(None, &format!("{run:08x}"), &|_| {}).await?;
                let config = config(server.url())?;
                (Some(server), config)
            }
        };
        let mut store = Self { config, tables, server, made: false };
        store.create().await?;
        store.made = true;
        Ok(store)
    }

    async fn create(&self) -> Result<(), StoreError> {
        let Tables { processed, effects, window_us, .. } = &self.tables;
        let link = connect(&self.config, "set-up").await?;
        // Several statements at once are one transaction (PostgreSQL's manual, 55.2.2.1).
        let mut schema = format!(
            "CREATE TABLE {processed} (publisher int4 NOT NULL, sequence int8 NOT NULL, at_us int8 NOT NULL,
                PRIMARY KEY (publisher, sequence));
            CREATE TABLE {effects} (publisher int4 NOT NULL, sequence int8 NOT NULL);"
        );
        if window_us.is_some() {
            schema += &format!("CREATE INDEX {processed}_at ON {processed} (at_us);");
        }
        answered("create the tables", ANSWERED_WITHIN, link.client.batch_execute(&schema)).await
    }

    pub(super) async fn member(&self, member: usize) -> Result<Member, StoreError> {
        let name = format!("member {member}");
        let mut member = Member { config: self.config.clone(), tables: self.tables.clone(), name, link: None };
        member.link = Some(member.connect().await?);
        Ok(member)
    }

    pub(super) async fn audit(&self) -> Result<Audit, StoreError> {
        let effects = &self.tables.effects;
        let failed = StoreError::postgres("read the effects");
        let link = connect(&self.config, "audit").await?;
        let no_parameters: [i64; 0] = [];
        let query = format!("SELECT publisher, sequence FROM {effects}");
        // Row by row: all at once would not fit into memory.
        let rows = link.client.query_raw(&query, no_parameters).await.map_err(failed)?;
        let mut rows = std::pin::pin!(rows);
        let mut audit = Audit::default();
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let (publisher, sequence) = columns(&row).map_err(failed)?;
            audit.add(effect(publisher, sequence, effects)?);
        }
        Ok(audit)
    }

    #[cfg(test)]
    pub(super) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    pub(super) async fn close(mut self) -> Result<(), StoreError> {
        match self.server.take() {
            Some(server) => server.stop().await,
            None if std::mem::take(&mut self.made) => drop_tables(&self.config, &self.tables).await,
            None => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.server.is_some() || !self.made {
            return;
        }
        let (config, tables) = (self.config.clone(), self.tables.clone());
        // A thread and a runtime of its own: nobody can wait here for the one that this may be dropped in.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(drop_tables(&config, &tables)))
        });
        let _nobody_is_told = removal.join();
    }
}

async fn drop_tables(config: &Config, tables: &Tables) -> Result<(), StoreError> {
    let Tables { processed, effects, .. } = tables;
    let link = connect(config, "removal").await?;
    // A member that was cut off in a transaction holds the tables until the server notices, which is soon.
    let statements = format!("SET lock_timeout = '10s'; DROP TABLE {processed}, {effects};");
    answered("drop the tables", REMOVED_WITHIN, link.client.batch_execute(&statements)).await
}

fn columns(row: &Row) -> Result<(i64, i64), tokio_postgres::Error> {
    Ok((i64::from(row.try_get::<_, i32>(0)?), row.try_get(1)?))
}

/// As two arrays, one for each column.
fn arrays(ids: &[EffectId]) -> (Vec<i32>, Vec<i64>) {
    ids.iter().map(|id| (i32::from(id.publisher), sql_integer(id.sequence))).unzip()
}

impl Prepared {
    async fn on(client: &Client, tables: &Tables) -> Result<Self, tokio_postgres::Error> {
        let Tables { processed, effects, window_us, .. } = tables;
        // The tables begin empty, and what the planner knows of them then would have it read them from end to end.
        client.batch_execute("SET enable_seqscan = off").await?;
        const BATCH: &str = "unnest($1::int4[], $2::int8[]) AS batch (publisher, sequence)";
        let known = match window_us {
            None => "DO NOTHING",
            Some(_) => "DO UPDATE SET at_us = excluded.at_us WHERE held.at_us < $4",
        };
        let forget = format!(
            "DELETE FROM {processed} WHERE ctid = ANY (ARRAY (
                SELECT ctid FROM {processed} WHERE at_us < $1 ORDER BY at_us LIMIT $2 FOR UPDATE SKIP LOCKED))"
        );
        Ok(Self {
            look_up: client
                .prepare(&format!(
                    "SELECT batch.publisher, batch.sequence FROM {BATCH} WHERE NOT EXISTS (
                        SELECT FROM {processed} AS held WHERE held.publisher = batch.publisher
                        AND held.sequence = batch.sequence AND held.at_us >= $3)"
                ))
                .await?,
            record: client
                .prepare(&format!(
                    "INSERT INTO {processed} AS held (publisher, sequence, at_us)
                    SELECT publisher, sequence, $3::int8 FROM {BATCH} ORDER BY publisher, sequence
                    ON CONFLICT (publisher, sequence) {known} RETURNING publisher, sequence"
                ))
                .await?,
            apply: client
                .prepare(&format!(
                    "INSERT INTO {effects} (publisher, sequence) SELECT publisher, sequence FROM {BATCH}"
                ))
                .await?,
            forget: match window_us {
                None => None,
                Some(_) => Some(client.prepare(&forget).await?),
            },
        })
    }

    async fn look_up(
        &self,
        client: &Client,
        batch: &Batch,
        tables: &Tables,
    ) -> Result<Vec<EffectId>, tokio_postgres::Error> {
        let (publishers, sequences) = arrays(&batch.ids);
        let cutoff = cutoff_us(batch.now_us, tables.window_us);
        ids(&client.query(&self.look_up, &[&publishers, &sequences, &cutoff]).await?)
    }

    /// Those of the ids that were not known, or forgotten.
    async fn record(
        &self,
        client: &Client,
        recorded: &[EffectId],
        now_us: u64,
        tables: &Tables,
    ) -> Result<Vec<EffectId>, tokio_postgres::Error> {
        let (publishers, sequences) = arrays(recorded);
        let (now, cutoff) = (sql_integer(now_us), cutoff_us(now_us, tables.window_us));
        let rows = match tables.window_us {
            None => client.query(&self.record, &[&publishers, &sequences, &now]).await?,
            Some(_) => client.query(&self.record, &[&publishers, &sequences, &now, &cutoff]).await?,
        };
        ids(&rows)
    }

    async fn apply(&self, client: &Client, applied: &[EffectId]) -> Result<(), tokio_postgres::Error> {
        let (publishers, sequences) = arrays(applied);
        client.execute(&self.apply, &[&publishers, &sequences]).await.map(drop)
    }

    /// Removes what the window no longer holds, but for what another member is at.
    async fn forget(&self, client: &Client, batch: &Batch, tables: &Tables) -> Result<(), tokio_postgres::Error> {
        let Some(forget) = &self.forget else { return Ok(()) };
        let most = sql_integer(removed_max(batch.ids.len()) as u64);
        client.execute(forget, &[&cutoff_us(batch.now_us, tables.window_us), &most]).await.map(drop)
    }
}

fn ids(rows: &[Row]) -> Result<Vec<EffectId>, tokio_postgres::Error> {
    let id = |row: &Row| {
        let (publisher, sequence) = columns(row)?;
        // They are those of the batch, which were numbers of these kinds.
        Ok(EffectId { publisher: publisher as u16, sequence: sequence as u64 })
    };
    rows.iter().map(id).collect()
}

impl Member {
    pub(super) fn crash(&mut self) {
        self.link = None;
    }

    async fn connect(&self) -> Result<(Link, Prepared), StoreError> {
        let link = connect(&self.config, &self.name).await?;
        let preparing = Prepared::on(&link.client, &self.tables);
        let prepared = answered("prepare the statements", CONNECTED_WITHIN, preparing).await?;
        Ok((link, prepared))
    }

    /// The ids whose effects were applied; none where the member died.
    pub(super) async fn handle<F, Fut>(
        &mut self,
        batch: Batch,
        mut hook: Option<F>,
    ) -> Result<Option<Vec<EffectId>>, StoreError>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        let (link, prepared) = match self.link.take() {
            Some(linked) if !linked.0.client.is_closed() => linked,
            _ => self.connect().await?,
        };
        let applied = match self.tables.discipline {
            Discipline::OneTransaction => self.one_transaction(&link.client, &prepared, &batch, &mut hook).await,
            Discipline::CheckThenAct => self.check_then_act(&link.client, &prepared, &batch, &mut hook).await,
        };
        let applied = applied?;
        self.link = applied.is_some().then_some((link, prepared));
        Ok(applied)
    }

    async fn one_transaction<F, Fut>(
        &self,
        client: &Client,
        prepared: &Prepared,
        batch: &Batch,
        hook: &mut Option<F>,
    ) -> Result<Option<Vec<EffectId>>, StoreError>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        // A server's own default may be stricter, and would refuse what waits for another member.
        step(client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")).await?;
        let fresh = step(prepared.record(client, &batch.ids, batch.now_us, &self.tables)).await?;
        if ask(hook, Step::BeforeEffect).await == Next::Die {
            return Ok(None);
        }
        step(prepared.apply(client, &fresh)).await?;
        if ask(hook, Step::AfterEffect).await == Next::Die {
            return Ok(None);
        }
        step(prepared.forget(client, batch, &self.tables)).await?;
        step(client.batch_execute("COMMIT")).await?;
        Ok((ask(hook, Step::AfterRecord).await == Next::GoOn).then_some(fresh))
    }

    async fn check_then_act<F, Fut>(
        &self,
        client: &Client,
        prepared: &Prepared,
        batch: &Batch,
        hook: &mut Option<F>,
    ) -> Result<Option<Vec<EffectId>>, StoreError>
    where
        F: FnMut(Step) -> Fut,
        Fut: Future<Output = Next>,
    {
        let fresh = step(prepared.look_up(client, batch, &self.tables)).await?;
        if ask(hook, Step::BeforeEffect).await == Next::Die {
            return Ok(None);
        }
        step(prepared.apply(client, &fresh)).await?;
        if ask(hook, Step::AfterEffect).await == Next::Die {
            return Ok(None);
        }
        step(prepared.record(client, &fresh, batch.now_us, &self.tables)).await?;
        step(prepared.forget(client, batch, &self.tables)).await?;
        Ok((ask(hook, Step::AfterRecord).await == Next::GoOn).then_some(fresh))
    }
}
