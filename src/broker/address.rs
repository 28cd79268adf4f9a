//! URLs of an external broker, read into endpoints. Nothing that an error says is taken from the URL's authority,
//! because a password that was not percent-encoded may stand in any part of it.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::BrokerError;
use crate::endpoint::{Credentials, Endpoint, ManagementEndpoint, Secret, TlsFiles};

const AMQP_EXAMPLE: &str = "such as `amqp://user:password@host:5672/vhost`";
const HTTP_EXAMPLE: &str = "such as `http://user:password@host:15672`";

/// The URLs of a broker that is already there; they may hold passwords.
#[derive(Debug, Clone)]
pub struct ExternalUrls {
    /// `amqp://` or `amqps://`, as <https://www.rabbitmq.com/docs/uri-spec> describes, with `heartbeat`,
    /// `auth_mechanism`, `cacertfile`, `certfile` and `keyfile` as parameters. An empty virtual host is `/`.
    pub amqp: Secret,
    /// `http://` or `https://`; without credentials those of `amqp` are used.
    pub management: Option<Secret>,
}

/// The parts of a URL, percent-encoded as they came.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: String,
    port: Option<u16>,
    path: &'a str,
    query: &'a str,
}

fn split<'a>(url: &'a str, example: &str) -> Result<Parts<'a>, String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("it has no scheme, {example}"))?;
    if rest.contains('#') {
        return Err("it has a `#`; in a user or password write `%23`".to_owned());
    }
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = location.split_once('/').unwrap_or((location, ""));
    if path.contains('@') || query.contains('@') {
        return Err(
            "it has an `@` after the host; in a user or password write `%2F` for `/`, `%3F` for `?` and `%40` \
                    for `@`"
                .to_owned(),
        );
    }
    let (login, address) =
        authority.rsplit_once('@').map_or((None, authority), |(login, address)| (Some(login), address));
    let (user, password) = match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
        Some((user, password)) => (Some(user), password),
        None => (None, None),
    };
    let (host, port) = split_port(address).ok_or_else(|| format!("host or port cannot be read, {example}"))?;
    Ok(Parts { scheme, user, password, host, port, path, query })
}

fn split_port(address: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(inner) = address.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)))
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !(host.chars().all(plain) || address.starts_with('[')) {
        return None;
    }
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    Some((host.to_owned(), port))
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| format!("the {what} is not UTF-8"))
}

/// Reads an AMQP URL. `tls` and `external` come from the scenario and win over the URL's parameters; `heartbeat` too.
pub(super) fn amqp(
    url: &Secret,
    tls: Option<TlsFiles>,
    external: bool,
    heartbeat: Option<Duration>,
) -> Result<Endpoint, BrokerError> {
    amqp_parts(url.reveal(), tls, external, heartbeat)
        .map_err(|reason| BrokerError::BadUrl { which: "the broker's URL", reason })
}

