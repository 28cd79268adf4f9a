//! PostgreSQL in a container: of the official image, or of one that takes the same environment and arguments, as
//! `.ci/postgres-image` makes it.
//!
//! It is published on a port of 127.0.0.1 that the engine chooses. Its data is in the volume that the image asks for,
//! or in the container; both go with it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, HostConfig, PortBinding,
};
use testcontainers::bollard::query_parameters::InspectContainerOptions;

use super::child::CONNECTIONS_MAX;
use super::directory::secret_text;
use super::error::StoreError;
use super::server::Note;
use crate::endpoint::Secret;
use crate::engine::{self, Built, EngineError, Owner, Removal};

/// The image that `make postgres-image` makes.
const BUILT: Built = Built {
    image: "lurcher/postgres:17",
    command: "make postgres-image",
    flag: "--postgres-image",
    variable: "LURCHER_POSTGRES_IMAGE",
};
/// Label of a container: which server it is.
const LABEL_STORE: &str = "lurcher.store";
const LOOPBACK: &str = "127.0.0.1";
const PORT: &str = "5432/tcp";
/// A new cluster is made first.
const READY_WITHIN: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(super) struct ContainerServer {
    url: Secret,
    removal: Removal,
}

/// Looks for the image on this machine.
pub(super) async fn look_for(image: &str) -> Result<(), StoreError> {
    let docker = engine::connect().await?;
    match engine::local_image_id(&docker, image).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::ImageNotHere { image: image.to_owned(), fix: BUILT.fix(&docker).await }),
    }
}

impl ContainerServer {
    /// Starts one and waits until it answers. It takes a few seconds, and as long as the image is pulled.
    pub(super) async fn start(image: &str, run: &str, note: Note<'_>) -> Result<Self, StoreError> {
        let docker = engine::connect().await?;
        let image_id = engine::image_id(&docker, image, &BUILT, note).await?;
        note(format!("starting PostgreSQL from {image}"));
        let (password, name) = (secret_text()?, secret_text()?);
        let body = request(image_id, &password, &name, run);
        // In a task of its own: where this start is given up, a request that is dropped half-way makes a container all
        // the same, some time later.
        let making = tokio::spawn(make(docker.clone(), body));
        let removal = Removal::new(LABEL_STORE, &name, making.abort_handle());
        let hushed =
            |error: String| StoreError::Container { image: image.to_owned(), reason: error.replace(&password, "***") };
        let made = making.await.map_err(|error| hushed(error.to_string()))?;
        let id = made.map_err(|error| hushed(error.to_string()))?;
        let Some(port) = inspect(&docker, &id).await?.and_then(|container| published(&container)) else {
            return Err(died(&docker, &id, image).await.unwrap_or_else(|| hushed("it has no port".to_owned())));
        };
        let url = Secret::new(format!("postgres://lurcher:{password}@{LOOPBACK}:{port}/postgres"));
        let server = Self { url, removal };
        server.ready(&docker, &id, image).await?;
        Ok(server)
    }

    async fn ready(&self, docker: &Docker, id: &str, image: &str) -> Result<(), StoreError> {
        let started = Instant::now();
        let config = super::postgres::config(&self.url)?;
        loop {
            // The engine accepts connections, and ends them, before the server does.
            let error = match super::postgres::connect(&config, "ready").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if let Some(died) = died(docker, id, image).await {
                return Err(died);
            }
            if started.elapsed() > READY_WITHIN {
                return Err(StoreError::NotReady { after: READY_WITHIN, last: error.to_string() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    pub(super) async fn stop(self) -> Result<(), StoreError> {
        Ok(self.removal.remove().await?)
    }
}

fn request(image_id: String, password: &str, name: &str, run: &str) -> ContainerCreateBody {
    let binding = PortBinding { host_ip: Some(LOOPBACK.to_owned()), host_port: Some(String::new()) };
    let labels = Owner::this(run).labels().into_iter().chain([(LABEL_STORE, name.to_owned())]);
    let command = ["postgres".to_owned(), "-c".to_owned(), format!("max_connections={CONNECTIONS_MAX}")];
    let environment = [
        "POSTGRES_USER=lurcher".to_owned(),
        format!("POSTGRES_PASSWORD={password}"),
        // As a child is made: a machine that fails before the first commit loses a store whose run it ended as well.
        "POSTGRES_INITDB_ARGS=--encoding=UTF8 --locale=C --no-sync".to_owned(),
    ];
    ContainerCreateBody {
        image: Some(image_id),
        cmd: Some(command.into()),
        env: Some(environment.into()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).collect()),
        exposed_ports: Some(vec![PORT.to_owned()]),
        host_config: Some(HostConfig {
            port_bindings: Some(HashMap::from([(PORT.to_owned(), Some(vec![binding]))])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The id of a container that was started.
async fn make(docker: Docker, body: ContainerCreateBody) -> Result<String, DockerError> {
    let id = docker.create_container(None, body).await?.id;
    docker.start_container(&id, None).await?;
    Ok(id)
}

async fn inspect(docker: &Docker, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
    match docker.inspect_container(id, None::<InspectContainerOptions>).await {
        Ok(container) => Ok(Some(container)),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(EngineError::refused("look at PostgreSQL's container")(error)),
    }
}

/// The port of this machine that leads to the server.
fn published(container: &ContainerInspectResponse) -> Option<u16> {
    let ports = container.network_settings.as_ref()?.ports.as_ref()?;
    ports.get(PORT)?.iter().flatten().find_map(|binding| binding.host_port.as_ref()?.parse().ok())
}

/// What its log says, where it has ended.
async fn died(docker: &Docker, id: &str, image: &str) -> Option<StoreError> {
    let container = inspect(docker, id).await.ok()?;
    let state = container.map(|container| container.state.unwrap_or_default());
    let how = match state {
        None => "it was removed".to_owned(),
        Some(state)
            if matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD)) =>
        {
            format!("the container of {image} ended with exit code {}", state.exit_code.unwrap_or_default())
        }
        Some(_) => return None,
    };
    Some(StoreError::Died { how, log: engine::log_excerpt(docker, id).await })
}
