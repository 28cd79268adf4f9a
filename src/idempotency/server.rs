//! A PostgreSQL server of our own: a child where the machine has its programs, else a container; always a container where
//! the caller names an image.

use std::path::PathBuf;

use super::child::{ChildServer, find_programs};
use super::container::{self, ContainerServer};
use super::error::StoreError;
use crate::endpoint::Secret;

/// A listener for lines of progress.
pub type Note<'a> = &'a (dyn Fn(String) + Send + Sync);

/// The image of a container where the caller names none.
pub const DEFAULT_IMAGE: &str = "postgres:17";

/// A server that runs until this is dropped. After this process a child ends by itself; a container is removed by
/// `lurcher doctor` or the next run.
#[derive(Debug)]
pub struct Server(Kind);

#[derive(Debug)]
enum Kind {
    Child(ChildServer),
    Container(ContainerServer),
}

/// What a server of our own is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The machine's programs, in this directory.
    Programs(PathBuf),
    /// An image.
    Image(String),
}

impl Source {
    /// The `image` that the caller names, else the machine's programs, else the default image.
    fn choose(image: Option<&str>, programs: Result<PathBuf, StoreError>) -> (Self, Option<StoreError>) {
        match (image, programs) {
            (Some(image), _) => (Self::Image(image.to_owned()), None),
            (None, Ok(programs)) => (Self::Programs(programs), None),
            (None, Err(none)) => (Self::Image(DEFAULT_IMAGE.to_owned()), Some(none)),
        }
    }

    /// What a server would be made from here, now; an image that is not on this machine yet counts as missing.
    ///
    /// # Errors
    /// Where there is nothing, with the commands that fix it.
    pub async fn find(image: Option<&str>) -> Result<Self, StoreError> {
        let (source, no_programs) = Self::choose(image, find_programs());
        if let Self::Image(image) = &source {
            container::look_for(image).await.map_err(|error| StoreError::without_programs(no_programs, error))?;
        }
        Ok(source)
    }
}

impl Server {
    /// Starts one for `run` and waits until it answers: from `image`, else as a child, which takes about a second, else
    /// from [`DEFAULT_IMAGE`].
    ///
    /// # Errors
    /// Where there is nothing to start, with the commands that fix it, or it does not start; nothing is left then.
    pub async fn start(image: Option<&str>, run: &str, note: Note<'_>) -> Result<Self, StoreError> {
        Self::start_from(Source::choose(image, find_programs()), run, note).await
    }

    async fn start_from(
        (source, no_programs): (Source, Option<StoreError>),
        run: &str,
        note: Note<'_>,
    ) -> Result<Self, StoreError> {
        let kind = match source {
            Source::Programs(programs) => {
                note("starting PostgreSQL".to_owned());
                Kind::Child(ChildServer::start(programs).await?)
            }
            Source::Image(image) => {
                let started = ContainerServer::start(&image, run, note).await;
                Kind::Container(started.map_err(|error| StoreError::without_programs(no_programs, error))?)
            }
        };
        Ok(Self(kind))
    }

    /// A URL with the password, for [`super::StoreKind::Postgres`].
    pub fn url(&self) -> &Secret {
        match &self.0 {
            Kind::Child(server) => server.url(),
            Kind::Container(server) => server.url(),
        }
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> Option<&std::path::Path> {
        match &self.0 {
            Kind::Child(server) => Some(server.directory()),
            Kind::Container(_) => None,
        }
    }

    /// Ends it and removes all that it held.
    ///
    /// # Errors
    /// Where something stays.
    pub async fn stop(self) -> Result<(), StoreError> {
        match self.0 {
            Kind::Child(server) => server.stop().await,
            Kind::Container(server) => server.stop().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<PathBuf, StoreError> {
        Err(StoreError::NoServer { searched: "an empty PATH".to_owned() })
    }

    #[test]
    fn a_named_image_comes_first_then_the_machines_programs_then_the_default_image() {
        let programs = || Ok(PathBuf::from("/usr/lib/postgresql/17/bin"));
        let image = |name: &str| Source::Image(name.to_owned());
        assert_eq!(Source::choose(Some("mine:1"), programs()).0, image("mine:1"));
        assert_eq!(Source::choose(Some("mine:1"), none()).0, image("mine:1"));
        assert_eq!(Source::choose(None, programs()).0, Source::Programs(programs().unwrap()));
        assert_eq!(Source::choose(None, none()).0, image(DEFAULT_IMAGE));
    }

    #[tokio::test]
    async fn where_there_is_neither_both_are_named_with_what_fixes_them() {
        // Nothing listens there, so that no registry is asked.
        let image = "127.0.0.1:1/postgres:17";
        let (_, no_programs) = Source::choose(None, none());
        let error =
            Server::start_from((Source::Image(image.to_owned()), no_programs), "test", &|_| {}).await.unwrap_err();
        let text = error.to_string();
        for part in ["an empty PATH", "`sudo apt-get install postgresql`", image, "LURCHER_POSTGRES_IMAGE", "the URL"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
