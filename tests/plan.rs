//! Scenarios become plans: the shipped ones, the defaults, the divisions and the refusals.

// Clippy allows `expect` in test functions only, not in what they share.
#![allow(clippy::expect_used)]

#[path = "rig/scenarios.rs"]
mod scenarios;

use lurcher::plan::topology::RemovalRule;
use lurcher::plan::{AckPlan, Plan, PlanError, Schedule, resolve};
use lurcher::scenario::Scenario;
use proptest::prelude::*;
use scenarios::plan_of;

fn parse(text: &str) -> Scenario {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn no_files(path: &str) -> std::io::Result<String> {
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("no {path} here")))
}

fn try_plan(text: &str) -> Result<Plan, Vec<PlanError>> {
    resolve(&parse(&format!("schema = 1\nname = \"test\"\n{text}")), &no_files)
}

fn plan(text: &str) -> Plan {
    try_plan(text).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

fn json(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).expect("a plan is JSON")
}

#[test]
fn every_shipped_scenario_is_short_and_gentle() {
    // Those in folders are neither, and say so.
    let folder = scenarios::folder();
    let at_hand: Vec<_> =
        scenarios::all().into_values().filter(|path| path.parent() == Some(folder.as_path())).collect();
    assert!(at_hand.len() >= 24, "only {} scenarios", at_hand.len());
    for path in at_hand {
        let plan = plan_of(&path, &[]);
        let peak: f64 = plan
            .producers
            .iter()
            .map(|fleet| fleet.rate.as_ref().map_or(f64::INFINITY, |rate| rate.peak_per_s()))
            .sum();
        assert!(peak <= 3000.0, "{} offers {peak}/s", plan.name);
        let seconds = if plan.name == "quickstart" { 20 } else { 10 };
        let last_us = plan
            .producers
            .iter()
            .flat_map(|fleet| fleet.publishers.iter().map(move |publisher| (fleet, publisher)))
            .filter_map(|(fleet, publisher)| {
                let turn = (u64::from(publisher.place), fleet.publishers.len() as u64);
                let end = plan.load.end_us();
                let rate = fleet.rate.as_ref()?;
                let schedule =
                    Schedule::new(rate, plan.load.warmup_us, turn, publisher.start_us, end, publisher.messages);
                schedule.due_us(schedule.planned_before(u64::MAX).checked_sub(1)?)
            })
            .max()
            .expect("a send");
        assert!(last_us <= seconds * 1_000_000, "{} sends until {last_us} µs", plan.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    for path in scenarios::all().values() {
        let first = json(&plan_of(path, &["seed=7"]));
        assert_eq!(first, json(&plan_of(path, &["seed=7"])), "{}", path.display());
        assert_ne!(first.replace("\"seed\": 7", ""), json(&plan_of(path, &["seed=8"])).replace("\"seed\": 8", ""));
    }
}

#[test]
fn a_plan_reads_back() {
    for path in scenarios::all().values() {
        let plan = plan_of(path, &[]);
        assert_eq!(serde_json::from_str::<Plan>(&json(&plan)).expect("a plan"), plan);
    }
}

#[test]
fn the_quickstart_plan() {
    insta::assert_snapshot!(json(&plan_of(&scenarios::all()["quickstart"], &[])));
}

#[test]
fn all_defaults() {
    let text = r#"
        [[exchange]]
        name = "e"
        kind = "direct"
        [[queue]]
        name = "q"
        [[producer]]
        name = "p"
        routing_key = "q"
        [[consumer]]
        name = "c"
        queue = "q"
    "#;
    insta::assert_snapshot!(json(&plan(text)));
}

#[test]
fn all_queue_arguments_are_in_the_brokers_words() {
    let text = r#"
        [[exchange]]
        name = "e"
        kind = "topic"
        alternate = "rest"
        [[exchange]]
        name = "rest"
        kind = "fanout"
        bind = [{ exchange = "e", key = "x" }]
        [[queue]]
        name = "full"
        message_ttl = "1m"
        expires = "1h"
        max_length = 10
        max_length_bytes = "1 MiB"
        overflow = "drop-head"
        max_priority = 5
        dead_letter = { exchange = "e", key = "dead" }
        single_active_consumer = true
        arguments = { x-queue-mode = "lazy", list = [1, 2.5, true], table = { a = "b" } }
        [[queue]]
        name = "shop.{08..10}"
        kind = "quorum"
        overflow = "reject-publish"
        max_length = 10
        delivery_limit = 3
        dead_letter = { exchange = "", key = "dead.{}", strategy = "at-least-once" }
        bind = [{ exchange = "e", key = "shop.{}.#", headers = { who = "{}" } }]
        [[queue]]
        name = "log"
        kind = "stream"
        max_age = "7D"
    "#;
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan(text).topology).expect("JSON"));
}

