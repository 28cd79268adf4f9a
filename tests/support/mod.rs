//! A real RabbitMQ for tests: one container on the host's network, listening on loopback only, with a password of its
//! own. It goes with the test, also when the test is killed: the container ends when its standard input does.
//!
//! Its image is `LURCHER_BROKER_IMAGE`, or `lurcher/rabbitmq:4.0`. Where none can be had the test fails.

// Each test file uses its part.
#![allow(dead_code)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lurcher::client::lapin::Lapin;
use lurcher::client::{Client, ClientError};
use lurcher::endpoint::{Credentials, Endpoint, Secret, TlsFiles};

/// How long a broker may take to get ready on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

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
    container: String,
    child: Child,
    node: String,
    pub amqp_port: u16,
    pub tls_port: u16,
    pub password: String,
}

impl Broker {
    /// Starts a broker and waits until it speaks AMQP.
    pub async fn start(wishes: Wishes<'_>) -> Self {
        let image = std::env::var("LURCHER_BROKER_IMAGE").unwrap_or_else(|_| "lurcher/rabbitmq:4.0".to_owned());
        let [amqp_port, tls_port, dist_port, epmd_port] = free_ports();
        let name = format!("lurcher-test-{}-{amqp_port}", std::process::id());
        let node = format!("{name}@localhost");
        let password = format!("{:016x}", fastrand());
        let files = tempfile::tempdir().unwrap();
        write_config(files.path(), &wishes, amqp_port, tls_port, &password);

        let environment = [
            format!("RABBITMQ_NODENAME={node}"),
            format!("RABBITMQ_DIST_PORT={dist_port}"),
            format!("ERL_EPMD_PORT={epmd_port}"),
            "ERL_EPMD_ADDRESS=127.0.0.1".to_owned(),
            "ERL_AFLAGS=-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
        ];
        let mut create = Command::new("docker");
        create.args(["create", "--rm", "--init", "--interactive", "--network", "host", "--name", &name]);
        for variable in &environment {
            create.args(["--env", variable]);
        }
        create.args([&image, "sh", "-c", "rabbitmq-server & cat > /dev/null; kill $!"]);
        docker(&mut create, &image);
        let copy = format!("{}/.", files.path().display());
        docker(Command::new("docker").args(["cp", &copy, &format!("{name}:/etc/rabbitmq/")]), &image);
        let child = Command::new("docker")
            .args(["start", "--attach", "--interactive", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self { container: name, child, node, amqp_port, tls_port, password };
        broker.wait_until_ready().await;
        if wishes.certificates.is_some() {
            broker.wait_for_tls();
        }
        broker
    }

    async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            match Lapin.connect(&self.endpoint(), "is it ready?").await {
                Ok(connection) => return connection.close(Duration::from_secs(5)).await,
                Err(ClientError::Connect { .. }) if started.elapsed() < READY_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("the broker did not get ready: {error}; its log: {}", self.log()),
            }
        }
    }

    /// The TLS listener starts after the plain one.
    fn wait_for_tls(&self) {
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            assert!(started.elapsed() < READY_WITHIN, "nothing listens for TLS; the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        let output = Command::new("docker").args(["logs", "--tail", "40", &self.container]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How to reach it over plain TCP.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: self.amqp_port,
            vhost: "/".to_owned(),
            credentials: Credentials::Plain { user: "tester".to_owned(), password: Secret::new(&self.password) },
            tls: None,
            heartbeat: None,
        }
    }

    /// How to reach it over TLS.
    pub fn tls_endpoint(&self, files: TlsFiles) -> Endpoint {
        Endpoint { port: self.tls_port, tls: Some(files), ..self.endpoint() }
    }

    /// Runs `rabbitmqctl` in it.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("docker")
            .args(["exec", &self.container, "rabbitmqctl", "--node", &self.node])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.container]).output();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of Docker's; a failure says how to get an image.
fn docker(command: &mut Command, image: &str) {
    let output = command.output().expect("this test needs Docker; `lurcher doctor` says what is missing");
    assert!(
        output.status.success(),
        "no broker from the image {image}: {}\nrun the tests with `make test`, which provides the image",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn write_config(directory: &Path, wishes: &Wishes<'_>, amqp_port: u16, tls_port: u16, password: &str) {
    let mut config = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp_port}\nloopback_users = none\ndefault_user = tester\n\
         default_pass = {password}\n{}\n",
        wishes.config
    );
    if let Some(certificates) = wishes.certificates {
        config += &format!(
            "listeners.ssl.1 = 127.0.0.1:{tls_port}\nssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\nssl_options.cacertfile = /etc/rabbitmq/ca.pem\n\
             ssl_options.certfile = /etc/rabbitmq/server.pem\nssl_options.keyfile = /etc/rabbitmq/server.key\n"
        );
        for file in ["ca.pem", "server.pem", "server.key"] {
            std::fs::copy(certificates.join(file), directory.join(file)).unwrap();
        }
    }
    std::fs::create_dir(directory.join("conf.d")).unwrap();
    std::fs::write(directory.join("conf.d/10-test.conf"), config).unwrap();
    std::fs::write(directory.join("enabled_plugins"), format!("[{}].\n", wishes.plugins.join(","))).unwrap();
}

/// Ports that nobody listens on. Held together, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|i| listeners[i].local_addr().unwrap().port())
}

/// Unlike in two tests: the hasher's keys are random.
fn fastrand() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
