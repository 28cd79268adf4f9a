//! A real RabbitMQ for the tests of clients and topologies, started and removed as `rig/broker.rs` says, with a user
//! `tester`, and with plugins, settings and TLS where a test wishes for them.

// Each test file uses its part.
#![allow(dead_code)]

#[path = "../rig/broker.rs"]
mod rig;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use lurcher::endpoint::{Credentials, Endpoint, Secret, TlsFiles};
use lurcher::plan::{BrokerPlan, Network};

/// How long a broker may take to get ready again on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

const USER: &str = "tester";

/// What a test wants beside the defaults.
#[derive(Default)]
pub struct Wishes<'a> {
    /// Plugins to enable.
    pub plugins: &'a [&'a str],
    /// Lines of `rabbitmq.conf`.
    pub config: &'a str,
    /// Directory with `ca.pem`, `server.pem` and `server.key`: turns TLS on.
    pub certificates: Option<&'a Path>,
}

/// A running broker.
pub struct Broker {
    started: lurcher::broker::Broker,
    pub amqp_port: u16,
    pub tls_port: u16,
    pub password: String,
}

impl Broker {
    /// Starts a broker and waits until it speaks AMQP.
    pub async fn start(wishes: Wishes<'_>) -> Self {
        let plan = BrokerPlan {
            plugins: wishes.plugins.iter().map(|plugin| (*plugin).to_owned()).collect(),
            config: wishes.config.lines().map(str::to_owned).collect(),
            // No port for TLS is published: it can be reached on the host's own network only.
            network: if wishes.certificates.is_some() { Network::Host } else { Network::Auto },
            ..rig::plan()
        };
        let started = rig::start(&plan).await;
        let (_, password) = rig::login(&started);
        let broker = Self { amqp_port: started.endpoint().port, tls_port: free_port(), password, started };
        if let Some(certificates) = wishes.certificates {
            broker.turn_tls_on(certificates).await;
        }
        broker.ctl(&["add_user", USER, &broker.password]);
        broker.ctl(&["set_permissions", USER, ".*", ".*", ".*"]);
        broker
    }

    /// A broker reads its configuration when it starts, so it starts again.
    async fn turn_tls_on(&self, certificates: &Path) {
        for file in ["ca.pem", "server.pem", "server.key"] {
            self.write(file, &std::fs::read_to_string(certificates.join(file)).unwrap());
        }
        let config = format!(
            "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\nssl_options.cacertfile = /etc/rabbitmq/ca.pem\n\
             ssl_options.certfile = /etc/rabbitmq/server.pem\nssl_options.keyfile = /etc/rabbitmq/server.key\n",
            self.tls_port
        );
        self.write("conf.d/95-tls.conf", &config);
        let node = &self.started.nodes()[0];
        node.kill().await.unwrap();
        node.start().await.unwrap();
        self.started.wait_ready(READY_WITHIN).await.unwrap();
        // The TLS listener starts after the plain one.
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            let listeners = || self.run(&["rabbitmq-diagnostics", "listeners"]);
            assert!(started.elapsed() < READY_WITHIN, "nothing listens for TLS; what listens: {}", listeners());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes one of its files, which lie in `/etc/rabbitmq`.
    fn write(&self, file: &str, text: &str) {
        self.run(&["sh", "-c", "printf %s \"$2\" > \"/etc/rabbitmq/$1\"", "sh", file, text]);
    }

    /// Which release of RabbitMQ it is, such as (4, 0): the releases differ.
    pub fn version(&self) -> (u32, u32) {
        let text = &self.started.facts().version;
        let mut numbers = text.split('.').map_while(|part| part.parse().ok());
        let release = numbers.next().zip(numbers.next());
        release.unwrap_or_else(|| panic!("`{text}` is not a version of RabbitMQ"))
    }

    /// How to reach it over plain TCP.
    pub fn endpoint(&self) -> Endpoint {
        let credentials = Credentials::Plain { user: USER.to_owned(), password: Secret::new(&self.password) };
        Endpoint { credentials, ..self.started.endpoint().clone() }
    }

    /// How to reach it over TLS.
    pub fn tls_endpoint(&self, files: TlsFiles) -> Endpoint {
        Endpoint { port: self.tls_port, tls: Some(files), ..self.endpoint() }
    }

    /// Runs `rabbitmqctl` in it.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["rabbitmqctl"], arguments].concat())
    }

    /// Runs a command where the broker runs. The test must have more than one thread.
    fn run(&self, command: &[&str]) -> String {
        let run = self.started.nodes()[0].exec(command);
        let output = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run)).unwrap();
        assert_eq!(output.code, 0, "{command:?}: {}", output.text);
        output.text
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
