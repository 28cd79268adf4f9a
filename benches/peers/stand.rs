//! Where the contenders meet: one broker for all of them, in a container on the host's network, and a watch over each
//! contender's process. The broker goes with the stand, also after an error, a panic or Ctrl-C; what a killed bench
//! leaves behind, the next one or `lurcher doctor` removes.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lurcher::broker::{self, Broker, Facts, StartOptions};
use lurcher::endpoint::Credentials;
use lurcher::plan::{self, BrokerPlan};
use lurcher::proxy::Proxy;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::outcome::Footprint;
use super::progress;

/// What keeps the bench, or one contender, from going on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Somebody ended the bench.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Where contenders find the broker's addresses: not among their arguments, which everybody on the machine may read.
const BROKER_URL: &str = "LURCHER_BROKER_URL";
const MANAGEMENT_URL: &str = "LURCHER_MANAGEMENT_URL";
const IMAGE: &str = "LURCHER_BROKER_IMAGE";
/// How often a contender's process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The broker's address, with credentials.
pub struct Address {
    /// Host.
    pub host: String,
    /// Port of AMQP.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password: letters and digits.
    pub password: String,
}

impl Address {
    /// The address that a contender was given.
    pub fn given() -> Result<Self, Failure> {
        let url = std::env::var(BROKER_URL).map_err(|_| format!("a contender needs {BROKER_URL}"))?;
        let parts = || {
            let (login, at) = url.strip_prefix("amqp://")?.split_once('@')?;
            let ((user, password), (host, port)) = (login.split_once(':')?, at.split_once(':')?);
            let [host, user, password] = [host, user, password].map(str::to_owned);
            Some(Self { host, port: port.parse().ok()?, user, password })
        };
        parts().ok_or_else(|| format!("{BROKER_URL} is not of the form amqp://user:password@host:port").into())
    }

    fn of(broker: &Broker) -> Result<Self, Failure> {
        let endpoint = broker.endpoint();
        let Credentials::Plain { user, password } = &endpoint.credentials else {
            return Err("a broker of our own has a password".into());
        };
        let (host, user, password) = (endpoint.host.clone(), user.clone(), password.reveal().to_owned());
        Ok(Self { host, port: endpoint.port, user, password })
    }

    fn url(&self) -> String {
        format!("amqp://{}:{}@{}:{}", self.user, self.password, self.host, self.port)
    }
}

/// The broker and the watch.
pub struct Stand {
    runtime: Runtime,
    broker: Option<Broker>,
    address: Address,
    management_url: String,
    interrupted: Arc<AtomicBool>,
    folder: tempfile::TempDir,
}

/// A contender's process that came to its end.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its last line on standard output.
    pub said: String,
    /// The end of its standard error.
    pub complained: String,
    /// As last seen before its end.
    pub footprint: Footprint,
}

impl Stand {
    /// Starts the broker.
    pub fn raise() -> Result<Self, Failure> {
        let runtime = Runtime::new()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        runtime.block_on(listen(Arc::clone(&interrupted)))?;
        let plan = broker_plan()?;
        let options = StartOptions {
            external: None,
            run_id: format!("peers-{:08x}", rand::random::<u32>()),
            note: &|line| progress(line),
        };
        let broker = runtime.block_on(async {
            tokio::select! {
                broker = broker::start(&plan, &options) => {
                    broker.map_err(|error| format!("{error}\n`make bench` provides Docker's image").into())
                }
                () = until(&interrupted) => Err(Failure::from(Interrupted)),
            }
        })?;
        let management = broker.management().ok_or("the broker has no management API")?;
        let management_url = management.endpoint().base_url.clone();
        let address = Address::of(&broker)?;
        let folder = tempfile::tempdir()?;
        Ok(Self { runtime, broker: Some(broker), address, management_url, interrupted, folder })
    }

    /// What the broker says of itself.
    pub fn facts(&self) -> Option<&Facts> {
        self.broker.as_ref().map(Broker::facts)
    }