fn rules(plan: &Plan, queue: &str) -> Vec<RemovalRule> {
    plan.topology.queues.iter().find(|it| it.name == queue).expect("a queue").removal_rules.clone()
}

#[test]
fn an_expiration_is_a_rule_of_the_queues_it_reaches() {
    let plan = plan(
        r#"
        [[queue]]
        name = "reached.{1..2}"
        [[queue]]
        name = "stream"
        kind = "stream"
        [[queue]]
        name = "quorum"
        kind = "quorum"
        [[queue]]
        name = "other"
        [[producer]]
        name = "p"
        routing_key = { choice = [{ key = "reached.{1..2}" }, { key = "stream" }, { key = "quorum" }] }
        properties = { expiration = "2s" }
        [[producer]]
        name = "without"
        routing_key = "other"
        "#,
    );
    assert_eq!(rules(&plan, "reached.2"), [RemovalRule::Ttl]);
    assert_eq!(rules(&plan, "quorum"), [RemovalRule::Ttl, RemovalRule::DeliveryLimit]);
    assert_eq!(rules(&plan, "stream"), []);
    assert_eq!(rules(&plan, "other"), []);
    assert_eq!(plan.producers[0].properties.expiration_ms, Some(2000));
}

#[test]
fn patterns_share_their_weight_and_take_their_turn() {
    let text = |key: &str| format!("[[queue]]\nname = \"q.{{1..3}}\"\n[[producer]]\nname = \"p\"\nrouting_key = {key}");
    let turns = plan(&text("\"q.{1..3}\""));
    assert!(!turns.producers[0].routes_drawn);
    assert_eq!(turns.producers[0].routes.iter().map(|route| route.queues.clone()).collect::<Vec<_>>(), [[0], [1], [2]]);
    let drawn = plan(&text("{ choice = [{ key = \"q.{1..2}\", weight = 3 }, { key = \"nowhere\" }] }"));
    let routes = &drawn.producers[0].routes;
    assert!(drawn.producers[0].routes_drawn);
    assert_eq!(routes.iter().map(|route| route.weight).collect::<Vec<_>>(), [1.5, 1.5, 1.0]);
    assert!(routes[2].queues.is_empty());
}

