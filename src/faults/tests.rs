//! The network's drivers, over a listener in place of a broker. Those of the node need a real one: `tests/faults.rs`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::network::{Disturbed, Network};
use super::{FaultError, until_holds};
use crate::endpoint::{Credentials, Endpoint, TlsFiles};
use crate::plan::{Direction, Disturbance, Plan, resolve};

const PATIENCE: Duration = Duration::from_secs(30);

fn plan() -> Plan {
    let text = "schema = 1\nname = \"f\"\n[[queue]]\nname = \"q\"\n[[producer]]\nname = \"out\"\nrouting_key = \"q\"\n\
                [[consumer]]\nname = \"in\"\nqueue = \"q\"\n\
                [[fault]]\nkind = \"net-stall\"\nat = \"1s\"\nfleets = [\"out\"]\n";
    let scenario = toml::from_str(text).unwrap();
    resolve(&scenario, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()
}

fn endpoint(port: u16, tls: Option<TlsFiles>) -> Endpoint {
    let (host, vhost) = ("localhost".to_owned(), "/".to_owned());
    Endpoint { host, port, vhost, credentials: Credentials::External, tls, heartbeat: None }
}

async fn network() -> (Network, TcpListener) {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Network::start(&plan(), &endpoint(broker.local_addr().unwrap().port(), None)).await.unwrap();
    (network, broker)
}

fn stall(network: &Network) -> Disturbed {
    let stall = Disturbance::Stall { direction: Direction::Both };
    network.begin(&["out".to_owned()], 1.0, &stall).pop().unwrap()
}

#[tokio::test]
async fn only_a_fleet_whose_network_is_disturbed_has_a_proxy() {
    let (network, _broker) = network().await;
    let through = network.endpoint("out").unwrap();
    assert_eq!((through.host.as_str(), through.vhost.as_str()), ("127.0.0.1", "/"));
    assert_eq!(network.endpoint("in"), None);
    let nobody = ["in".to_owned()];
    assert!(network.begin(&nobody, 1.0, &Disturbance::Reset).is_empty());
}

#[tokio::test]
async fn what_is_disturbed_is_clear_again_after_its_end() {
    let (network, broker) = network().await;
    let mut client = TcpStream::connect(("127.0.0.1", network.endpoint("out").unwrap().port)).await.unwrap();
    let (mut served, _) = broker.accept().await.unwrap();
    let stall = stall(&network);
    client.write_all(b"held").await.unwrap();
    let mut heard = [0; 4];
    let early = tokio::time::timeout(Duration::from_millis(50), served.read_exact(&mut heard)).await;
    assert!(early.is_err(), "a stall lets nothing pass");
    stall.end();
    assert_eq!(stall.clear(PATIENCE).await.unwrap().map(|endpoint| endpoint.host), Some("127.0.0.1".to_owned()));
    tokio::time::timeout(PATIENCE, served.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!((&heard, stall.done()), (b"held", 1));
}

#[tokio::test]
async fn the_last_of_several_is_the_one_that_is_checked() {
    let (network, _broker) = network().await;
    let (one, two) = (stall(&network), stall(&network));
    one.end();
    assert_eq!(one.clear(PATIENCE).await.unwrap(), None, "the other is still at work");
    two.end();
    assert!(two.clear(PATIENCE).await.unwrap().is_some());
}

#[tokio::test]
async fn what_ends_connections_has_ended_them_although_another_is_still_at_work() {
    let (network, broker) = network().await;
    let _client = TcpStream::connect(("127.0.0.1", network.endpoint("out").unwrap().port)).await.unwrap();
    let _served = broker.accept().await.unwrap();
    let _another = stall(&network);
    for (disturbance, done) in [(Disturbance::Close, 1), (Disturbance::Reset, 0)] {
        let ends = network.begin(&["out".to_owned()], 1.0, &disturbance).pop().unwrap();
        ends.end();
        assert_eq!(ends.clear(PATIENCE).await.unwrap(), None);
        assert_eq!(ends.done(), done, "{disturbance:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_still_holds_something_is_not_clear() {
    let (network, _broker) = network().await;
    let stall = stall(&network);
    // Its end is counted, and the proxy was never told.
    stall.forget_to_end();
    let error = stall.clear(Duration::from_millis(20)).await.unwrap_err();
    assert!(error.to_string().contains("still held something back"), "{error}");
}

#[tokio::test]
async fn a_proxy_cannot_stand_in_for_a_certificate() {
    let refused = Network::start(&plan(), &endpoint(1, Some(TlsFiles::default()))).await.err().unwrap();
    assert!(matches!(refused, FaultError::Tls { .. }) && refused.is_bad_input(), "{refused}");
}

#[tokio::test]
async fn what_never_holds_is_the_last_failure() {
    let failing = || async { Err(FaultError::Nothing { what: "a reason".to_owned() }) };
    let error = until_holds(Duration::from_millis(10), failing).await.unwrap_err();
    assert!(error.to_string().contains("a reason"), "{error}");
    let hanging = || std::future::pending();
    let error = until_holds(Duration::from_millis(10), hanging).await.unwrap_err();
    assert!(error.to_string().contains("there was no answer"), "{error}");
}
