//! The contenders, each in a process of its own, so that processor time and memory are its own too.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::outcome::Outcome;
use super::stand::{Address, Failure, Stand, footprint};
use super::{amqprs_peer, floor, lurcher_run};

/// Who publishes and consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// lurcher with `client = "wire"`.
    Wire,
    /// lurcher with `client = "lapin"`.
    Lapin,
    /// The amqprs crate.
    Amqprs,
    /// A bare socket.
    Floor,
}

impl Contender {
    /// Its name: that of the client.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Lapin => "lapin",
            Self::Amqprs => "amqprs",
            Self::Floor => "floor",
        }
    }

    /// How tables call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Wire => "lurcher, wire",
            Self::Lapin => "lurcher, lapin",
            Self::Amqprs => "amqprs",
            Self::Floor => "floor",
        }
    }
}

/// What each has to do.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// How many messages to publish, have confirmed, consume and ack.
    pub messages: u64,
    /// Bytes of each body.
    pub size: usize,
}

/// How long it took; see [`Outcome`] for what that means.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    elapsed: Duration,
    cpu: Duration,
}

impl Timed {
    /// Measures `load`, which begins with the first publish and says when the last delivery came.
    pub fn measure(load: impl FnOnce() -> Result<Instant, Failure>) -> Result<Self, Failure> {
        let (cpu, begun) = (cpu_time(), Instant::now());
        let last = load()?;
        Ok(Self { cpu: cpu_time().saturating_sub(cpu), elapsed: last.saturating_duration_since(begun) })
    }
}

/// User and system time of this process so far; the reading that lurcher takes of itself.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Does the job in this process; the outcome, to be said on standard output.
pub fn serve(contender: Contender, job: &Job) -> Result<Outcome, Failure> {
    let address = Address::given()?;
    let timed = match contender {
        Contender::Floor => floor::run(job, &address)?,
        Contender::Amqprs => amqprs_peer::run(job, &address)?,
        Contender::Wire | Contender::Lapin => return Err("lurcher runs by its own binary".into()),
    };
    Ok(Outcome {
        consumed: job.messages,
        elapsed_us: timed.elapsed.as_micros() as u64,
        cpu_us: timed.cpu.as_micros() as u64,
        footprint: footprint("self"),
    })
}

/// Has the job done in a process of its own.
pub fn run(stand: &Stand, contender: Contender, job: &Job) -> Result<Outcome, Failure> {
    match contender {
        Contender::Wire | Contender::Lapin => {
            let sets = [format!("load.messages={}", job.messages), format!("producer.out.size=\"{} B\"", job.size)];
            lurcher_run::run(stand, lurcher_run::PEERS, contender.name(), &sets, job.messages)?.outcome()
        }
        Contender::Amqprs | Contender::Floor => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--contender", contender.name()]);
            command.args(["--messages", &job.messages.to_string(), "--size", &job.size.to_string()]);
            let ended = stand.run(&mut command, limit(job.messages))?;
            if !ended.status.success() {
                return Err(format!("{}: {}", ended.status, ended.complained).into());
            }
            let outcome: Outcome = serde_json::from_str(&ended.said)?;
            Ok(Outcome { footprint: outcome.footprint.or_more(ended.footprint), ..outcome })
        }
    }
}

/// How long so many messages may take on a machine ten times slower than those it was written on.
pub fn limit(messages: u64) -> Duration {
    Duration::from_secs(120 + messages / 1_000)
}