#[test]
fn connections_and_ids_count_on() {
    let plan = plan(
        r#"
        [[queue]]
        name = "q"
        [[producer]]
        name = "first"
        routing_key = "q"
        count = 2
        connections = 2
        channels = 3
        random_start = "1s"
        [[producer]]
        name = "second"
        routing_key = "q"
        [[consumer]]
        name = "c"
        queue = "q"
        connections = 2
        start_delay = "2s"
        ack = "auto"
        "#,
    );
    let [first, second] = &plan.producers[..] else { panic!("two fleets") };
    assert_eq!(first.publishers.len(), 12);
    let ids: Vec<_> = first.publishers.iter().chain(&second.publishers).map(|publisher| publisher.id).collect();
    assert_eq!(ids, (0..13).collect::<Vec<_>>());
    let seen: Vec<_> = first.publishers.iter().map(|publisher| (publisher.member, publisher.connection)).collect();
    assert_eq!(seen[..7], [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1), (1, 2)]);
    // A member's publishers start together, members apart.
    assert!(first.publishers[..6].iter().all(|publisher| publisher.start_us == first.publishers[0].start_us));
    assert_ne!(first.publishers[0].start_us, first.publishers[6].start_us);
    assert!(first.publishers.iter().all(|publisher| publisher.start_us < 1_000_000));
    assert_eq!(second.publishers[0].start_us, 0);
    let [consumer] = &plan.consumers[..] else { panic!("one fleet") };
    assert_eq!(consumer.subscribers.iter().map(|it| it.connection).collect::<Vec<_>>(), [0, 1]);
    assert!(consumer.subscribers.iter().all(|it| it.start_us == 2_000_000 && it.queues == [0]));
    assert_eq!(consumer.ack, AckPlan::Auto);
}

fn messages_of(plan: &Plan) -> Vec<u64> {
    plan.producers
        .iter()
        .map(|fleet| fleet.publishers.iter().map(|publisher| publisher.messages.expect("a limit")).sum())
        .collect()
}

#[test]
fn the_loads_messages_are_divided_by_rate() {
    let fleets = |rates: &[&str]| {
        let fleets = rates.iter().enumerate().map(|(place, rate)| {
            format!("[[producer]]\nname = \"p{place}\"\nrouting_key = \"q\"\ncount = 3\n{rate}\n")
        });
        format!("[[queue]]\nname = \"q\"\n[load]\nmessages = 1000\n{}", fleets.collect::<String>())
    };
    let divided = |rates: &[&str]| messages_of(&plan(&fleets(rates)));
    assert_eq!(divided(&["rate = \"300/s\"", "rate = \"100/s\""]), [750, 250]);
    assert_eq!(divided(&["rate = \"300/s\"", "rate = \"max\""]), [500, 500]);
    assert_eq!(divided(&["rate = \"300/s\"", "rate = \"100/s\"", "messages = 600"]), [300, 100, 600]);
    assert_eq!(plan(&fleets(&["rate = \"1/s\""])).load.duration_us, None);
}

#[test]
fn a_load_always_ends() {
    let fleet = |name: &str, more: &str| format!("[[producer]]\nname = \"{name}\"\nrouting_key = \"q\"\n{more}\n");
    let duration = |fleets: &str| plan(&format!("[[queue]]\nname = \"q\"\n{fleets}")).load.duration_us;
    assert_eq!(duration(&fleet("a", "")), Some(30_000_000));
    assert_eq!(duration(&fleet("a", "messages = 5")), None);
    assert_eq!(duration(&(fleet("a", "messages = 5") + &fleet("b", ""))), Some(30_000_000));
    assert_eq!(duration("[[consumer]]\nname = \"c\"\nqueue = \"q\""), Some(30_000_000));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = r#"
        [[exchange]]
        name = "e"
        kind = "headers"
        alternate = "missing"
        [[queue]]
        name = "q.{3..1}"
        [[queue]]
        name = "q"
        message_ttl = "1500us"
        expires = "0s"
        arguments = { x-max-length = 5, when = 2024-01-01 }
        max_length = 7
        bind = [{ exchange = "nowhere" }, { exchange = "" }, { exchange = "e", headers = { x-match = "some", id = "1" } }]
        [[queue]]
        name = "q"
        [[producer]]
        name = "p"
        count = 0
        exchange = "missing"
        [[producer]]
        name = "p"
        size = { min = "2 KiB", max = "1 KiB" }
        rate = { steps = [{ rate = "0/s", for = "1s" }] }
        properties = { message_id = "{{id}}", expiration = "100000h", headers = { id = "{{seq}}", deep = { list = ["{{seq}}"], plain = ["a"] } } }
        [[producer]]
        name = "many"
        count = 1000
        channels = 1000
        routing_key = { choice = [{ key = "a", weight = -1 }, { key = "b", weight = 0 }] }
        size = "23 B"
        body = { compressible = 1.5 }
        [[producer]]
        name = "file"
        routing_key = "q"
        size = "1 KiB"
        body = { template = "missing.json" }
        [[consumer]]
        name = "p"
        queue = "missing.{1..3}"
        ack = { batch = 0 }
        work = { uniform = { min = "2s", max = "1s" } }
        [expect]
        guarantee = "maybe"
        ordered = false
        loss = 0
        lost = "none"
        "lost.missing" = 0
        "confirmed.q" = 1
        "end_to_end.p99" = 250
        "end_to_end.nobody.p99" = "<= 1s"
        "throughput.consumed" = ">= 10ms"
        "broker_memory.max" = "<= 64"
        "confirm.p50" = "1ms"
    "#;
    let errors = try_plan(text).expect_err("all of it is wrong");
    let lines: Vec<_> =
        errors.iter().map(|error| format!("{error}\n    help: {}\n", error.help.as_deref().unwrap_or("-"))).collect();
    insta::assert_snapshot!(lines.concat());
}