fn amqp_parts(
    url: &str,
    tls: Option<TlsFiles>,
    mut external: bool,
    heartbeat: Option<Duration>,
) -> Result<Endpoint, String> {
    let parts = split(url, AMQP_EXAMPLE)?;
    let secure = match parts.scheme {
        "amqp" => false,
        "amqps" => true,
        _ => return Err(format!("the scheme is neither `amqp` nor `amqps`, {AMQP_EXAMPLE}")),
    };
    if parts.path.contains('/') {
        return Err("the virtual host has a `/`; write `%2f`".to_owned());
    }
    let mut files = TlsFiles::default();
    let mut asked = None;
    for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value, "query")?;
        match key {
            "heartbeat" => {
                asked = Some(value.parse().map_err(|_| "`heartbeat` is not a number of seconds".to_owned())?);
            }
            "auth_mechanism" if value.eq_ignore_ascii_case("external") => external = true,
            "auth_mechanism" if value.eq_ignore_ascii_case("plain") => {}
            "auth_mechanism" => return Err("`auth_mechanism` is neither `plain` nor `external`".to_owned()),
            "cacertfile" => files.ca = Some(PathBuf::from(value)),
            "certfile" => files.cert = Some(PathBuf::from(value)),
            "keyfile" => files.key = Some(PathBuf::from(value)),
            _ => {
                return Err(
                    "it has an unknown parameter; known: heartbeat, auth_mechanism, cacertfile, certfile, keyfile"
                        .to_owned(),
                );
            }
        }
    }
    if external && !secure {
        return Err("SASL EXTERNAL takes the identity of a client certificate: use `amqps://`".to_owned());
    }
    let credentials = if external {
        Credentials::External
    } else {
        Credentials::Plain {
            user: decode(parts.user.unwrap_or("guest"), "user")?,
            password: Secret::new(decode(parts.password.unwrap_or("guest"), "password")?),
        }
    };
    let vhost = decode(parts.path, "virtual host")?;
    Ok(Endpoint {
        host: parts.host,
        port: parts.port.unwrap_or(if secure { 5671 } else { 5672 }),
        vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
        credentials,
        tls: secure.then(|| tls.unwrap_or(files)),
        heartbeat: heartbeat.or(asked.map(Duration::from_secs)),
    })
}

/// Reads a management URL. Credentials, virtual host and TLS files that it does not have come from `amqp`.
pub(super) fn management(url: &Secret, amqp: &Endpoint) -> Result<ManagementEndpoint, BrokerError> {
    management_parts(url.reveal(), amqp).map_err(|reason| BrokerError::BadUrl { which: "the management URL", reason })
}

