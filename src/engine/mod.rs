//! The container engine: reached, looked over, asked for images, and cleaned up after; who started what, and whether that
//! process still runs.
//!
//! Uses no other room. Every container of ours has the labels of an [`Owner`], so that what a killed run left is found.

mod error;
mod owner;
pub mod procfs;
mod removal;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::bollard::{API_DEFAULT_VERSION, Docker};

pub use error::EngineError;
pub use owner::{LABEL_RUN, Owner};
pub use removal::Removal;

const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a pull may make no progress before the registry counts as unreachable.
const PULL_STALL: Duration = Duration::from_secs(30);

/// An image that can be built where no registry answers, and how it is then used.
#[derive(Debug, Clone, Copy)]
pub struct Built {
    /// Its name.
    pub image: &'static str,
    /// The command that builds it.
    pub command: &'static str,
    /// The flag that names an image.
    pub flag: &'static str,
    /// The variable that names an image.
    pub variable: &'static str,
}

impl Built {
    /// What to do where another image cannot be had.
    pub async fn fix(&self, docker: &Docker) -> String {
        let Self { image, command, flag, variable } = self;
        match local_image_id(docker, image).await {
            Ok(Some(_)) => format!("{image} is here: use it with `{flag} {image}` or {variable}={image}"),
            _ => format!(
                "run `{command}`, which builds {image} from Debian's packages, then use `{flag} {image}` or \
                 {variable}={image}"
            ),
        }
    }
}

/// Lines of a log that an error shows.
pub const LOG_LINES: usize = 20;

/// Connects, in the order in which testcontainers looks for its engine, and checks that it answers.
pub async fn connect() -> Result<Docker, EngineError> {
    let docker = client().map_err(|error| EngineError::NoDocker { reason: error.to_string() })?;
    match tokio::time::timeout(PING_TIMEOUT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(EngineError::NoDocker { reason: format!("{} ({})", error, host()) }),
        Err(_) => Err(EngineError::NoDocker { reason: format!("no answer within {PING_TIMEOUT:?} ({})", host()) }),
    }
}

fn client() -> Result<Docker, DockerError> {
    let host = host();
    if host.starts_with("unix://") {
        Docker::connect_with_unix(&host, CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_host(&host)
    }
}

fn host() -> String {
    let directory = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        return host;
    }
    let sockets = [
        Some(PathBuf::from("/var/run/docker.sock")),
        directory("XDG_RUNTIME_DIR").map(|dir| dir.join(".docker/run/docker.sock")),
        directory("HOME").map(|dir| dir.join(".docker/run/docker.sock")),
        directory("HOME").map(|dir| dir.join(".docker/desktop/docker.sock")),
    ];
    let found = sockets.into_iter().flatten().find(|socket| socket.exists());
    format!("unix://{}", found.unwrap_or_else(|| PathBuf::from("/var/run/docker.sock")).display())
}

/// Whether the engine runs containers on this very system, so that `--network host` is our loopback and process ids
/// are ours: Linux, a unix socket, no virtual machine (Docker Desktop, Colima), not rootless, not seen from within a
/// container of it.
pub async fn is_local(docker: &Docker) -> bool {
    if !cfg!(target_os = "linux") || !host().starts_with("unix://") {
        return false;
    }
    let Ok(info) = docker.info().await else { return false };
    let here = rustix::system::uname();
    let rootless = info.security_options.unwrap_or_default().iter().any(|option| option.contains("rootless"));
    let same = |theirs: Option<String>, ours: &std::ffi::CStr| theirs.as_deref() == ours.to_str().ok();
    !rootless
        && info.operating_system.is_none_or(|system| !system.contains("Docker Desktop"))
        && same(info.kernel_version, here.release())
        && same(info.name, here.nodename())
}