#[test]
fn bounds_are_read_in_the_metrics_own_unit() {
    let text = r#"
        [[queue]]
        name = "log"
        kind = "stream"
        [[producer]]
        name = "p"
        routing_key = "log"
        [expect]
        lost = 0
        planned = "!= 1_000_000"
        "lost.log#3" = "< 1"
        "end_to_end.p99.9" = "<= 250ms"
        "confirm.p.max" = "<1500us"
        "confirm.count" = "> 10"
        "throughput.consumed" = ">= 120/min"
        "broker_memory.max" = "<= 64 MiB"
        "broker_cpu.mean" = "<= 1.5"
    "#;
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan(text).expect).expect("JSON"));
}

proptest! {
    #[test]
    fn no_message_is_lost_in_a_division(
        messages in 0u64..100_000,
        fleets in prop::collection::vec((1u32..20, 1u32..4, prop::option::of(1u32..10_000)), 1..6),
    ) {
        let fleets: String = fleets
            .iter()
            .enumerate()
            .map(|(place, (count, channels, rate))| {
                let rate = rate.map_or("max".to_owned(), |rate| format!("{rate}/s"));
                format!(
                    "[[producer]]\nname = \"p{place}\"\nrouting_key = \"q\"\ncount = {count}\nchannels = {channels}\n\
                     rate = \"{rate}\"\n"
                )
            })
            .collect();
        let plan = plan(&format!("[[queue]]\nname = \"q\"\n[load]\nmessages = {messages}\n{fleets}"));
        prop_assert_eq!(messages_of(&plan).iter().sum::<u64>(), messages);
        // The parts are those of the schedule: no publisher has a message that is not due, or misses one that is.
        for fleet in &plan.producers {
            let Some(rate) = &fleet.rate else { continue };
            let of = fleet.publishers.len() as u64;
            for publisher in &fleet.publishers {
                let turn = (u64::from(publisher.place), of);
                let planned = Schedule::new(rate, 0, turn, 0, None, publisher.messages).planned_before(u64::MAX);
                prop_assert_eq!(Some(planned), publisher.messages);
            }
        }
    }

    #[test]
    fn publishers_draw_apart(seed in 0..=i64::MAX as u64) {
        let text = format!(
            "seed = {seed}\n[[queue]]\nname = \"q\"\n[[producer]]\nname = \"p\"\nrouting_key = \"q\"\ncount = 50\n\
             [[consumer]]\nname = \"c\"\nqueue = \"q\"\ncount = 50"
        );
        let plan = plan(&text);
        let seeds: std::collections::BTreeSet<_> = plan.producers[0]
            .publishers
            .iter()
            .map(|it| it.seed)
            .chain(plan.consumers[0].subscribers.iter().map(|it| it.seed))
            .collect();
        prop_assert_eq!(seeds.len(), 100);
    }
}
