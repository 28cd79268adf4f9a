//! `[broker]`: what goes with which provider, and lines that the harness writes itself.

use crate::scenario::broker::{Auth, Broker, Provider, Tls};
use crate::scenario::problem::Problems;
use crate::units::{ByteSize, Span};

/// Smallest memory limit that Docker takes.
const MIN_MEMORY: ByteSize = ByteSize(6 << 20);

/// Longest heartbeat that AMQP can carry, in seconds.
const MAX_HEARTBEAT_SECONDS: u64 = 65_535;

/// Keys of `rabbitmq.conf` that the harness sets, or that would open the broker to the network, and why.
const OWN_KEYS: [(&str, &str); 9] = [
    ("listeners.tcp", "the port is `amqp_port`, on 127.0.0.1 only"),
    ("listeners.ssl", "a broker of the harness listens on 127.0.0.1 only, without TLS; use `provider = \"external\"`"),
    ("management.tcp", "the port is `management_port`, on 127.0.0.1 only"),
    ("management.ssl", "a broker of the harness listens on 127.0.0.1 only, without TLS; use `provider = \"external\"`"),
    ("management.listener", "the port is `management_port`, on 127.0.0.1 only"),
    ("prometheus.tcp", "a broker of the harness listens on 127.0.0.1 only"),
    ("default_user", "each run has a user and a password of its own"),
    ("default_pass", "each run has a user and a password of its own"),
    ("loopback_users", "each run has a user and a password of its own"),
];

pub(super) fn check(broker: &Broker, problems: &mut Problems) {
    if broker.version.as_ref().is_some_and(|version| semver::VersionReq::parse(version).is_err()) {
        problems
            .at("broker.version", "this is no range of releases")
            .help("write one such as `version = \">= 4.0, < 4.3\"`");
    }
    check_provider_keys(broker, problems);
    check_external(broker, problems);
    check_resources(broker, problems);
    check_ports(broker, problems);
    check_config(&broker.config, problems);
    check_plugins(&broker.plugins, problems);
}

fn check_provider_keys(broker: &Broker, problems: &mut Problems) {
    let provider = broker.provider.unwrap_or(Provider::Auto);
    let of_container = [
        ("image", broker.image.is_some()),
        ("network", broker.network.is_some()),
        ("cpus", broker.cpus.is_some()),
        ("memory", broker.memory.is_some()),
    ];
    if matches!(provider, Provider::Process | Provider::External) {
        let word = if provider == Provider::Process { "process" } else { "external" };
        refuse(
            &of_container,
            &format!("belongs to containers, but the provider is `{word}`"),
            "remove it, or write `provider = \"container\"`",
            problems,
        );
    }
    let of_started = [
        ("amqp_port", broker.amqp_port.is_some()),
        ("management_port", broker.management_port.is_some()),
        ("config", !broker.config.is_empty()),
        ("plugins", !broker.plugins.is_empty()),
    ];
    let of_external = [
        ("url", broker.url.is_some()),
        ("management_url", broker.management_url.is_some()),
        ("tls", broker.tls.is_some()),
        ("auth", broker.auth.is_some()),
    ];
    if provider == Provider::External {
        refuse(
            &of_started,
            "is for a broker that the run starts, but the provider is `external`",
            "remove it; an external broker is used as it is",
            problems,
        );
    } else {
        let message = "is for a broker that is already there, but the provider is not `external`";
        refuse(&of_external, message, "write `provider = \"external\"`, or remove it", problems);
    }
}

fn refuse(keys: &[(&str, bool)], message: &str, help: &str, problems: &mut Problems) {
    for (key, _) in keys.iter().filter(|(_, written)| *written) {
        problems.at(format!("broker.{key}"), format!("`{key}` {message}")).help(help);
    }
}

/// URLs may hold a password: nothing here repeats them.
fn check_external(broker: &Broker, problems: &mut Problems) {
    if broker.provider != Some(Provider::External) {
        return;
    }
    let secure = broker.url.as_ref().map(|url| url.starts_with("amqps://"));
    if broker.url.as_ref().is_some_and(|url| !url.starts_with("amqp://") && !url.starts_with("amqps://")) {
        problems
            .at("broker.url", "the URL does not begin with `amqp://` or `amqps://`")
            .help("write it like `amqps://user:${PASSWORD}@host:5671/vhost`");
    }
    let web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    if broker.management_url.as_ref().is_some_and(|url| !web(url)) {
        problems
            .at("broker.management_url", "the URL does not begin with `http://` or `https://`")
            .help("write it like `http://127.0.0.1:15672`");
    }
    let management_secure = broker.management_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    if broker.tls.is_some() && secure == Some(false) && !management_secure {
        problems.at("broker.tls", "`tls` is given, but neither URL uses TLS").help("write `amqps://` in `url`");
    }
    let tls = broker.tls.clone().unwrap_or_default();
    if broker.auth == Some(Auth::External) {
        if tls.cert.is_none() || tls.key.is_none() {
            problems
                .at("broker.auth", "`auth = \"external\"` needs a client certificate")
                .help("add `tls = { cert = \"client.pem\", key = \"client.key\" }`");
        } else if secure == Some(false) {
            problems.at("broker.auth", "`auth = \"external\"` needs TLS").help("write `amqps://` in `url`");
        }
    }
    check_pair(&tls, problems);
}

