//! Brokers of the tests, started as a run starts its own: a container that listens on loopback only, with a password
//! of its own, that is removed when it is dropped, or by the next start where the test was killed.
//!
//! A test without a broker fails here, with the command that fixes it; none is skipped.

#![allow(dead_code, reason = "each test binary uses some of it")]

use lurcher::broker::{Broker, StartOptions};
use lurcher::endpoint::Credentials;
use lurcher::plan::{BrokerPlan, Provider};

/// What to do where there is no broker.
pub const HINT: &str = "if no broker could be had: `make test` provides the image and the local server";

/// Image of the tests' brokers: `LURCHER_BROKER_IMAGE`, or what `make image` makes.
pub fn image() -> String {
    let named = std::env::var("LURCHER_BROKER_IMAGE").ok().filter(|image| !image.is_empty());
    named.unwrap_or_else(|| "lurcher/rabbitmq:4.0".to_owned())
}

/// A container of [`image`]; all else as in a scenario that says nothing of its broker.
pub fn plan() -> BrokerPlan {
    BrokerPlan { provider: Provider::Container, image: image(), ..BrokerPlan::default() }
}

/// Starts what `plan` asks for.
pub async fn start(plan: &BrokerPlan) -> Broker {
    let run_id = format!("test-{:08x}", rand::random::<u32>());
    let options = StartOptions { external: None, run_id, note: &|_| {} };
    lurcher::broker::start(plan, &options).await.unwrap_or_else(|error| panic!("{error}\n{HINT}"))
}

/// User and password.
pub fn login(broker: &Broker) -> (String, String) {
    match &broker.endpoint().credentials {
        Credentials::Plain { user, password } => (user.clone(), password.reveal().to_owned()),
        Credentials::External => panic!("a broker of ours has a password"),
    }
}

/// How others reach it, with user and password; the virtual host is `/`.
pub fn url(broker: &Broker) -> String {
    let ((user, password), endpoint) = (login(broker), broker.endpoint());
    format!("amqp://{user}:{password}@{}:{}", endpoint.host, endpoint.port)
}
