//! The broker's HTTP API (<https://www.rabbitmq.com/docs/http-api-reference>), and its Prometheus endpoint where the
//! port is known. Every call has a short timeout and runs on a blocking thread: a paused broker must not hold up a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use super::error::BrokerError;
use super::prometheus;
use super::tls;
use crate::endpoint::{ManagementEndpoint, TlsFiles};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why the API gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManagementError {
    /// Nothing answers, or not in time.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked, without credentials.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The user or the password is wrong, or the user may not do that.
    #[error(
        "{url}: `{user}` is not let in ({status}); either the password is wrong, or the user lacks the tag `monitoring` \
         or `administrator`"
    )]
    Refused {
        /// What was asked, without credentials.
        url: String,
        /// User.
        user: String,
        /// HTTP status.
        status: u16,
    },
    /// Another status than success.
    #[error("{url}: status {status}: {reason}")]
    Status {
        /// What was asked, without credentials.
        url: String,
        /// HTTP status.
        status: u16,
        /// Beginning of the answer.
        reason: String,
    },
    /// An answer that cannot be read.
    #[error("{url}: cannot read the answer: {reason}")]
    Unreadable {
        /// What was asked, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The management API of one broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Management {
    shared: Arc<Shared>,
}

struct Shared {
    agent: ureq::Agent,
    endpoint: ManagementEndpoint,
    authorization: String,
    prometheus: Option<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").field("endpoint", &self.endpoint).field("prometheus", &self.prometheus).finish()
    }
}

/// The broker as a whole.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Product, such as `RabbitMQ`.
    pub product_name: Option<String>,
    /// Version of the product.
    pub product_version: Option<String>,
    /// Version of RabbitMQ.
    pub rabbitmq_version: String,
    /// Version of Erlang.
    pub erlang_version: Option<String>,
    /// Name of the cluster.
    pub cluster_name: String,
    /// `none`, `basic` or `detailed`.
    pub rates_mode: Option<String>,
    /// Type of queues that are declared without one.
    pub default_queue_type: Option<String>,
    /// Counts of connections and other objects.
    pub object_totals: ObjectTotals,
    /// Sockets that the broker listens on.
    pub listeners: Vec<Listener>,
    /// Messages since the broker started.
    pub message_stats: MessageStats,
}

/// Counts of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ObjectTotals {
    /// Open connections.
    pub connections: u64,
    /// Open channels.
    pub channels: u64,
    /// Queues of all virtual hosts.
    pub queues: u64,
    /// Consumers.
    pub consumers: u64,
}

/// Messages since the broker started, as the statistics database counts them (at most a second behind in a broker that
/// we start, 5 s by default), and their rates.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MessageStats {
    /// Published.
    pub publish: u64,
    /// Confirmed.
    pub confirm: u64,
    /// Delivered to consumers and taken by `basic.get`, with and without acknowledgement.
    pub deliver_get: u64,
    /// Acknowledged.
    pub ack: u64,
    /// Delivered again.
    pub redeliver: u64,
    /// Rate of publishing.
    pub publish_details: RateDetails,
    /// Rate of deliveries.
    pub deliver_get_details: RateDetails,
}

/// A rate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RateDetails {
    /// Per second.
    pub rate: f64,
}

/// A socket that the broker listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// Protocol, such as `amqp`, `clustering` or `http`.
    pub protocol: String,
    /// Address; `::` and `0.0.0.0` are all.
    pub ip_address: String,
    /// Port.
    pub port: u16,
}

/// How full one queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct QueueDepth {
    /// Name.
    pub name: String,
    /// Messages ready for delivery.
    #[serde(rename = "messages_ready")]
    pub ready: u64,
    /// Messages delivered and not yet acknowledged.
    #[serde(rename = "messages_unacknowledged")]
    pub unacked: u64,
    /// All messages in it: those above, and dead letters that a quorum queue keeps until they are taken.
    pub messages: u64,
}

/// One node of the broker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Memory in use, in bytes.
    pub mem_used: Option<u64>,
    /// Memory at which publishers are blocked, in bytes.
    pub mem_limit: Option<u64>,
    /// Whether they are.
    pub mem_alarm: Option<bool>,
    /// Free disk space at which publishers are blocked, in bytes.
    pub disk_free_limit: Option<u64>,
    /// Whether they are.
    pub disk_free_alarm: Option<bool>,
    /// File descriptors that it may open.
    pub fd_total: Option<u64>,
    /// Processors that it sees.
    pub processors: Option<u64>,
    /// Seconds after which a silent node counts as down.
    pub net_ticktime: Option<u64>,
    /// Nodes that it does not see.
    pub partitions: Vec<String>,
    /// Plugins that were asked for, those too that the node does not have.
    pub enabled_plugins: Vec<String>,
    /// Erlang applications that run; a plugin is one.
    pub applications: Vec<Application>,
}

/// An Erlang application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Application {
    /// Name, for a plugin the plugin's.
    pub name: String,
}