    /// A folder that goes with the stand.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A proxy before the broker, which does nothing by itself. It runs in this process.
    pub fn proxy(&self) -> Result<Proxy, Failure> {
        let upstream = tokio::net::lookup_host((self.address.host.as_str(), self.address.port));
        let upstream = self.runtime.block_on(upstream)?.find(SocketAddr::is_ipv4).ok_or("the broker has no address")?;
        Ok(self.runtime.block_on(Proxy::start(upstream, 1))?)
    }

    /// Stops it.
    pub fn stop(&self, proxy: Proxy) {
        self.runtime.block_on(proxy.stop());
    }

    /// Has the contender that `command` starts go through `proxy`.
    pub fn lead_through(&self, proxy: &Proxy, command: &mut Command) {
        let (at, own) = (proxy.address(), &self.address);
        let [host, user, password] = [&at.ip().to_string(), &own.user, &own.password].map(String::clone);
        command.env(BROKER_URL, Address { host, port: at.port(), user, password }.url());
    }

    /// Starts a contender and waits for its end, at most `limit`.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Result<Ended, Failure> {
        let [said, complained] = ["stdout", "stderr"].map(|name| self.folder.path().join(name));
        if !command.get_envs().any(|(name, _)| name == BROKER_URL) {
            command.env(BROKER_URL, self.address.url());
        }
        command
            .env(MANAGEMENT_URL, &self.management_url)
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::create(&complained)?);
        let mut child = command.spawn()?;
        let watched = self.watch(&mut child, limit);
        if watched.is_err() {
            // It may have ended by itself meanwhile; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
        let (status, footprint) = watched?;
        let last = |path: &PathBuf, lines: usize| -> Result<String, Failure> {
            let text = std::fs::read_to_string(path)?;
            let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            Ok(all[all.len().saturating_sub(lines)..].join("\n"))
        };
        Ok(Ended { status, said: last(&said, 1)?, complained: last(&complained, 5)?, footprint })
    }

    fn watch(&self, child: &mut Child, limit: Duration) -> Result<(ExitStatus, Footprint), Failure> {
        let begun = Instant::now();
        let mut seen = Footprint::default();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((status, seen));
            }
            self.check()?;
            if begun.elapsed() > limit {
                return Err(format!("it was not done after {} s", limit.as_secs()).into());
            }
            seen = seen.or_more(footprint(&child.id().to_string()));
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// An error once somebody has ended the bench.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// Removes the broker, and checks that it is gone.
    pub fn leave(mut self) -> Result<(), Failure> {
        match self.broker.take() {
            Some(broker) => Ok(self.runtime.block_on(broker.stop())?),
            None => Ok(()),
        }
    }
}

/// Of a process, by its number or as `self`; 0 for what the kernel does not tell.
pub fn footprint(process: &str) -> Footprint {
    let number = |path: &Path, name: &str| {
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
    };
    let folder = Path::new("/proc").join(process);
    let threads = std::fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
    Footprint {
        memory_peak_bytes: number(&folder.join("status"), "VmHWM") * 1024,
        sleeps: threads.map(|thread| number(&thread.path().join("status"), "voluntary_ctxt_switches")).sum(),
    }
}

/// The broker that the bench's own scenario asks for.
fn broker_plan() -> Result<BrokerPlan, Failure> {
    let scenario = toml::from_str(include_str!("peers.toml"))?;
    let nothing = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let plan = plan::resolve(&scenario, &nothing).map_err(|errors| format!("peers.toml: {errors:?}"))?;
    let named = std::env::var(IMAGE).ok().filter(|image| !image.is_empty());
    let mut broker = plan.broker;
    broker.use_image(named.as_deref().unwrap_or("lurcher/rabbitmq:4.0"));
    Ok(broker)
}

async fn listen(interrupted: Arc<AtomicBool>) -> Result<(), Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            _ = hangups.recv() => {}
        }
        interrupted.store(true, Ordering::Relaxed);
        // Whoever asks again meanwhile is heard too: the broker is removed first.
        std::future::pending::<()>().await;
    });
    Ok(())
}

async fn until(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
