//! A local `rabbitmq-server` as a private child: directories, node name, cookie, ports and port mapper of its own, so
//! that it meets neither a system's broker nor another run's.
//!
//! All that it starts, the port mapper that makes itself a daemon too, inherits one environment variable that names
//! its directory. By that mark they are found and ended, also by a later process after this one was killed.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::error::BrokerError;
use super::facts::Facts;
use super::node::{ExecOutput, Node};
use super::process_id::RootProcess;
use super::ready::{self, Watch};
use super::secrets;
use super::settings::{LOOPBACK, Settings};
use super::{Note, Started};
use crate::engine::{Owner, excerpt, procfs};
use crate::plan::BrokerPlan;

/// Names the broker's directory in the environment of all its processes.
const MARK: &str = "LURCHER_BROKER_DIRECTORY";
const DIRECTORY_PREFIX: &str = "lurcher-broker-";
const OWNER_FILE: &str = "owner.json";

/// Directories with RabbitMQ's own scripts. Debian's `/usr/sbin/rabbitmq-server` is not one of them: it insists on the
/// system's user and directories.
const SCRIPT_DIRECTORIES: [&str; 4] =
    ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin", "/opt/homebrew/opt/rabbitmq/sbin"];

/// One server.
pub(super) struct Process {
    scripts: PathBuf,
    directory: PathBuf,
    environment: BTreeMap<&'static str, String>,
    child: Mutex<Option<Child>>,
}

/// Ends the server and removes its directory when dropped, whatever came before.
#[derive(Debug)]
pub(super) struct Removal {
    process: Arc<Process>,
    done: bool,
}

impl Removal {
    pub(super) async fn remove(mut self) -> Result<(), BrokerError> {
        let process = Arc::clone(&self.process);
        let removed = tokio::task::spawn_blocking(move || process.remove()).await;
        self.done = true;
        removed.unwrap_or_else(|error| Err(BrokerError::system("end the broker")(std::io::Error::other(error))))
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if !self.done {
            let _left_for_the_next_start = self.process.remove();
        }
    }
}

/// The directory with RabbitMQ's scripts.
pub(super) fn find_scripts() -> Result<PathBuf, BrokerError> {
    let in_path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        // A link in the path leads to the scripts themselves.
        .filter_map(|dir| Some(dir.join("rabbitmq-server").canonicalize().ok()?.parent()?.to_owned()));
    let known = SCRIPT_DIRECTORIES.iter().map(PathBuf::from);
    known
        .chain(in_path)
        .find(|dir| dir.join("rabbitmq-server").exists() && dir.join("rabbitmq-env").exists())
        .ok_or_else(|| BrokerError::NoServer { searched: format!("{} or PATH", SCRIPT_DIRECTORIES.join(", ")) })
}

/// Starts a broker and waits until it answers.
pub(super) async fn start(plan: &BrokerPlan, run: &str, note: Note<'_>) -> Result<Started, BrokerError> {
    let scripts = find_scripts()?;
    let settings = Settings::choose(plan)?;
    note("starting a local rabbitmq-server".to_owned());
    let directory = create_directory(run)?;
    let environment = settings.environment();
    let process = Arc::new(Process { scripts, directory, environment, child: Mutex::new(None) });
    let removal = Removal { process: Arc::clone(&process), done: false };
    process.write("rabbitmq.conf", &settings.config(LOOPBACK))?;
    process.write("advanced.config", &settings.advanced_config())?;
    process.write("enabled_plugins", &settings.enabled_plugins())?;
    // In place of the system's, which would otherwise be read.
    process.write("rabbitmq-env.conf", "")?;
    process.spawn()?;

    let (endpoint, management) = settings.addresses(plan)?;
    let timeout = Duration::from_micros(plan.startup_timeout_us);
    ready::wait(&endpoint, Some(&management), timeout, process.as_ref()).await?;
    ready::check_loopback(&management).await?;
    let mut facts = Facts::new("process", &endpoint);
    facts.configuration = settings.facts();
    facts.ask(&management, &plan.plugins).await?;
    Ok(Started {
        endpoint,
        management: Some(management),
        facts,
        nodes: vec![Node::process(settings.node, Arc::clone(&process))],
        root: Some(RootProcess::Process(process)),
        removal: super::Removal::Process(removal),
        _ports: Some(settings.ports),
    })
}

fn create_directory(run: &str) -> Result<PathBuf, BrokerError> {
    let directory = std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{}", secrets::text(12)?));
    let action = || format!("create {}", directory.display());
    // For us alone: it holds a password.
    std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(BrokerError::system(action()))?;
    let owner = serde_json::to_vec(&Owner::this(run)).map_err(std::io::Error::other);
    owner.and_then(|owner| std::fs::write(directory.join(OWNER_FILE), owner)).map_err(BrokerError::system(action()))?;
    Ok(directory)
}

