//! A run through a proxy that sabotages it: the ledger counts what the proxy did, no more and no less.

#![allow(clippy::expect_used, reason = "what helps a test may fail like a test")]

mod rig;

use std::net::{Ipv4Addr, SocketAddr};

use lurcher::proxy::{Disturbance, Picks, Proxy, What};
use rig::Held;

const SCENARIO: &str = r#"
schema = 1
name = "sabotaged"
seed = 5
[[queue]]
name = "sabotaged"
[[producer]]
name = "out"
routing_key = "sabotaged"
rate = "1000/s"
size = "64 B"
messages = 2_000
[[consumer]]
name = "in"
queue = "sabotaged"
prefetch = 50
ack = { batch = 10 }
[load]
duration = "20s"
max_lag = "10s"
[expect]
lost = 0
"#;

/// So many, far enough from one another and from those of other disturbances.
fn picks(first: u64, times: u64) -> Picks {
    Picks { first, every: 20, times }
}

#[test]
fn the_ledger_counts_what_the_proxy_did() {
    for client in ["lapin", "wire"] {
        let broker = Held::start();
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.broker().endpoint().port));
        let proxy = broker.wait(Proxy::start(upstream, 5)).expect("a proxy");
        let begin = |what| proxy.begin(Disturbance::of_all(what));
        let ids = [
            begin(What::LoseConfirmed { picks: picks(100, 5) }),
            begin(What::LoseDelivered { picks: picks(100, 7) }),
            begin(What::Duplicate { picks: picks(400, 3), flagged: false }),
            begin(What::Duplicate { picks: picks(600, 4), flagged: true }),
            begin(What::Corrupt { picks: picks(800, 2) }),
            begin(What::Invent { picks: picks(1_000, 6) }),
            begin(What::Swap { picks: picks(1_300, 8) }),
        ];
        let arguments = broker.arguments().map(|argument| {
            argument.replace(&format!(":{}", upstream.port()), &format!(":{}", proxy.address().port()))
        });
        let set = ["--set", &format!("producer.out.client={client}"), "--set", &format!("consumer.in.client={client}")]
            .map(str::to_owned);
        let rig = rig::Rig::new(SCENARIO).with(&arguments.each_ref().map(String::as_str));
        let ended = rig.with(&set.each_ref().map(String::as_str)).run().expect_code(1);
        assert_eq!(ids.map(|id| proxy.done(id)), [5, 7, 3, 4, 2, 6, 8], "what the proxy did");
        let totals = ended.record().totals;
        let doubled = (totals.unflagged, totals.redelivered);
        // A message that came corrupt did not come as itself.
        assert_eq!(totals.lost, 5 + 7 + 2, "{totals:?}");
        assert_eq!((doubled, totals.corrupt, totals.phantom, totals.misordered), ((3, 4), 2, 6, 8), "{totals:?}");
        broker.wait(proxy.stop());
    }
}
