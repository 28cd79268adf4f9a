//! What a record says about the broker. Holds no password and no path.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::error::BrokerError;
use super::management::{Management, NodeStatus};
use crate::endpoint::Endpoint;

/// How long a broker that has just started may take to tell of its nodes; 5 s are the default interval of its statistics.
const NODES_WITHIN: Duration = Duration::from_secs(6);

/// The broker that a run met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `container`, `process` or `external`.
    pub provider: String,
    /// Product, such as `RabbitMQ`.
    pub product: String,
    /// Version, such as `4.0.5`; `unknown` where the broker does not tell.
    pub version: String,
    /// Erlang's version, where the broker tells.
    pub erlang: Option<String>,
    /// Image, for a container.
    pub image: Option<String>,
    /// Id of the image.
    pub image_id: Option<String>,
    /// `host` or `published`, for a container.
    pub network: Option<String>,
    /// Address of AMQP, without credentials.
    pub endpoint: String,
    /// Nodes by name.
    pub nodes: Vec<String>,
    /// Plugins that were asked for and run.
    pub plugins: Vec<String>,
    /// Effective configuration that matters to a measurement, by name; limits as the broker says it resolved them.
    pub configuration: BTreeMap<String, String>,
}

impl Facts {
    pub(super) fn new(provider: &str, endpoint: &Endpoint) -> Self {
        Self {
            provider: provider.to_owned(),
            product: "RabbitMQ".to_owned(),
            version: "unknown".to_owned(),
            endpoint: endpoint.to_string(),
            ..Self::default()
        }
    }

    /// Asks the broker, which was told to run the plugins `asked`.
    ///
    /// # Errors
    /// Where the API does not answer, and where one of the plugins does not run: RabbitMQ starts without those that it
    /// does not have, and says nothing.
    pub(super) async fn ask(&mut self, management: &Management, asked: &[String]) -> Result<(), BrokerError> {
        let overview = management.overview().await?;
        let nodes = complete_nodes(management, asked).await?;
        let missing = missing_plugins(&nodes, asked);
        if !missing.is_empty() {
            return Err(BrokerError::NoPlugin { plugins: missing.join(", ") });
        }
        if let Some(product) = overview.product_name {
            self.product = product;
        }
        self.version = overview.product_version.unwrap_or(overview.rabbitmq_version);
        self.erlang = overview.erlang_version;
        self.nodes = nodes.iter().map(|node| node.name.clone()).collect();
        self.plugins = nodes.iter().flat_map(NodeStatus::running_plugins).map(str::to_owned).collect();
        self.plugins.sort();
        self.plugins.dedup();
        let mut tell = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                self.configuration.insert(key.to_owned(), value);
            }
        };
        tell("default_queue_type", overview.default_queue_type);
        tell("management.rates_mode", overview.rates_mode);
        if let Some(node) = nodes.first() {
            tell("memory_limit_bytes", node.mem_limit.map(|value| value.to_string()));
            tell("disk_free_limit_bytes", node.disk_free_limit.map(|value| value.to_string()));
            tell("file_descriptors", node.fd_total.map(|value| value.to_string()));
            tell("processors", node.processors.map(|value| value.to_string()));
            tell("net_ticktime_s", node.net_ticktime.map(|value| value.to_string()));
        }
        Ok(())
    }
}

/// Those of the plugins `asked` that do not run on every node, each between backquotes.
fn missing_plugins(nodes: &[NodeStatus], asked: &[String]) -> Vec<String> {
    let runs = |plugin: &String| nodes.iter().all(|node| node.running_plugins().any(|running| running == plugin));
    asked.iter().filter(|plugin| !runs(plugin)).map(|plugin| format!("`{plugin}`")).collect()
}

/// Nodes, once they are complete: at first the broker knows their names only, and not yet each plugin that it started.
/// Those of a broker that collects no statistics never are.
async fn complete_nodes(management: &Management, asked: &[String]) -> Result<Vec<NodeStatus>, BrokerError> {
    let start = Instant::now();
    loop {
        let nodes = management.nodes().await?;
        let complete = nodes.iter().all(|node| node.mem_limit.is_some()) && missing_plugins(&nodes, asked).is_empty();
        if complete || start.elapsed() > NODES_WITHIN {
            return Ok(nodes);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_does_not_run_is_missing() {
        let node: NodeStatus = serde_json::from_str(
            r#"{"enabled_plugins":["rabbitmq_stream","no_such_plugin"],"applications":[{"name":"rabbitmq_stream"},{"name":"rabbit"}]}"#,
        )
        .unwrap();
        assert_eq!(node.running_plugins().collect::<Vec<_>>(), ["rabbitmq_stream"]);
        let asked = ["no_such_plugin", "rabbitmq_stream", "other"].map(str::to_owned);
        assert_eq!(missing_plugins(&[node], &asked), ["`no_such_plugin`", "`other`"]);
    }
}