fn check_pair(tls: &Tls, problems: &mut Problems) {
    match (&tls.cert, &tls.key) {
        (Some(_), None) => {
            problems.at("broker.tls.cert", "a client certificate needs its private key").help("add `key`");
        }
        (None, Some(_)) => {
            problems.at("broker.tls.key", "a private key needs its certificate").help("add `cert`");
        }
        _ => {}
    }
}

fn check_resources(broker: &Broker, problems: &mut Problems) {
    if broker.image.as_ref().is_some_and(|image| image.trim().is_empty()) {
        problems
            .at("broker.image", "the image is empty")
            .help("write it like `rabbitmq:4-management`, or leave it out");
    }
    if let Some(cpus) = broker.cpus.filter(|cpus| !cpus.is_finite() || *cpus <= 0.0) {
        problems
            .at("broker.cpus", format!("a container cannot have {cpus} processors"))
            .help("write a number above 0, such as `cpus = 1.5`");
    }
    if let Some(memory) = broker.memory.filter(|memory| *memory < MIN_MEMORY) {
        problems
            .at("broker.memory", format!("{memory} of memory is too little: Docker takes {MIN_MEMORY} and more"))
            .help("RabbitMQ wants some `memory = \"512 MiB\"`");
    }
    if broker.startup_timeout == Some(Span::ZERO) {
        problems
            .at("broker.startup_timeout", "no broker is ready in no time")
            .help("write a longer time, such as `startup_timeout = \"120s\"`");
    }
    if let Some(heartbeat) = broker.heartbeat {
        let whole = heartbeat.0.subsec_nanos() == 0;
        if !whole || heartbeat.0.as_secs() > MAX_HEARTBEAT_SECONDS {
            problems
                .at("broker.heartbeat", format!("a heartbeat of {heartbeat} does not exist"))
                .help("AMQP counts it in whole seconds, up to 65,535; 0 turns it off");
        }
    }
}

fn check_ports(broker: &Broker, problems: &mut Problems) {
    for (key, port) in [("amqp_port", broker.amqp_port), ("management_port", broker.management_port)] {
        if port == Some(0) {
            problems.at(format!("broker.{key}"), "port 0 is no port").help("leave it out: a free port is the default");
        }
    }
    if let (Some(amqp), Some(management)) = (broker.amqp_port, broker.management_port)
        && amqp == management
        && amqp != 0
    {
        problems
            .at("broker.management_port", format!("both ports are {amqp}"))
            .help("give each a port of its own, or leave them out: free ones are the default")
            .see("broker.amqp_port", "the other one");
    }
}

fn check_config(lines: &[String], problems: &mut Problems) {
    for (index, line) in lines.iter().enumerate() {
        let key = format!("broker.config[{index}]");
        let line = line.trim();
        if line.contains('\n') {
            problems.at(&key, "an element of `config` is one line").help("write each line as a text of its own");
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, _)) = line.split_once('=') else {
            problems
                .at(&key, "a line of `rabbitmq.conf` is written `key = value`")
                .help("such as `vm_memory_high_watermark.relative = 0.4`");
            continue;
        };
        let name = name.trim();
        let own = OWN_KEYS.iter().find(|(own, _)| name == *own || name.starts_with(&format!("{own}.")));
        if let Some((_, why)) = own {
            problems.at(&key, format!("`{name}` is set by the harness")).help(format!("remove the line: {why}"));
        } else if name.contains(".listeners.") {
            problems
                .at(&key, format!("`{name}` would open a port of its own"))
                .help("remove the line: whatever a run starts listens on 127.0.0.1 only");
        }
    }
}

fn check_plugins(plugins: &[String], problems: &mut Problems) {
    for (index, plugin) in plugins.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if plugin.is_empty() || !plugin.chars().all(fits) {
            problems
                .at(format!("broker.plugins[{index}]"), format!("{plugin:?} is not the name of a plugin"))
                .help("names are written like `rabbitmq_shovel`");
        }
    }
}