fn management_parts(url: &str, amqp: &Endpoint) -> Result<ManagementEndpoint, String> {
    let parts = split(url, HTTP_EXAMPLE)?;
    if !matches!(parts.scheme, "http" | "https") {
        return Err(format!("the scheme is neither `http` nor `https`, {HTTP_EXAMPLE}"));
    }
    if !parts.query.is_empty() {
        return Err("it has parameters; it takes none".to_owned());
    }
    let (user, password) = match (parts.user, &amqp.credentials) {
        (Some(user), _) => {
            (decode(user, "user")?, Secret::new(decode(parts.password.unwrap_or_default(), "password")?))
        }
        (None, Credentials::Plain { user, password }) => (user.clone(), password.clone()),
        (None, Credentials::External) => {
            return Err(format!("with SASL EXTERNAL it needs a user and a password of its own, {HTTP_EXAMPLE}"));
        }
    };
    let host = if parts.host.contains(':') { format!("[{}]", parts.host) } else { parts.host };
    let port = parts.port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = parts.path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(ManagementEndpoint {
        base_url: format!("{}://{host}{port}{slash}{path}", parts.scheme),
        vhost: amqp.vhost.clone(),
        user,
        password,
        tls: (parts.scheme == "https").then(|| amqp.tls.clone().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(url: &str) -> Result<Endpoint, BrokerError> {
        amqp(&Secret::new(url), None, false, None)
    }

    fn plain(user: &str, password: &str) -> Credentials {
        Credentials::Plain { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn reads_what_people_write() {
        let all = read("amqp://me:p%40ss%2Fw@rabbit.example:5673/my%2Fvhost?heartbeat=15").unwrap();
        assert_eq!((all.host.as_str(), all.port, all.vhost.as_str()), ("rabbit.example", 5673, "my/vhost"));
        assert_eq!(all.credentials, plain("me", "p@ss/w"));
        assert_eq!((all.tls, all.heartbeat), (None, Some(Duration::from_secs(15))));

        let bare = read("amqp://localhost").unwrap();
        assert_eq!((bare.port, bare.vhost.as_str(), bare.credentials), (5672, "/", plain("guest", "guest")));
        assert_eq!(read("amqp://localhost/").unwrap().vhost, "/");
        assert_eq!(read("amqp://localhost/%2f").unwrap().vhost, "/");
        assert_eq!(read("amqp://[::1]:5673").unwrap().host, "::1");
        assert_eq!(read("amqps://u:p@h").unwrap().port, 5671);

        let own = read("amqps://h?auth_mechanism=EXTERNAL&cacertfile=/ca.pem&certfile=/c.pem&keyfile=/k.pem").unwrap();
        assert_eq!(own.credentials, Credentials::External);
        assert_eq!(own.tls.unwrap().ca, Some(PathBuf::from("/ca.pem")));
    }

    #[test]
    fn refuses_what_is_no_broker_url() {
        for (url, says) in [
            ("rabbit:5672", "no scheme"),
            ("http://rabbit", "neither `amqp` nor `amqps`"),
            ("amqp://", "host or port"),
            ("amqp://rabbit:port", "host or port"),
            ("amqp://rabbit:0", "host or port"),
            ("amqp://rabbit:99999", "host or port"),
            ("amqp://u:p/w@rabbit", "after the host"),
            ("amqp://u:1/w@rabbit", "after the host"),
            ("amqp://u:1?w@rabbit", "after the host"),
            ("amqp://u:p#w@rabbit", "%23"),
            ("amqp://rabbit/a/b", "%2f"),
            ("amqp://rabbit?heartbeat=soon", "seconds"),
            ("amqp://rabbit?color=red", "unknown parameter"),
            ("amqp://rabbit?auth_mechanism=external", "amqps"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.is_bad_input(), "{url}");
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn the_management_url_borrows_what_it_lacks() {
        let amqp = read("amqp://me:secret@rabbit/orders").unwrap();
        let bare = management(&Secret::new("http://rabbit:15672/"), &amqp).unwrap();
        assert_eq!((bare.base_url.as_str(), bare.user.as_str()), ("http://rabbit:15672", "me"));
        assert_eq!((bare.password.reveal(), bare.vhost.as_str()), ("secret", "orders"));
        let own = management(&Secret::new("https://you:other@[::1]:443/mq/"), &amqp).unwrap();
        assert_eq!((own.base_url.as_str(), own.user.as_str()), ("https://[::1]:443/mq", "you"));
        assert!(own.tls.is_some());
        let external = read("amqps://rabbit?auth_mechanism=external").unwrap();
        assert!(management(&Secret::new("http://rabbit:15672"), &external).unwrap_err().is_bad_input());
    }

    proptest! {
        /// Encoded or forgotten to be encoded: a password shows up nowhere.
        #[test]
        fn a_password_is_never_printed(
            password in "[a-zA-Z0-9/@:?#%&= ]{0,6}Zq7Xw[a-zA-Z0-9/@:?#%&= ]{0,6}",
            host in "[a-z]{1,8}(:[0-9]{1,6})?",
            path in "(/[a-z%2f]{0,5})?(\\?heartbeat=[0-9a-z]{0,3})?",
            encode in any::<bool>(),
        ) {
            let written = if encode {
                percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC).to_string()
            } else {
                password.clone()
            };
            let urls = ExternalUrls {
                amqp: Secret::new(format!("amqp://user:{written}@{host}{path}")),
                management: Some(Secret::new(format!("http://user:{written}@{host}"))),
            };
            let endpoint = amqp(&urls.amqp, None, false, None);
            let base = read("amqp://rabbit").unwrap();
            let api = management(urls.management.as_ref().unwrap(), &base);
            let mut shown = format!("{urls:?} {endpoint:?} {api:?}");
            match &endpoint {
                Ok(endpoint) => shown.push_str(&endpoint.to_string()),
                Err(error) => shown.push_str(&error.to_string()),
            }
            if let Err(error) = &api {
                shown.push_str(&error.to_string());
            }
            prop_assert!(!shown.contains("Zq7Xw"), "{shown}");
        }
    }
}