/// The image's id; pulls it where it is missing.
pub async fn image_id(
    docker: &Docker,
    image: &str,
    built: &Built,
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<String, EngineError> {
    if let Some(id) = local_image_id(docker, image).await? {
        return Ok(id);
    }
    note(format!("pulling the image {image}"));
    if let Err(reason) = pull(docker, image).await {
        return Err(EngineError::NoImage { image: image.to_owned(), reason, fix: built.fix(docker).await });
    }
    local_image_id(docker, image).await?.ok_or_else(|| EngineError::NoImage {
        image: image.to_owned(),
        reason: "the pull ended without it".to_owned(),
        fix: format!("try `docker pull {image}`"),
    })
}

/// The image's id, where it is on this machine.
pub async fn local_image_id(docker: &Docker, image: &str) -> Result<Option<String>, EngineError> {
    match docker.inspect_image(image).await {
        Ok(found) => Ok(found.id),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(EngineError::refused(format!("look for the image {image}"))(error)),
    }
}

async fn pull(docker: &Docker, image: &str) -> Result<(), String> {
    // Without a tag the engine would pull all of them.
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
    let image = if tagged { image.to_owned() } else { format!("{image}:latest") };
    let options = CreateImageOptionsBuilder::new().from_image(&image).build();
    let mut steps = std::pin::pin!(docker.create_image(Some(options), None, None));
    loop {
        match tokio::time::timeout(PULL_STALL, steps.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(DockerError::DockerResponseServerError { message, .. }))) => return Err(message),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(None) => return Ok(()),
            Err(_) => return Err(format!("the registry did not answer within {PULL_STALL:?}")),
        }
    }
}

/// What a container's log says, in short.
pub async fn log_excerpt(docker: &Docker, id: &str) -> String {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("1000").build();
    let mut text = String::new();
    let mut pieces = std::pin::pin!(docker.logs(id, Some(options)));
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(PING_TIMEOUT, pieces.next()).await {
        text.push_str(&String::from_utf8_lossy(piece.as_ref()));
    }
    excerpt(&text)
}

/// [`LOG_LINES`] lines of a log, from its first error, which is the cause of those after it; without an error the
/// last lines. Without terminal colours.
pub fn excerpt(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| without_colours(line).trim_end().to_owned())
        // What RabbitMQ logs over several lines leaves lines with nothing but time and process between them.
        .filter(|line| !line.is_empty() && !line.ends_with("0>"))
        .collect();
    let first = lines.iter().position(|line| line.contains("[error]") || line.contains("ERROR"));
    let from = first.unwrap_or(lines.len().saturating_sub(LOG_LINES));
    lines[from..].iter().take(LOG_LINES).map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.strip_prefix('[').and_then(|code| code.split_once('m')).map_or(after, |(_, rest)| rest);
    }
    plain + rest
}

/// A container with one of our labels.
#[derive(Debug, Clone)]
pub struct Labelled {
    pub id: String,
    pub labels: HashMap<String, String>,
}

/// Containers with a label, or a label and a value; running or not.
pub async fn labelled(docker: &Docker, label: String) -> Result<Vec<Labelled>, EngineError> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers =
        docker.list_containers(Some(options)).await.map_err(EngineError::refused("list the containers"))?;
    Ok(containers
        .into_iter()
        .filter_map(|container| Some(Labelled { id: container.id?, labels: container.labels.unwrap_or_default() }))
        .collect())
}

/// Removes a container with its anonymous volumes, running or not, and waits until it is gone.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = || Some(RemoveContainerOptionsBuilder::new().force(true).v(true).build());
    let mut reason = String::new();
    for _ in 0..50 {
        match docker.remove_container(id, options()).await {
            Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            // 409: somebody else is removing it.
            Err(error) => reason = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(EngineError::Remains {
        what: format!("the container {id}"),
        reason,
        fix: format!("remove it with `docker rm -fv {id}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_to_its_end_and_loses_its_colours() {
        let log: String = (0..30).map(|i| format!("\u{1b}[38;5;214mline {i}\u{1b}[0m\n\n")).collect();
        let tail = excerpt(&log);
        assert_eq!(tail.lines().count(), LOG_LINES);
        assert!(tail.starts_with("line 10\n") && tail.ends_with("line 29"), "{tail}");
        let failed = excerpt(&log.replace("line 5", "[error] line 5"));
        assert_eq!(failed.lines().count(), LOG_LINES);
        assert!(failed.starts_with("[error] line 5\nline 6\n"), "{failed}");
        let late = excerpt(&log.replace("line 28", "[error] line 28"));
        assert_eq!(late, "[error] line 28\nline 29");
        assert_eq!(excerpt(""), "");
    }
}
