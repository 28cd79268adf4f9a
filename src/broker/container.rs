//! A broker in a container, made with testcontainers from the official image or one of Debian's packages.
//!
//! Both images read `/etc/rabbitmq/conf.d/*.conf`, `/etc/rabbitmq/advanced.config` and `/etc/rabbitmq/enabled_plugins`,
//! run as root at first and step down to a user of their own, whose id differs: what is copied in is readable by all.

use std::time::Duration;

use futures_util::StreamExt;
use testcontainers::bollard::Docker;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecResults};
use testcontainers::bollard::models::{ContainerStateStatusEnum, HostConfig};
use testcontainers::bollard::query_parameters::{InspectContainerOptions, KillContainerOptionsBuilder};
use testcontainers::core::{ImageExt, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, CopyTargetOptions, GenericImage};

use super::error::BrokerError;
use super::facts::Facts;
use super::node::ExecOutput;
use super::process_id::RootProcess;
use super::ready::{self, Watch};
use super::settings::{LOOPBACK, Settings};
use super::{Note, Started};
use crate::engine::{self, Built, Owner, Removal};
use crate::plan::{BrokerPlan, Network};

/// The image that `make image` makes.
pub(super) const BUILT: Built = Built {
    image: "lurcher/rabbitmq:4.0",
    command: "make image",
    flag: "--broker-image",
    variable: "LURCHER_BROKER_IMAGE",
};
/// Label of a container: which broker it is.
const LABEL_BROKER: &str = "lurcher.broker";
const EVERYWHERE: &str = "0.0.0.0";
/// Debian's package logs the server in, and PAM leaves a login 1,024 files, whatever the engine allows: too few for many
/// connections, and a queue that cannot open its files dies with what it holds. What is above the engine's limit is cut.
const LIMITS: &str = "rabbitmq soft nofile 65536\n";

/// One container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    docker: Docker,
    id: String,
}

/// Starts a broker and waits until it answers.
pub(super) async fn start(plan: &BrokerPlan, run: &str, note: Note<'_>) -> Result<Started, BrokerError> {
    let image = plan.image.as_str();
    let docker = engine::connect().await?;
    let local = engine::is_local(&docker).await;
    let on_host = match plan.network {
        Network::Host => true,
        Network::Published => false,
        Network::Auto => local,
    };
    if on_host && !local {
        return Err(BrokerError::BadSetting {
            key: "network",
            reason: "`host` needs a local engine on Linux; use `published` or `auto`".to_owned(),
        });
    }
    let image_id = engine::image_id(&docker, image, &BUILT, note).await?;
    let settings = Settings::choose(plan)?;
    let network = if on_host { "host" } else { "published" };
    note(format!("starting RabbitMQ from {image} ({network} network)"));

    // In a task of its own: where this start is given up, what was asked of the engine still goes to its end, and is
    // then removed. A request that is dropped half-way makes a container all the same, some time later.
    let making = tokio::spawn(request(plan, &image_id, &settings, on_host, run).start());
    let removal = Removal::new(LABEL_BROKER, &settings.node, making.abort_handle());
    let started = making.await.map_err(|error| explain(&settings, &error.to_string()))?;
    let started = started.map_err(|error| explain(&settings, &error.to_string()))?;
    let id = started.id().to_owned();
    // Its destructor needs a runtime, and keeps the container where TESTCONTAINERS_COMMAND says so; ours does neither.
    std::mem::forget(started);

    let container = Container { docker, id };
    let (endpoint, management) = settings.addresses(plan)?;
    let timeout = Duration::from_micros(plan.startup_timeout_us);
    ready::wait(&endpoint, Some(&management), timeout, &container).await?;
    if on_host {
        ready::check_loopback(&management).await?;
    }
    let mut facts = Facts::new("container", &endpoint);
    facts.image = Some(image.to_owned());
    facts.image_id = Some(image_id);
    facts.network = Some(network.to_owned());
    facts.configuration = settings.facts();
    facts.ask(&management, &plan.plugins).await?;
    let root = RootProcess::Container { container: container.clone(), local };
    Ok(Started {
        endpoint,
        management: Some(management),
        facts,
        nodes: vec![super::node::Node::container(settings.node, container)],
        root: Some(root),
        removal: super::Removal::Container(removal),
        _ports: Some(settings.ports),
    })
}

