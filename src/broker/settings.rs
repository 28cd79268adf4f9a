//! What a broker that we start is told: `rabbitmq.conf`, plugins and environment, the same for a container and a
//! process. Pure, but for the choice of password and cookie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::error::BrokerError;
use super::management::Management;
use super::ports::Ports;
use super::secrets;
use crate::endpoint::{Credentials, Endpoint, ManagementEndpoint, Secret};
use crate::plan::BrokerPlan;

/// Where we reach what we start.
pub(super) const LOOPBACK: &str = "127.0.0.1";

const USER: &str = "lurcher";

/// Plugins that the harness needs.
const PLUGINS: [&str; 2] = ["rabbitmq_management", "rabbitmq_prometheus"];

/// Plugins with listeners of their own, and the line that says where, up to the address.
const LISTENING_PLUGINS: [(&str, Listen); 5] = [
    ("rabbitmq_stream", Listen::Joined("stream.listeners.tcp.1")),
    ("rabbitmq_mqtt", Listen::Joined("mqtt.listeners.tcp.1")),
    ("rabbitmq_stomp", Listen::Joined("stomp.listeners.tcp.1")),
    ("rabbitmq_web_mqtt", Listen::Apart("web_mqtt.tcp")),
    ("rabbitmq_web_stomp", Listen::Apart("web_stomp.tcp")),
];

/// How a plugin is told where to listen.
#[derive(Clone, Copy)]
enum Listen {
    /// `key = address:port`.
    Joined(&'static str),
    /// `key.ip = address` and `key.port = port`.
    Apart(&'static str),
}

/// Settings that a scenario may not make, because the harness could then not reach the broker, or others could.
const RESERVED: [(&str, &str); 8] = [
    ("listeners.", "use `broker.amqp_port`"),
    ("management.tcp.", "use `broker.management_port`"),
    ("management.listener.", "use `broker.management_port`"),
    ("management.ssl.", "a broker that lurcher starts speaks plain HTTP on loopback"),
    ("prometheus.tcp.", "the harness chooses a free port"),
    ("default_user", "each run has a user of its own"),
    ("default_pass", "each run has a password of its own"),
    ("loopback_users", "each run has a user of its own, and no guest"),
];

/// Everything that a broker is started with.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) ports: Ports,
    pub(super) password: Secret,
    pub(super) node: String,
    cookie: Secret,
    plugins: Vec<String>,
    lines: Vec<String>,
}

impl Settings {
    /// Chooses ports, password, cookie and node name.
    pub(super) fn choose(plan: &BrokerPlan) -> Result<Self, BrokerError> {
        check(&plan.config)?;
        let plugins = all_plugins(&plan.plugins)?;
        let listening = plugins.iter().filter(|plugin| listen_of(plugin).is_some()).count();
        Ok(Self {
            ports: super::ports::choose(plan.amqp_port, plan.management_port, listening)?,
            password: secrets::password()?,
            node: format!("lurcher-{}@localhost", secrets::text(8)?.to_ascii_lowercase()),
            cookie: secrets::password()?,
            plugins,
            lines: plan.config.clone(),
        })
    }

    /// Where a broker with these settings answers.
    pub(super) fn addresses(&self, plan: &BrokerPlan) -> Result<(Endpoint, Management), BrokerError> {
        let endpoint = Endpoint {
            host: LOOPBACK.to_owned(),
            port: self.ports.amqp,
            vhost: "/".to_owned(),
            credentials: Credentials::Plain { user: USER.to_owned(), password: self.password.clone() },
            tls: None,
            heartbeat: plan.heartbeat_us.map(Duration::from_micros),
        };
        let api = ManagementEndpoint {
            base_url: format!("http://{LOOPBACK}:{}", self.ports.management),
            vhost: endpoint.vhost.clone(),
            user: USER.to_owned(),
            password: self.password.clone(),
            tls: None,
        };
        let prometheus = format!("http://{LOOPBACK}:{}", self.ports.prometheus);
        Ok((endpoint, Management::new(api, Some(prometheus))?))
    }

