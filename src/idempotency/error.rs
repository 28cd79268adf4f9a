//! What can go wrong between a consumer and its store. No password is ever part of an error.

use std::time::Duration;

use super::EffectId;
use crate::engine::EngineError;

/// Why a store is not there, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The discipline needs a store that can hold ids and effects in one transaction.
    #[error(
        "the store `{store}` has no transaction that spans the ids and the effects; take the stores `sqlite` or \
         `postgres`, or the discipline `check-then-act`"
    )]
    NoTransaction {
        /// The store, in a scenario's words.
        store: &'static str,
    },
    /// An id that no stamp can carry.
    #[error("the sequence {} of publisher {} is too large for a store", id.sequence, id.publisher)]
    IdTooLarge {
        /// The id.
        id: EffectId,
    },
    /// A row of the store that lurcher did not write.
    #[error("the store {place} holds an effect that lurcher did not write: publisher {publisher}, sequence {sequence}")]
    ForeignRow {
        /// Table or file.
        place: String,
        /// As it stands there.
        publisher: i64,
        /// As it stands there.
        sequence: i64,
    },
    /// SQLite refused something.
    #[error("could not {action} in the SQLite store {path}: {source}")]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The thread of a SQLite connection is gone.
    #[error("the thread of a member's SQLite connection ended in the middle of a batch")]
    ThreadGone,
    /// A URL that cannot be one. Its text is left out: it may hold a password.
    #[error(
        "the URL of the PostgreSQL server is not usable: {reason}\nwrite it like postgres://user:password@host/database"
    )]
    BadUrl {
        /// What is wrong.
        reason: &'static str,
    },
    /// PostgreSQL refused something, or cannot be reached.
    #[error("could not {action} in the PostgreSQL store: {reason}")]
    Postgres {
        /// What was tried.
        action: &'static str,
        /// What the server, the network or the client said, with its causes.
        reason: String,
    },
    /// PostgreSQL took a connection, and then said nothing.
    #[error(
        "could not {action} in the PostgreSQL store: the server did not answer within {within:?}; see whether it still \
         runs, or holds locks"
    )]
    Silent {
        /// What was tried.
        action: &'static str,
        /// How long it was given.
        within: Duration,
    },
    /// No PostgreSQL on this machine.
    #[error(
        "found no PostgreSQL server in {searched}\ninstall it (Debian: `sudo apt-get install postgresql`; `make test` \
         does so without starting the system's service), or name the URL of one that runs"
    )]
    NoServer {
        /// Where it was looked for.
        searched: String,
    },
    /// No container can be had.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The image is not on this machine; a run would pull it.
    #[error("the image {image} is not here; a run pulls it, or `docker pull {image}`\n{fix}")]
    ImageNotHere {
        /// The image.
        image: String,
        /// What else there is.
        fix: String,
    },
    /// Neither a child nor a container can be had.
    #[error("no PostgreSQL can be started here\na child: {child}\na container: {container}")]
    NothingToStart {
        /// Why not a child.
        child: Box<StoreError>,
        /// Why not a container.
        container: Box<StoreError>,
    },
    /// The engine could not make or start the container.
    #[error(
        "could not start PostgreSQL in a container of {image}: {reason}\nname an image of PostgreSQL with \
         `--postgres-image` or LURCHER_POSTGRES_IMAGE, such as postgres:17"
    )]
    Container {
        /// The image.
        image: String,
        /// What the engine said.
        reason: String,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else to run it as.
    #[error("PostgreSQL does not run as root, and this system has neither a user `postgres` nor a user `nobody`")]
    NoUser,
    /// The path of the server's socket is longer than a socket's may be.
    #[error("the path {path} is too long for a socket; set TMPDIR to a directory with a shorter one")]
    PathTooLong {
        /// The path.
        path: String,
    },
    /// The server ended before it was ready, or its directory could not be prepared.
    #[error("the PostgreSQL server could not be started ({how}); it says:\n{log}")]
    Died {
        /// Which command, and its exit code or signal.
        how: String,
        /// The last lines.
        log: String,
    },
    /// The server was not ready in time.
    #[error("the PostgreSQL server was not ready within {after:?}: {last}")]
    NotReady {
        /// How long it was given.
        after: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// Something that was started is still there.
    #[error("could not remove {what}: {reason}\n{fix}")]
    Remains {
        /// What it is.
        what: String,
        /// Why.
        reason: String,
        /// What to do.
        fix: String,
    },
    /// The operating system refused something.
    #[error("could not {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Why there is no container, beside why there is no child, where a container was not asked for.
    pub(super) fn without_programs(no_programs: Option<Self>, no_container: Self) -> Self {
        match no_programs {
            Some(child) if no_container.is_absence() => {
                Self::NothingToStart { child: Box::new(child), container: Box::new(no_container) }
            }
            _ => no_container,
        }
    }

    fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::ImageNotHere { .. } | Self::Engine(EngineError::NoDocker { .. } | EngineError::NoImage { .. })
        )
    }

    /// Names what the operating system refused.
    pub(super) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }

    /// Names what PostgreSQL refused. The client's own text leaves the server's out: it stands among the causes.
    pub(super) fn postgres(action: &'static str) -> impl Fn(tokio_postgres::Error) -> Self + Copy {
        move |error| {
            let mut reason = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                let text = error.to_string();
                if !reason.contains(&text) {
                    reason = format!("{reason}: {text}");
                }
                cause = error.source();
            }
            Self::Postgres { action, reason }
        }
    }
}
