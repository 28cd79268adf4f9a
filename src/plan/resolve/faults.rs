//! Faults: repetitions written out, times drawn, defaults filled in.

use super::Problems;
use crate::plan::draw::{self, Lane};
use crate::plan::fault::{Broken, Disturbance, FaultPlan, FrameAction, FrameClass, Picks, Trigger};
use crate::plan::{Direction, Family, FaultKind, LoadPlan};
use crate::scenario::fault::Role;
use crate::scenario::{Fault, Scenario};
use crate::units::Span;

/// All faults, in the order in which they begin; those that wait for a count come last, in the order of the scenario.
pub(super) fn resolve(scenario: &Scenario, seed: u64, load: &LoadPlan, problems: &mut Problems) -> Vec<FaultPlan> {
    let mut draws = 0;
    let mut faults: Vec<(usize, FaultPlan)> = Vec::new();
    for (place, fault) in scenario.faults.iter().enumerate() {
        let Some(broken) = broken(fault, scenario) else {
            problems.add(format!("fault[{place}]"), format!("`{}` lacks something", fault.kind));
            continue;
        };
        let triggers = triggers(fault, seed, &mut draws);
        if triggers.is_empty() {
            problems.add(format!("fault[{place}]"), "nothing says when");
        }
        for trigger in triggers {
            let lasting_us = fault.lasting.map(Span::as_us);
            faults.push((place, FaultPlan { id: 0, kind: fault.kind, trigger, lasting_us, broken: broken.clone() }));
        }
    }
    faults.sort_by_key(|(place, fault)| (fault.trigger.at_us().unwrap_or(u64::MAX), *place));
    one_node_at_a_time(&faults, load, problems);
    let number = |(place, fault): (usize, (usize, FaultPlan))| FaultPlan { id: place as u32 + 1, ..fault.1 };
    faults.into_iter().enumerate().map(number).collect()
}

fn triggers(fault: &Fault, seed: u64, draws: &mut u64) -> Vec<Trigger> {
    if let Some(at) = fault.at {
        let every_us = fault.every.map_or(0, Span::as_us);
        let times = u64::from(fault.times.unwrap_or(1));
        return (0..times).map(|n| Trigger::AtUs(at.as_us().saturating_add(every_us.saturating_mul(n)))).collect();
    }
    if let Some(when) = fault.when {
        let counts = [
            when.published.map(Trigger::Published),
            when.confirmed.map(Trigger::Confirmed),
            when.delivered.map(Trigger::Delivered),
        ];
        return counts.into_iter().flatten().take(1).collect();
    }
    let Some(random) = fault.random else { return Vec::new() };
    let (from, to) = (random.from.as_us(), random.to.as_us());
    let drawn = (0..random.times.unwrap_or(1)).map(|_| {
        *draws += 1;
        Trigger::AtUs(from + draw::below(seed, Lane::Fault, *draws, to.saturating_sub(from) + 1))
    });
    drawn.collect()
}

/// A node that is down cannot be paused: what is done to it follows one after the other.
fn one_node_at_a_time(faults: &[(usize, FaultPlan)], load: &LoadPlan, problems: &mut Problems) {
    let of_node = faults.iter().filter(|(_, fault)| fault.kind.family() == Family::Node);
    let timed: Vec<_> = of_node.filter_map(|(place, fault)| Some((*place, fault, fault.trigger.at_us()?))).collect();
    for pair in timed.windows(2) {
        let ((_, earlier, from_us), (place, later, at_us)) = (pair[0], pair[1]);
        let to_the_end_us = load.end_us().unwrap_or(u64::MAX);
        let over_us = earlier.lasting_us.map_or(to_the_end_us, |lasting_us| from_us.saturating_add(lasting_us));
        if at_us < over_us {
            let message = format!("`{}` would begin while `{}` still lasts", later.kind, earlier.kind);
            let help = "what is done to the broker's node follows one after the other: write another time or `for`";
            problems.add_with_help(format!("fault[{place}].kind"), message, help);
        }
    }
}