    /// `rabbitmq.conf`. `address` is where listeners bind: loopback, except in a container's own network.
    pub(super) fn config(&self, address: &str) -> String {
        let ports = &self.ports;
        let mut text = format!(
            "listeners.tcp.1 = {address}:{}\n\
             management.tcp.ip = {address}\nmanagement.tcp.port = {}\n\
             prometheus.tcp.ip = {address}\nprometheus.tcp.port = {}\n\
             default_user = {USER}\ndefault_pass = {}\n\
             log.console = true\n",
            ports.amqp,
            ports.management,
            ports.prometheus,
            self.password.reveal(),
        );
        let mut free = ports.plugins.iter();
        for listen in self.plugins.iter().filter_map(|plugin| listen_of(plugin)) {
            let Some(port) = free.next() else { break };
            let _infallible = match listen {
                Listen::Joined(key) => writeln!(text, "{key} = {address}:{port}"),
                Listen::Apart(key) => writeln!(text, "{key}.ip = {address}\n{key}.port = {port}"),
            };
        }
        for (key, value) in measured() {
            let _infallible = writeln!(text, "{key} = {value}");
        }
        // Last, so that the scenario's word counts.
        for line in &self.lines {
            let _infallible = writeln!(text, "{line}");
        }
        text
    }

    /// `advanced.config`: quorum queues report their depth on a tick, every 5 s by default, and there is no key for it
    /// in `rabbitmq.conf`.
    pub(super) fn advanced_config(&self) -> String {
        format!("[{{rabbit, [{{quorum_tick_interval, {STATISTICS_MS}}}]}}].\n")
    }

    /// `enabled_plugins`.
    pub(super) fn enabled_plugins(&self) -> String {
        format!("[{}].\n", self.plugins.join(","))
    }

    /// Environment of the server and of the command line tools.
    pub(super) fn environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("RABBITMQ_NODENAME", self.node.clone()),
            // A host with a dot in its name would switch the official image to long names, which `localhost` is not.
            ("RABBITMQ_USE_LONGNAME", "false".to_owned()),
            ("RABBITMQ_DIST_PORT", self.ports.distribution.to_string()),
            // Of its own: the images bring one cookie for everybody, and a cookie is a password.
            ("RABBITMQ_ERLANG_COOKIE", self.cookie.reveal().to_owned()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", self.ports.epmd.to_string()),
            // Through the environment, so that it holds for every Erlang that the scripts start, the tools too.
            ("ERL_AFLAGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
        ])
    }

    /// The settings that matter to a measurement, for the record.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let ours = measured().into_iter().map(|(key, value)| (key.to_owned(), value));
        let tick = ("quorum_tick_interval".to_owned(), STATISTICS_MS.to_string());
        let theirs = self.lines.iter().filter_map(|line| line.split_once('=')).map(|(key, value)| {
            let (key, value) = (key.trim().to_owned(), value.trim());
            let secret = ["pass", "secret", "token", "cookie"].iter().any(|word| key.contains(word));
            let value = if secret { "***" } else { value };
            (key, value.to_owned())
        });
        ours.chain([tick]).chain(theirs).collect()
    }
}

/// How often the broker's parts report to the management API, so that a depth is at most this old.
const STATISTICS_MS: u32 = 1_000;