impl std::fmt::Debug for Process {
    /// Without the environment, which holds the cookie.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Process {
    fn write(&self, name: &str, text: &str) -> Result<(), BrokerError> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).map_err(BrokerError::system(format!("write {}", path.display())))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn command(&self, program: &str) -> Command {
        let in_directory = |name: &str| self.directory.join(name);
        let mut command = Command::new(self.scripts.join(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.directory)
            .env(MARK, &self.directory)
            .env("RABBITMQ_CONF_ENV_FILE", in_directory("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", in_directory("rabbitmq.conf"))
            .env("RABBITMQ_CONFIG_FILES", in_directory("conf.d"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", in_directory("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", in_directory("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", in_directory("data"))
            .env("RABBITMQ_LOG_BASE", in_directory("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_GENERATED_CONFIG_DIR", in_directory("generated"))
            .envs(&self.environment)
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    fn spawn(&self) -> Result<(), BrokerError> {
        let action = || format!("start {}", self.scripts.join("rabbitmq-server").display());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(BrokerError::system(action()))?;
        let child = self
            .command("rabbitmq-server")
            .stdout(log.0)
            .stderr(log.1)
            // Of its own, so that Ctrl-C in the terminal reaches us alone and we decide what ends when.
            .process_group(0)
            .spawn()
            .map_err(BrokerError::system(action()))?;
        *self.child() = Some(child);
        Ok(())
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Id of the server's first process, which leads its group.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    fn signal(&self, signal: Signal, action: &'static str) -> Result<(), BrokerError> {
        let group = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let gone = || std::io::Error::new(std::io::ErrorKind::NotFound, "it does not run");
        let group = group.ok_or_else(gone).map_err(BrokerError::system(action))?;
        kill_process_group(group, signal).map_err(|error| BrokerError::system(action)(error.into()))
    }

    pub(super) async fn pause(&self) -> Result<(), BrokerError> {
        self.signal(Signal::STOP, "pause the broker")
    }

    pub(super) async fn unpause(&self) -> Result<(), BrokerError> {
        self.signal(Signal::CONT, "unpause the broker")
    }

    pub(super) async fn kill(&self) -> Result<(), BrokerError> {
        self.signal(Signal::KILL, "kill the broker")?;
        if let Some(mut child) = self.child().take() {
            let _status = child.wait();
        }
        Ok(())
    }

    pub(super) async fn start_again(&self) -> Result<(), BrokerError> {
        self.spawn()
    }

    pub(super) async fn exec(&self, command: &[&str]) -> Result<ExecOutput, BrokerError> {
        let Some((program, arguments)) = command.split_first() else {
            return Ok(ExecOutput { code: 0, text: String::new() });
        };
        let mut prepared = self.command(program);
        prepared.args(arguments);
        let action = format!("run `{}`", command.join(" "));
        let output = tokio::task::spawn_blocking(move || prepared.output())
            .await
            .map_err(std::io::Error::other)
            .and_then(|output| output)
            .map_err(BrokerError::system(action))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(ExecOutput {
            code: i64::from(output.status.code().unwrap_or(-1)),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    fn remove(&self) -> Result<(), BrokerError> {
        if let Some(mut child) = self.child().take() {
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                let _already_gone = kill_process_group(group, Signal::KILL);
            }
            let _status = child.wait();
        }
        remove_directory(&self.directory)
    }
}

impl Watch for Process {
    async fn ended(&self) -> Option<String> {
        match self.child().as_mut()?.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn log(&self) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        excerpt(&String::from_utf8_lossy(&text))
    }
}

/// Ends every process that carries the directory's mark, and removes the directory.
pub(super) fn remove_directory(directory: &Path) -> Result<(), BrokerError> {
    let remains = |reason: String| BrokerError::Remains {
        what: format!("the broker in {}", directory.display()),
        reason,
        fix: format!("end its processes, then remove it with `rm -r {}`", directory.display()),
    };
    let mut processes = procfs::with_environment(MARK, directory);
    // They may start others between the look and the kill; nothing that was killed does so for long.
    for _ in 0..100 {
        if processes.is_empty() {
            break;
        }
        for pid in processes.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _already_gone = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(50));
        processes = procfs::with_environment(MARK, directory);
    }
    if !processes.is_empty() {
        return Err(remains(format!("the processes {processes:?} do not end")));
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(remains(error.to_string())),
        _ => Ok(()),
    }
}

/// Directories of brokers, ours only, with their owners.
pub(super) fn directories() -> Vec<(PathBuf, Owner)> {
    let us = rustix::process::geteuid().as_raw();
    std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let named = entry.file_name().to_str()?.starts_with(DIRECTORY_PREFIX);
            // Not following links: the directory for temporary files is everybody's.
            let ours = entry.metadata().ok().is_some_and(|data| data.is_dir() && data.uid() == us);
            let owner = std::fs::read(entry.path().join(OWNER_FILE)).ok()?;
            (named && ours).then_some((entry.path(), serde_json::from_slice(&owner).ok()?))
        })
        .collect()
}
