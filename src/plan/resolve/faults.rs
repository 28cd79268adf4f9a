//! Faults: repetitions written out, times drawn, defaults filled in.

use super::Problems;
use super::members::{self, Fleets};
use crate::plan::draw::{self, Lane};
use crate::plan::fault::{Broken, Disturbance, FaultPlan, FrameAction, FrameClass, Picks, Trigger};
use crate::plan::{Direction, Family, FaultKind, LoadPlan};
use crate::scenario::fault::{Pick, Role};
use crate::scenario::{Fault, Scenario};
use crate::units::Span;

/// All faults, in the order in which they begin; those that wait for a count come last, in the order of the scenario.
pub(super) fn resolve(
    scenario: &Scenario,
    (seed, load): (u64, &LoadPlan),
    fleets: &Fleets<'_>,
    problems: &mut Problems,
) -> Vec<FaultPlan> {
    let mut draws = 0;
    let mut faults: Vec<(usize, FaultPlan)> = Vec::new();
    for (place, fault) in scenario.faults.iter().enumerate() {
        let Some(broken) = broken(fault, scenario, (seed, place, fleets)) else {
            problems.add(format!("fault[{place}]"), format!("`{}` lacks something", fault.kind));
            continue;
        };
        let triggers = triggers(fault, seed, &mut draws);
        if triggers.is_empty() {
            problems.add(format!("fault[{place}]"), "nothing says when");
        }
        for trigger in triggers {
            // A crash is over when it has happened; its `for` is how long a member stays away.
            let lasting_us = fault.lasting.filter(|_| !fault.kind.is_crash()).map(Span::as_us);
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
fn broken(fault: &Fault, scenario: &Scenario, (seed, place, all): (u64, usize, &Fleets<'_>)) -> Option<Broken> {
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
        Family::Fleet => members::broken(fault, &fleets(), (seed, place), all)?,
    })
}

/// Which of many events are meant.
pub(super) fn picks(written: Option<Pick>) -> Picks {
    Picks {
        first: written.and_then(|pick| pick.first).unwrap_or(1),
        every: written.and_then(|pick| pick.every).unwrap_or(1),
        times: written.and_then(|pick| pick.times),
    }
}

/// All fleets that a kind of fault can act on.
fn acted_on(kind: FaultKind, scenario: &Scenario) -> Vec<String> {
    // Who publishes for consumers has no members that could be broken.
    let is_meant = |fleet: &&crate::scenario::Producer| fleet.follows.is_none() || kind.acts_on().is_none();
    let producers = scenario.producers.iter().filter(is_meant).map(|fleet| (Role::Producer, &fleet.name));
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
    let picks = picks(fault.pick);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanError, resolve as resolve_all};

    fn try_plan(seed: u64, faults: &str) -> Result<Plan, Vec<PlanError>> {
        let text = format!(
            "schema = 1\nname = \"f\"\nseed = {seed}\n[[queue]]\nname = \"q\"\n[[producer]]\nname = \"out\"\n\
             routing_key = \"q\"\n[[consumer]]\nname = \"in\"\nqueue = \"q\"\n[load]\nwarmup = \"5s\"\n\
             duration = \"20s\"\n{faults}"
        );
        let scenario: Scenario = toml::from_str(&text).unwrap();
        resolve_all(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into()))
    }

    fn plan(seed: u64, faults: &str) -> Vec<FaultPlan> {
        try_plan(seed, faults).unwrap().faults
    }

    fn times(faults: &[FaultPlan]) -> Vec<Option<u64>> {
        faults.iter().map(|fault| fault.trigger.at_us()).collect()
    }

    #[test]
    fn repetitions_are_written_out_and_numbered_by_time() {
        let faults = plan(
            1,
            "[[fault]]\nkind = \"net-close\"\nwhen = { delivered = 9 }\n\
             [[fault]]\nkind = \"net-reset\"\nat = \"2s\"\nevery = \"3s\"\ntimes = 3\n\
             [[fault]]\nkind = \"node-pause\"\nat = \"4s\"\nfor = \"1s\"\n",
        );
        let at = |seconds: u64| Some(seconds * 1_000_000);
        assert_eq!(times(&faults), [at(2), at(4), at(5), at(8), None]);
        assert_eq!(faults.iter().map(|fault| fault.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!((faults[1].kind, faults[1].lasting_us), (FaultKind::NodePause, at(1)));
        assert_eq!(faults[4].trigger, Trigger::Delivered(9));
    }

    #[test]
    fn random_times_come_from_the_seed() {
        let random = "[[fault]]\nkind = \"net-reset\"\nrandom = { from = \"3s\", to = \"9s\", times = 4 }\n";
        let drawn = times(&plan(1, random));
        assert_eq!(drawn, times(&plan(1, random)));
        assert_ne!(drawn, times(&plan(2, random)));
        assert!(drawn.iter().all(|at| (3_000_000..=9_000_000).contains(&at.unwrap())), "{drawn:?}");
        assert!(drawn.is_sorted() && drawn.windows(2).any(|two| two[0] != two[1]));
    }

    #[test]
    fn a_fault_is_for_all_fleets_that_it_can_act_on() {
        let faults = plan(
            1,
            "[[fault]]\nkind = \"net-stall\"\nat = \"1s\"\n[[fault]]\nkind = \"drop-confirms\"\nat = \"2s\"\n\
             [[fault]]\nkind = \"hold-acks\"\nat = \"3s\"\npick = { first = 7, times = 2 }\n",
        );
        assert_eq!(faults.iter().map(|fault| fault.proxied().join(" ")).collect::<Vec<_>>(), ["out in", "out", "in"]);
        assert_eq!(faults.iter().map(FaultPlan::least_done).collect::<Vec<_>>(), [1, 1, 2]);
        let picks = Picks { first: 7, every: 1, times: Some(2) };
        let held = Disturbance::Frames { class: FrameClass::Acks, action: FrameAction::Hold, picks };
        assert_eq!(faults[2].broken, Broken::Network { fleets: vec!["in".to_owned()], share: 1.0, disturbance: held });
    }

    #[test]
    fn each_fault_says_what_it_does() {
        let faults = plan(
            1,
            "[[fault]]\nkind = \"net-latency\"\nat = \"1s\"\ndelay = \"20ms\"\njitter = \"5ms\"\nshare = 0.5\n\
             [[fault]]\nkind = \"cut-before-ack\"\nat = \"2s\"\npick = { first = 10, every = 5, times = 3 }\n\
             [[fault]]\nkind = \"net-half-open\"\nat = \"3s\"\nfleets = [\"in\"]\ndirection = \"to-client\"\n\
             [[fault]]\nkind = \"delay-acks\"\nat = \"4s\"\ndelay = \"1s\"\n\
             [[fault]]\nkind = \"node-kill\"\nat = \"5s\"\n\
             [[fault]]\nkind = \"queue-delete\"\nat = \"6s\"\nqueue = \"q\"\n",
        );
        let details: Vec<String> = faults.iter().map(FaultPlan::detail).collect();
        assert_eq!(
            details,
            [
                "out, in, 0.5 of the connections, 20ms to 25ms",
                "in, from number 10, one of 5, 3 times",
                "in, to the client",
                "in, 1s",
                "the broker",
                "q",
            ]
        );
    }

    #[test]
    fn what_is_done_to_the_node_may_not_overlap() {
        let two = |first_for: &str| {
            let faults = format!(
                "[[fault]]\nkind = \"node-kill\"\nat = \"3s\"\n{first_for}\
                 [[fault]]\nkind = \"memory-alarm\"\nat = \"8s\"\n"
            );
            try_plan(1, &faults).map(|plan| plan.faults.len()).map_err(|errors| errors[0].to_string())
        };
        assert_eq!(two("for = \"5s\"\n"), Ok(2));
        let refused = Err("fault[1].kind: `memory-alarm` would begin while `node-kill` still lasts".to_owned());
        assert_eq!(two("for = \"6s\"\n"), refused);
        assert_eq!(two(""), refused);
    }
}