fn measured() -> [(&'static str, String); 2] {
    [
        ("collect_statistics_interval", STATISTICS_MS.to_string()),
        // The official image without management switches it off.
        ("management_agent.disable_metrics_collector", "false".to_owned()),
    ]
}

fn listen_of(plugin: &str) -> Option<Listen> {
    LISTENING_PLUGINS.iter().find(|(name, _)| *name == plugin).map(|(_, listen)| *listen)
}

fn all_plugins(asked: &[String]) -> Result<Vec<String>, BrokerError> {
    let mut plugins: Vec<String> = PLUGINS.map(str::to_owned).to_vec();
    for plugin in asked {
        if plugin.is_empty() || !plugin.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            return Err(BrokerError::BadSetting {
                key: "plugins",
                reason: format!("`{plugin}` is no name of a plugin, such as `rabbitmq_stream`"),
            });
        }
        if !plugins.contains(plugin) {
            plugins.push(plugin.clone());
        }
    }
    Ok(plugins)
}

fn check(lines: &[String]) -> Result<(), BrokerError> {
    let bad = |reason| Err(BrokerError::BadSetting { key: "config", reason });
    for line in lines {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let Some((key, _)) = trimmed.split_once('=') else {
            return bad(format!("`{trimmed}` is not of the form `key = value`"));
        };
        if line.contains('\n') {
            return bad(format!("the line that sets `{}` holds a line break; write one setting a line", key.trim()));
        }
        if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| key.trim().starts_with(reserved)) {
            return bad(format!("`{}` is set by lurcher; {instead}", key.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    fn fixed(plan: &BrokerPlan) -> Settings {
        let mut settings = Settings::choose(plan).unwrap();
        settings.ports = Ports::fixed(20_001, settings.ports.plugins.len() as u16);
        settings.password = Secret::new("the-password");
        settings.cookie = Secret::new("the-cookie");
        settings.node = "lurcher-1@localhost".to_owned();
        settings
    }

    #[test]
    fn the_configuration_as_it_is_written() {
        let settings = fixed(&BrokerPlan {
            plugins: vec!["rabbitmq_stream".to_owned(), "rabbitmq_web_mqtt".to_owned()],
            config: vec!["vm_memory_high_watermark.relative = 0.4".to_owned(), "some.password = hush".to_owned()],
            ..BrokerPlan::default()
        });
        insta::assert_snapshot!(format!(
            "rabbitmq.conf\n{}\nadvanced.config\n{}\nenabled_plugins\n{}\nenvironment\n{:#?}\n\nfacts\n{:#?}",
            settings.config("127.0.0.1"),
            settings.advanced_config(),
            settings.enabled_plugins(),
            settings.environment(),
            settings.facts(),
        ));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("the-password") && !shown.contains("the-cookie"), "{shown}");
    }

    #[test]
    fn each_broker_has_its_own_secrets() {
        let [one, other] = [(), ()].map(|()| Settings::choose(&BrokerPlan::default()).unwrap());
        assert_eq!(one.password.reveal().len(), 32);
        assert_ne!(one.password, other.password);
        assert_ne!(one.cookie, other.cookie);
        assert_ne!(one.node, other.node);
    }

    #[test]
    fn settings_that_would_shut_us_out_are_refused() {
        for (line, says) in [
            ("listeners.tcp.default = 5672", "amqp_port"),
            ("management.tcp.ip = 0.0.0.0", "management_port"),
            ("default_pass = guest", "password of its own"),
            ("loopback_users = none", "no guest"),
            ("vm_memory_high_watermark", "key = value"),
            ("a = 1\nlisteners.tcp.2 = 1", "line break"),
        ] {
            let plan = BrokerPlan { config: vec![line.to_owned()], ..BrokerPlan::default() };
            let error = Settings::choose(&plan).unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains(says), "{line}: {error}");
        }
        let plan = BrokerPlan { plugins: vec!["rabbitmq_stream]. % ".to_owned()], ..BrokerPlan::default() };
        assert!(Settings::choose(&plan).unwrap_err().is_bad_input());
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = BrokerPlan { management_port: Some(taken.local_addr().unwrap().port()), ..BrokerPlan::default() };
        let error = Settings::choose(&plan).unwrap_err();
        assert!(matches!(error, BrokerError::PortTaken { key: "management_port", .. }), "{error}");
        assert!(!error.is_bad_input());
    }
}
