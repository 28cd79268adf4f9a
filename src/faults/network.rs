//! What passes between fleets and the broker, disturbed in proxies: one for each fleet that a fault names, so that the
//! others pay nothing. Uses `plan`, `proxy` and `endpoint`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{FaultError, LOOK_EVERY};
use crate::endpoint::Endpoint;
use crate::plan::draw::{self, Lane};
use crate::plan::{self, Direction, FrameAction, FrameClass, Plan};
use crate::proxy::{self, DisturbanceId, Picks, Proxy, What};

/// The proxy of one fleet.
struct Line {
    proxy: Proxy,
    endpoint: Endpoint,
    /// Disturbances at work.
    at_work: AtomicUsize,
}

/// The proxies of a run.
pub(super) struct Network {
    lines: BTreeMap<String, Arc<Line>>,
}

/// A disturbance in one proxy.
pub(super) struct Disturbed {
    line: Arc<Line>,
    id: DisturbanceId,
}

impl Network {
    pub(super) async fn start(plan: &Plan, broker: &Endpoint) -> Result<Self, FaultError> {
        let mut lines = BTreeMap::new();
        for (place, fleet) in plan.faults.iter().flat_map(|fault| fault.proxied()).enumerate() {
            if lines.contains_key(fleet) {
                continue;
            }
            if broker.tls.is_some() {
                return Err(FaultError::Tls { endpoint: broker.to_string() });
            }
            let seed = draw::bits(plan.seed, Lane::Proxy, place as u64);
            let proxy = Proxy::start(address(broker).await?, seed).await;
            let proxy = proxy.map_err(|source| FaultError::Proxy { fleet: fleet.clone(), source })?;
            let at = proxy.address();
            let endpoint = Endpoint { host: at.ip().to_string(), port: at.port(), ..broker.clone() };
            lines.insert(fleet.clone(), Arc::new(Line { proxy, endpoint, at_work: AtomicUsize::new(0) }));
        }
        Ok(Self { lines })
    }

    /// Where a fleet's proxy listens; none where it has none.
    pub(super) fn endpoint(&self, fleet: &str) -> Option<Endpoint> {
        self.lines.get(fleet).map(|line| line.endpoint.clone())
    }

    /// Begins a disturbance of `fleets`.
    pub(super) fn begin(&self, fleets: &[String], share: f64, disturbance: &plan::Disturbance) -> Vec<Disturbed> {
        let lines = fleets.iter().filter_map(|fleet| self.lines.get(fleet));
        let begin = |line: &Arc<Line>| {
            line.at_work.fetch_add(1, Ordering::AcqRel);
            let id = line.proxy.begin(proxy::Disturbance { share, what: what(disturbance) });
            Disturbed { line: Arc::clone(line), id }
        };
        lines.map(begin).collect()
    }

    pub(super) async fn stop(self) {
        for (_, line) in self.lines {
            if let Some(line) = Arc::into_inner(line) {
                line.proxy.stop().await;
            }
        }
    }
}

impl Disturbed {
    /// How often it has acted.
    pub(super) fn done(&self) -> u64 {
        self.line.proxy.done(self.id)
    }

    /// Publisher and sequence of the messages that it has acted on.
    pub(super) fn messages(&self) -> Vec<(u16, u64)> {
        self.line.proxy.hits(self.id).iter().map(|hit| (hit.had.publisher, hit.had.sequence)).collect()
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.line.proxy.end(self.id);
        self.line.at_work.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts its end without ending it.
    #[cfg(test)]
    pub(super) fn forget_to_end(&self) {
        self.line.at_work.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits until what it ordered is carried out and the proxy holds nothing back any more, and says where to try it; none
    /// where another disturbance is at work in it, whose own end will be checked.
    pub(super) async fn clear(&self, within: Duration) -> Result<Option<Endpoint>, FaultError> {
        let start = Instant::now();
        loop {
            let is_carried_out = self.line.proxy.is_carried_out(self.id);
            if is_carried_out && self.line.at_work.load(Ordering::Acquire) > 0 {
                return Ok(None);
            }
            if is_carried_out && self.line.proxy.is_clear() {
                return Ok(Some(self.line.endpoint.clone()));
            }
            if start.elapsed() >= within {
                let what = "the proxy still held something back".to_owned();
                return Err(FaultError::NotYet { what, after: within });
            }
            tokio::time::sleep(LOOK_EVERY.min(Duration::from_millis(5))).await;
        }
    }
}

async fn address(broker: &Endpoint) -> Result<SocketAddr, FaultError> {
    let failed = |reason: String| FaultError::Address { endpoint: broker.to_string(), reason };
    let found = tokio::net::lookup_host((broker.host.as_str(), broker.port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
    // A broker on `localhost` listens on 127.0.0.1 rather than on ::1.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| failed("there is none".to_owned()))
}

/// The plan's disturbance in the proxy's words.
fn what(disturbance: &plan::Disturbance) -> What {
    use plan::Disturbance as Planned;
    match *disturbance {
        Planned::Latency { direction, delay_us, jitter_us } => {
            What::Latency { direction: way(direction), delay: micros(delay_us), jitter: micros(jitter_us) }
        }
        Planned::Bandwidth { direction, bytes_per_s } => What::Bandwidth { direction: way(direction), bytes_per_s },
        Planned::Stall { direction } => What::Stall { direction: way(direction) },
        Planned::HalfOpen { direction } => What::Silence { direction: way(direction) },
        Planned::Slice { direction, bytes, pause_us } => What::Slice {
            direction: way(direction),
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            pause: micros(pause_us),
        },
        Planned::Reset => What::Reset,
        Planned::Close => What::Close,
        Planned::Refuse => What::Refuse,
        Planned::Frames { class, action, picks } => {
            What::Frames { class: frames(class), action: frame_action(action), picks: picked(picks) }
        }
        Planned::CutBeforeConfirm { picks } => What::CutBeforeConfirm { picks: picked(picks) },
        Planned::CutBeforeAck { picks } => What::CutBeforeAck { picks: picked(picks) },
    }
}

fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn way(direction: Direction) -> proxy::Direction {
    match direction {
        Direction::ToBroker => proxy::Direction::ToBroker,
        Direction::ToClient => proxy::Direction::ToClient,
        Direction::Both => proxy::Direction::Both,
    }
}

fn frames(class: FrameClass) -> proxy::FrameClass {
    match class {
        FrameClass::Publishes => proxy::FrameClass::Publishes,
        FrameClass::Confirms => proxy::FrameClass::Confirms,
        FrameClass::Deliveries => proxy::FrameClass::Deliveries,
        FrameClass::Acks => proxy::FrameClass::Acks,
        FrameClass::Heartbeats => proxy::FrameClass::Heartbeats,
    }
}

fn frame_action(action: FrameAction) -> proxy::FrameAction {
    match action {
        FrameAction::Drop => proxy::FrameAction::Drop,
        FrameAction::DelayUs(us) => proxy::FrameAction::Delay(micros(us)),
        FrameAction::Hold => proxy::FrameAction::Hold,
    }
}

fn picked(picks: plan::Picks) -> Picks {
    Picks { first: picks.first, every: picks.every, times: picks.times.unwrap_or(u64::MAX) }
}