impl NodeStatus {
    /// Plugins that were asked for and run.
    pub fn running_plugins(&self) -> impl Iterator<Item = &str> {
        let runs = |plugin: &&String| self.applications.iter().any(|application| application.name == **plugin);
        self.enabled_plugins.iter().filter(runs).map(String::as_str)
    }
}

/// One connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConnectionStatus {
    /// Name: addresses and ports of both ends.
    pub name: String,
    /// Name that the client gave.
    pub user_provided_name: Option<String>,
    /// User.
    pub user: Option<String>,
    /// `running`, `blocked`, …
    pub state: Option<String>,
}

/// One exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExchangeStatus {
    /// Name.
    pub name: String,
    /// `direct`, `topic`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart.
    pub durable: bool,
}

impl Management {
    /// Sets up; nothing is sent yet. `prometheus` is the address of the Prometheus plugin, such as
    /// `http://127.0.0.1:15692`.
    ///
    /// # Errors
    /// Where a TLS file cannot be used.
    pub fn new(endpoint: ManagementEndpoint, prometheus: Option<String>) -> Result<Self, BrokerError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy of the environment has no business between us and the broker, and would see the password.
            .proxy(None);
        if let Some(files) = &endpoint.tls {
            config = config.tls_config(tls_config(files)?);
        }
        let login = format!("{}:{}", endpoint.user, endpoint.password.reveal());
        let authorization = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        let shared = Shared { agent: config.build().new_agent(), endpoint, authorization, prometheus };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where the API is.
    pub fn endpoint(&self) -> &ManagementEndpoint {
        &self.shared.endpoint
    }

    /// Versions, counts and rates.
    ///
    /// # Errors
    /// Where the API does not answer; so for all calls below.
    pub async fn overview(&self) -> Result<Overview, ManagementError> {
        self.get("overview".to_owned()).await
    }

    /// Queues of the virtual host with their depths, sorted by name.
    pub async fn queues(&self) -> Result<Vec<QueueDepth>, ManagementError> {
        // The totals are the queues' own, as they are now; what the statistics say beside them is up to 5 s old.
        let path = format!("queues/{}?disable_stats=true&enable_queue_totals=true", self.vhost());
        let mut queues: Vec<QueueDepth> = self.get(path).await?;
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(queues)
    }

    /// Nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, ManagementError> {
        let columns = "name,running,mem_used,mem_limit,mem_alarm,disk_free_limit,disk_free_alarm,fd_total,processors,\
                       net_ticktime,partitions,enabled_plugins,applications";
        self.get(format!("nodes?columns={columns}")).await
    }

    /// Memory in use by all nodes together, in bytes.
    pub async fn memory_bytes(&self) -> Result<u64, ManagementError> {
        let nodes: Vec<NodeStatus> = self.get("nodes?columns=name,mem_used".to_owned()).await?;
        Ok(nodes.iter().filter_map(|node| node.mem_used).sum())
    }

    /// Connections, of all virtual hosts.
    pub async fn connections(&self) -> Result<Vec<ConnectionStatus>, ManagementError> {
        self.get("connections?columns=name,user_provided_name,user,state".to_owned()).await
    }

    /// Closes one connection by name, as an operator would; the client sees `CONNECTION_FORCED`. Whether it was there.
    pub async fn close_connection(&self, name: &str) -> Result<bool, ManagementError> {
        match self.send(Method::DELETE, format!("connections/{}", encode(name))).await {
            // It went by itself in the meantime.
            Err(ManagementError::Status { status: 404, .. }) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Closes all connections; how many.
    pub async fn close_connections(&self) -> Result<usize, ManagementError> {
        let connections = self.connections().await?;
        for connection in &connections {
            self.close_connection(&connection.name).await?;
        }
        Ok(connections.len())
    }

    /// Exchanges of the virtual host, the default one (empty name) among them.
    pub async fn exchanges(&self) -> Result<Vec<ExchangeStatus>, ManagementError> {
        self.get(format!("exchanges/{}?columns=name,type,durable", self.vhost())).await
    }

    /// Deletes all messages of a queue that are ready.
    pub async fn purge(&self, queue: &str) -> Result<(), ManagementError> {
        let path = format!("queues/{}/{}/contents", self.vhost(), encode(queue));
        self.send(Method::DELETE, path).await.map(|_| ())
    }

    /// Deletes a queue with all that is in it.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), ManagementError> {
        self.send(Method::DELETE, format!("queues/{}/{}", self.vhost(), encode(queue))).await.map(|_| ())
    }

    /// Messages counted by the broker since it started, by name; none where its Prometheus endpoint is not known or
    /// does not answer. Unlike [`Overview::message_stats`] these counters are live, not up to a second behind.
    ///
    /// `published`, `confirmed`, `routed`, `unroutable_dropped`, `unroutable_returned`, `delivered`, `redelivered`,
    /// `acknowledged` and `get_empty` are sums over protocols and types of queue. `dead_lettered.REASON.TYPE` counts
    /// messages handed to a dead-letter exchange, and `dropped.REASON.TYPE` those that a rule removed where no such
    /// exchange was set; reasons are `expired`, `maxlen`, `rejected` and `delivery_limit`, types `classic` and
    /// `quorum`.
    pub async fn counters(&self) -> Option<BTreeMap<String, u64>> {
        let base = self.shared.prometheus.clone()?;
        let text = self.fetch(Method::GET, format!("{base}/metrics"), false).await.ok()?;
        let counters = prometheus::counters(&text);
        (!counters.is_empty()).then_some(counters)
    }

    fn vhost(&self) -> String {
        encode(&self.shared.endpoint.vhost)
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ManagementError> {
        let url = format!("{}/api/{path}", self.shared.endpoint.base_url);
        let text = self.fetch(Method::GET, url.clone(), true).await?;
        serde_json::from_str(&text).map_err(|error| ManagementError::Unreadable { url, reason: error.to_string() })
    }

    async fn send(&self, method: Method, path: String) -> Result<String, ManagementError> {
        self.fetch(method, format!("{}/api/{path}", self.shared.endpoint.base_url), true).await
    }

    async fn fetch(&self, method: Method, url: String, login: bool) -> Result<String, ManagementError> {
        let shared = Arc::clone(&self.shared);
        let asked = url.clone();
        tokio::task::spawn_blocking(move || shared.fetch(method, &url, login))
            .await
            .map_err(|error| ManagementError::Unreachable { url: asked, reason: error.to_string() })?
    }
}

impl Shared {
    fn fetch(&self, method: Method, url: &str, login: bool) -> Result<String, ManagementError> {
        let unreachable = |reason: String| ManagementError::Unreachable { url: url.to_owned(), reason };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if login {
            request = request.header("authorization", &self.authorization);
        }
        let request = request.body(()).map_err(|error| unreachable(error.to_string()))?;
        let mut answer = self.agent.run(request).map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| ManagementError::Unreadable { url: url.to_owned(), reason: error.to_string() })?;
        match status {
            200..=299 => Ok(text),
            401 | 403 => {
                Err(ManagementError::Refused { url: url.to_owned(), user: self.endpoint.user.clone(), status })
            }
            _ => {
                let reason = text.chars().take(200).collect();
                Err(ManagementError::Status { url: url.to_owned(), status, reason })
            }
        }
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn tls_config(files: &TlsFiles) -> Result<TlsConfig, BrokerError> {
    let material = tls::read(files)?;
    let mut config = TlsConfig::builder();
    if let Some(ca) = &material.ca {
        let certificates = certificates(ca).map_err(|reason| bad_file(files.ca.as_deref(), reason))?;
        config = config.root_certs(RootCerts::new_with_certs(&certificates));
    }
    if let Some((chain, key)) = &material.identity {
        let chain = certificates(chain).map_err(|reason| bad_file(files.cert.as_deref(), reason))?;
        let key = PrivateKey::from_pem(key).map_err(|error| bad_file(files.key.as_deref(), error.to_string()))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error.to_string())),
        })
        .collect()
}