/// What is broken; none where the scenario lacks a key, which its check has told.
fn broken(fault: &Fault, scenario: &Scenario) -> Option<Broken> {
    let fleets = || fault.fleets.clone().unwrap_or_else(|| acted_on(fault.kind, scenario));
    Some(match fault.kind.family() {
        Family::Node => Broken::Node,
        Family::Management if fault.kind == FaultKind::CloseConnections => Broken::Connections { fleets: fleets() },
        Family::Management => Broken::Queue { queue: fault.queue.clone()? },
        Family::Bytes => {
            Broken::Network { fleets: fleets(), share: fault.share.unwrap_or(1.0), disturbance: of_bytes(fault)? }
        }
        Family::Frames => {
            Broken::Network { fleets: fleets(), share: fault.share.unwrap_or(1.0), disturbance: of_frames(fault)? }
        }
    })
}

/// All fleets that a kind of fault can act on.
fn acted_on(kind: FaultKind, scenario: &Scenario) -> Vec<String> {
    let producers = scenario.producers.iter().map(|fleet| (Role::Producer, &fleet.name));
    let all = producers.chain(scenario.consumers.iter().map(|fleet| (Role::Consumer, &fleet.name)));
    all.filter(|(role, _)| kind.acts_on().is_none_or(|only| only == *role)).map(|(_, name)| name.clone()).collect()
}

fn of_bytes(fault: &Fault) -> Option<Disturbance> {
    let direction = fault.direction.unwrap_or(Direction::Both);
    Some(match fault.kind {
        FaultKind::NetLatency => Disturbance::Latency {
            direction,
            delay_us: fault.delay?.as_us(),
            jitter_us: fault.jitter.map_or(0, Span::as_us),
        },
        FaultKind::NetBandwidth => Disturbance::Bandwidth { direction, bytes_per_s: fault.bytes_per_second?.0 },
        FaultKind::NetStall => Disturbance::Stall { direction },
        FaultKind::NetHalfOpen => Disturbance::HalfOpen { direction },
        FaultKind::NetSlice => {
            Disturbance::Slice { direction, bytes: fault.bytes?.0, pause_us: fault.pause.map_or(0, Span::as_us) }
        }
        FaultKind::NetReset => Disturbance::Reset,
        FaultKind::NetClose => Disturbance::Close,
        FaultKind::NetRefuse => Disturbance::Refuse,
        _ => return None,
    })
}

fn of_frames(fault: &Fault) -> Option<Disturbance> {
    use FaultKind::{
        CutBeforeAck, CutBeforeConfirm, DelayAcks, DelayConfirms, DelayDeliveries, DelayPublishes, DropAcks,
        DropConfirms, DropDeliveries, DropHeartbeats, DropPublishes, HoldAcks, HoldConfirms, HoldDeliveries,
        HoldPublishes,
    };
    let picks = Picks {
        first: fault.pick.and_then(|pick| pick.first).unwrap_or(1),
        every: fault.pick.and_then(|pick| pick.every).unwrap_or(1),
        times: fault.pick.and_then(|pick| pick.times),
    };
    let class = match fault.kind {
        CutBeforeConfirm => return Some(Disturbance::CutBeforeConfirm { picks }),
        CutBeforeAck => return Some(Disturbance::CutBeforeAck { picks }),
        DropPublishes | DelayPublishes | HoldPublishes => FrameClass::Publishes,
        DropConfirms | DelayConfirms | HoldConfirms => FrameClass::Confirms,
        DropDeliveries | DelayDeliveries | HoldDeliveries => FrameClass::Deliveries,
        DropAcks | DelayAcks | HoldAcks => FrameClass::Acks,
        DropHeartbeats => FrameClass::Heartbeats,
        _ => return None,
    };
    let action = match fault.kind {
        DelayPublishes | DelayConfirms | DelayDeliveries | DelayAcks => FrameAction::DelayUs(fault.delay?.as_us()),
        HoldPublishes | HoldConfirms | HoldDeliveries | HoldAcks => FrameAction::Hold,
        _ => FrameAction::Drop,
    };
    Some(Disturbance::Frames { class, action, picks })
}