fn request(
    plan: &BrokerPlan,
    image_id: &str,
    settings: &Settings,
    on_host: bool,
    run: &str,
) -> ContainerRequest<GenericImage> {
    // By its id, `sha256:…`, which is of the form NAME:TAG: exactly the image that was looked at, and no second pull.
    let (name, tag) = image_id.split_once(':').unwrap_or((image_id, "latest"));
    // In a network of its own the engine's proxy must reach the listeners; it publishes them on loopback only.
    let address = if on_host { LOOPBACK } else { EVERYWHERE };
    let file = |path: &str| CopyTargetOptions::new(path).with_mode(0o644);
    let mut request = GenericImage::new(name, tag)
        .with_startup_timeout(Duration::from_micros(plan.startup_timeout_us))
        .with_copy_to(file("/etc/rabbitmq/conf.d/90-lurcher.conf"), settings.config(address).into_bytes())
        .with_copy_to(file("/etc/rabbitmq/advanced.config"), settings.advanced_config().into_bytes())
        .with_copy_to(file("/etc/rabbitmq/enabled_plugins"), settings.enabled_plugins().into_bytes())
        .with_copy_to(file("/etc/security/limits.d/90-lurcher.conf"), LIMITS.as_bytes().to_vec())
        .with_labels(Owner::this(run).labels())
        .with_label(LABEL_BROKER, settings.node.clone());
    for (key, value) in settings.environment() {
        request = request.with_env_var(key, value);
    }
    if on_host {
        request = request.with_network("host");
    }
    let ports = &settings.ports;
    if !on_host {
        let own = [ports.amqp, ports.management, ports.prometheus];
        for port in own.into_iter().chain(ports.plugins.iter().copied()) {
            request = request.with_mapped_port(port, port.tcp());
        }
    }
    let (nano_cpus, memory) =
        (plan.cpus.map(|cpus| (cpus * 1e9) as i64), plan.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok()));
    request.with_host_config_modifier(move |config: &mut HostConfig| {
        // Without an init, `docker stop` waits its ten seconds out.
        config.init = Some(true);
        config.publish_all_ports = Some(false);
        // testcontainers publishes on all interfaces.
        for binding in config.port_bindings.iter_mut().flat_map(|ports| ports.values_mut()).flatten().flatten() {
            binding.host_ip = Some(LOOPBACK.to_owned());
        }
        config.nano_cpus = nano_cpus;
        config.memory = memory;
        // No more with swap than without: a broker that swaps measures the disk.
        config.memory_swap = memory;
    })
}

fn explain(settings: &Settings, reason: &str) -> BrokerError {
    let reason = reason.replace(settings.password.reveal(), "***");
    BrokerError::Docker { action: "start the broker's container".to_owned(), reason }
}

impl Watch for Container {
    async fn ended(&self) -> Option<String> {
        let state = match self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await {
            Ok(container) => container.state?,
            Err(error) => return Some(error.to_string()),
        };
        matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD)).then(|| {
            let killed = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
            format!("exit code {}{killed}", state.exit_code.unwrap_or_default())
        })
    }

    async fn log(&self) -> String {
        engine::log_excerpt(&self.docker, &self.id).await
    }
}

impl Container {
    /// Process id of the container's first process, as the engine sees it.
    pub(super) async fn pid(&self) -> Option<u32> {
        let container = self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await.ok()?;
        u32::try_from(container.state?.pid?).ok().filter(|pid| *pid > 0)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn pause(&self) -> Result<(), BrokerError> {
        self.docker.pause_container(&self.id).await.map_err(BrokerError::docker("pause the broker"))
    }

    pub(super) async fn unpause(&self) -> Result<(), BrokerError> {
        self.docker.unpause_container(&self.id).await.map_err(BrokerError::docker("unpause the broker"))
    }

    pub(super) async fn kill(&self) -> Result<(), BrokerError> {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        self.docker.kill_container(&self.id, Some(options)).await.map_err(BrokerError::docker("kill the broker"))
    }

    pub(super) async fn start_again(&self) -> Result<(), BrokerError> {
        self.docker.start_container(&self.id, None).await.map_err(BrokerError::docker("start the broker again"))
    }

    pub(super) async fn exec(&self, command: &[&str]) -> Result<ExecOutput, BrokerError> {
        let failed = || BrokerError::docker(format!("run `{}` in the container", command.join(" ")));
        let options = CreateExecOptions {
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(&self.id, options).await.map_err(failed())?;
        let mut text = String::new();
        if let StartExecResults::Attached { mut output, .. } =
            self.docker.start_exec(&exec.id, None).await.map_err(failed())?
        {
            while let Some(piece) = output.next().await {
                text.push_str(&String::from_utf8_lossy(piece.map_err(failed())?.as_ref()));
            }
        }
        let code = self.docker.inspect_exec(&exec.id).await.map_err(failed())?.exit_code;
        Ok(ExecOutput { code: code.unwrap_or(-1), text })
    }
}