fn bad_file(path: Option<&std::path::Path>, reason: String) -> BrokerError {
    let path = path.map_or_else(|| "of the system's authorities".to_owned(), |path| path.display().to_string());
    BrokerError::TlsFile { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Secret;
    use proptest::prelude::*;

    fn api(user: &str, password: &str) -> Management {
        let endpoint = ManagementEndpoint {
            base_url: "http://127.0.0.1:1".to_owned(),
            vhost: "/".to_owned(),
            user: user.to_owned(),
            password: Secret::new(password),
            tls: None,
        };
        Management::new(endpoint, None).unwrap()
    }

    #[tokio::test]
    async fn where_nothing_answers_the_error_says_where() {
        let error = api("me", "hush-hush").overview().await.unwrap_err();
        assert!(matches!(error, ManagementError::Unreachable { .. }), "{error}");
        assert!(error.to_string().starts_with("http://127.0.0.1:1/api/overview: "), "{error}");
        assert!(api("me", "hush-hush").counters().await.is_none());
    }

    #[test]
    fn a_refusal_names_both_of_its_causes() {
        let refused = ManagementError::Refused { url: "http://rabbit".to_owned(), user: "me".to_owned(), status: 401 };
        assert!(["password", "`monitoring`"].iter().all(|cause| refused.to_string().contains(cause)), "{refused}");
    }

    #[test]
    fn reads_an_answer_that_lacks_most_things() {
        let overview: Overview = serde_json::from_str(r#"{"rabbitmq_version":"4.0.5","message_stats":{}}"#).unwrap();
        assert_eq!(overview.rabbitmq_version, "4.0.5");
        let queues: Vec<QueueDepth> =
            serde_json::from_str(r#"[{"name":"q"},{"name":"r","messages_ready":3}]"#).unwrap();
        assert_eq!((queues[0].ready, queues[1].ready), (0, 3));
    }

    proptest! {
        #[test]
        fn the_password_is_not_printed(password in "[ -~]{0,6}Zq7Xw[ -~]{0,6}") {
            let shown = format!("{:?}", api("me", &password));
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
            prop_assert!(!shown.contains("Zq7Xw") && !shown.contains(&encoded), "{shown}");
        }
    }
}
