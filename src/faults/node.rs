//! The broker's node: killed, stopped, paused, or without memory or disk. Uses `plan` and `broker`.

use std::time::{Duration, Instant};

use super::{FaultError, LOOK_EVERY, until_holds};
use crate::broker::{Broker, Node, NodeStatus};
use crate::plan::FaultKind;

/// How long an alarm may take to be raised.
const ALARM_WITHIN: Duration = Duration::from_secs(20);
/// More free disk than any machine has, in bytes.
const NO_DISK_IS_AS_LARGE: &str = "1000000000000000";

/// What undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mending {
    /// Start the killed node.
    Start,
    /// Start RabbitMQ on the node.
    StartApp,
    /// Let the node go on.
    Unpause,
    /// Put a limit back, in bytes.
    Memory(u64),
    /// Put a limit back, in bytes.
    Disk(u64),
}

fn node(broker: &Broker) -> Result<&Node, FaultError> {
    broker.nodes().first().ok_or_else(|| FaultError::Nothing { what: "the broker has no node that is ours".to_owned() })
}

/// Breaks the node.
pub(super) async fn begin(broker: &Broker, kind: FaultKind) -> Result<Mending, FaultError> {
    let node = node(broker)?;
    match kind {
        FaultKind::NodeKill => {
            node.kill().await?;
            Ok(Mending::Start)
        }
        FaultKind::NodeStop => {
            rabbitmqctl(node, &["stop_app"]).await?;
            Ok(Mending::StartApp)
        }
        FaultKind::NodePause => {
            node.pause().await?;
            Ok(Mending::Unpause)
        }
        FaultKind::MemoryAlarm => {
            let limit = told(broker, "memory limit", |status| status.mem_limit).await?;
            // The broker's manual: a watermark of 0 raises the alarm at once.
            rabbitmqctl(node, &["set_vm_memory_high_watermark", "0"]).await?;
            raised(broker, Mending::Memory(limit)).await
        }
        FaultKind::DiskAlarm => {
            let limit = told(broker, "limit of free disk space", |status| status.disk_free_limit).await?;
            rabbitmqctl(node, &["set_disk_free_limit", NO_DISK_IS_AS_LARGE]).await?;
            raised(broker, Mending::Disk(limit)).await
        }
        other => Err(FaultError::Nothing { what: format!("`{other}` is not done to a node") }),
    }
}

/// Waits until the alarm is up; where it does not come, the limit is put back.
async fn raised(broker: &Broker, mut mending: Mending) -> Result<Mending, FaultError> {
    let raised = until_holds(ALARM_WITHIN, || has_alarm(broker, &mending, true)).await;
    if let Err(error) = raised {
        mending.heal(broker, ALARM_WITHIN).await?;
        return Err(error);
    }
    Ok(mending)
}

async fn has_alarm(broker: &Broker, of: &Mending, wanted: bool) -> Result<(), FaultError> {
    let status = status(broker).await?;
    let (alarm, what) = match of {
        Mending::Memory(_) => (status.mem_alarm, "the memory alarm"),
        _ => (status.disk_free_alarm, "the disk alarm"),
    };
    if alarm == Some(wanted) {
        return Ok(());
    }
    let what = if wanted { format!("{what} was not up") } else { format!("{what} was still up") };
    Err(FaultError::NotYet { what, after: ALARM_WITHIN })
}

impl Mending {
    /// Undoes it, and waits until the broker is whole again.
    pub(super) async fn heal(&mut self, broker: &Broker, within: Duration) -> Result<(), FaultError> {
        let node = node(broker)?;
        match self {
            Self::Start => node.start().await?,
            Self::StartApp => rabbitmqctl(node, &["start_app"]).await?,
            Self::Unpause => node.unpause().await?,
            Self::Memory(bytes) => {
                rabbitmqctl(node, &["set_vm_memory_high_watermark", "absolute", &bytes.to_string()]).await?;
            }
            Self::Disk(bytes) => rabbitmqctl(node, &["set_disk_free_limit", &bytes.to_string()]).await?,
        }
        broker.wait_ready(within).await?;
        match self {
            Self::Memory(_) | Self::Disk(_) => until_holds(within, || has_alarm(broker, self, false)).await,
            _ => Ok(()),
        }
    }
}

fn unknown(what: &str) -> FaultError {
    FaultError::Nothing { what: format!("the broker does not tell its {what}, so that it could not be put back") }
}

/// What the broker tells of its node; for a while after a start it tells nothing.
async fn told(broker: &Broker, what: &str, of: fn(&NodeStatus) -> Option<u64>) -> Result<u64, FaultError> {
    let start = Instant::now();
    loop {
        match of(&status(broker).await?) {
            Some(told) => return Ok(told),
            None if start.elapsed() >= ALARM_WITHIN => return Err(unknown(what)),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn status(broker: &Broker) -> Result<NodeStatus, FaultError> {
    let management = broker.management().ok_or_else(|| unknown("state"))?;
    management.nodes().await?.into_iter().next().ok_or_else(|| unknown("state"))
}

async fn rabbitmqctl(node: &Node, arguments: &[&str]) -> Result<(), FaultError> {
    let command: Vec<&str> = ["rabbitmqctl"].iter().chain(arguments).copied().collect();
    let output = node.exec(&command).await?;
    if output.code == 0 {
        return Ok(());
    }
    Err(FaultError::Command { command: command.join(" "), code: output.code, said: output.text.trim().to_owned() })
}
