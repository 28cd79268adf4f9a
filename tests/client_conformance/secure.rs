//! TLS: authorities of one's own, client certificates, SASL EXTERNAL.

use std::path::Path;
use std::time::Duration;

use lurcher::client::lapin::Lapin;
use lurcher::client::wire::Wire;
use lurcher::client::{Client, ClientError};
use lurcher::endpoint::{Credentials, Endpoint, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::support::{Broker, Wishes};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(common_name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, common_name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(directory: &Path, name: &str, common_name: &str, usage: ExtendedKeyUsagePurpose, by: &Authority) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, by).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

async fn refusal(client: &dyn Client, endpoint: &Endpoint) -> ClientError {
    client.connect(endpoint, "conformance").await.err().expect("refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_only_what_it_is_told_to() {
    let files = tempfile::tempdir().unwrap();
    let directory = files.path();
    let ca = authority("conformance authority");
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(directory.join("other.pem"), authority("another authority").pem()).unwrap();
    issue(directory, "server", "localhost", ExtendedKeyUsagePurpose::ServerAuth, &ca);
    issue(directory, "client", "tester", ExtendedKeyUsagePurpose::ClientAuth, &ca);
    issue(directory, "stranger", "nobody", ExtendedKeyUsagePurpose::ClientAuth, &ca);
    let broker = Broker::start(Wishes {
        plugins: &["rabbitmq_auth_mechanism_ssl"],
        config: "auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name",
        certificates: Some(directory),
    })
    .await;
    for (name, client) in [("lapin", &Lapin as &dyn Client), ("wire", &Wire)] {
        trusts_only_what_it_is_told_to(client, &broker, directory).await;
        whole_runs_are_encrypted(name, &broker, directory);
    }
}

/// By password and by certificate, from the scenario's text to the record, which holds no password.
fn whole_runs_are_encrypted(name: &str, broker: &Broker, directory: &Path) {
    let at = format!("127.0.0.1:{}/%2f", broker.tls_port);
    let by_password = format!("url = \"amqps://tester:${{LURCHER_TEST_PASSWORD}}@{at}\"\ntls = {{ ca = \"ca.pem\" }}");
    let by_certificate = format!(
        "url = \"amqps://{at}\"\nauth = \"external\"\n\
         tls = {{ ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }}"
    );
    for (way, login) in [("password", by_password), ("certificate", by_certificate)] {
        let scenario = format!(
            r#"
            schema = 1
            name = "secure-{way}"
            [broker]
            provider = "external"
            {login}
            [[queue]]
            name = "secure-{way}-{name}"
            [[producer]]
            name = "out"
            routing_key = "secure-{way}-{name}"
            rate = "200/s"
            messages = 300
            confirm = {{ window = 50 }}
            client = "{name}"
            [[consumer]]
            name = "in"
            queue = "secure-{way}-{name}"
            client = "{name}"
            [load]
            max_lag = "10s"
            [expect]
            guarantee = "at-least-once"
            consumed = 300
            "#
        );
        let path = directory.join("scenario.toml");
        std::fs::write(&path, scenario).unwrap();
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_lurcher"))
            .current_dir(directory)
            .args(["run", "scenario.toml", "--out", "records", "--quiet"])
            .env("LURCHER_TEST_PASSWORD", &broker.password)
            .output()
            .unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(ended.status.success(), "{way} over {name}: {}\n{said}", ended.status);
        let record = std::fs::read_to_string(directory.join("records/latest/run.json")).unwrap();
        assert!(!said.contains(&broker.password) && !record.contains(&broker.password), "the password is shown");
        assert!(record.contains("amqps://"), "the record does not say that it was encrypted");
    }
}

async fn trusts_only_what_it_is_told_to(client: &dyn Client, broker: &Broker, directory: &Path) {
    let trusting = |ca: &str| TlsFiles { ca: Some(directory.join(ca)), ..TlsFiles::default() };
    let identity = |name: &str| TlsFiles {
        cert: Some(directory.join(format!("{name}.pem"))),
        key: Some(directory.join(format!("{name}.key"))),
        ..trusting("ca.pem")
    };

    for host in ["localhost", "127.0.0.1"] {
        let endpoint = Endpoint { host: host.to_owned(), ..broker.tls_endpoint(trusting("ca.pem")) };
        let connection = client.connect(&endpoint, "conformance").await.unwrap();
        assert_eq!(connection.ready("no such queue").await.unwrap(), None);
        connection.close(Duration::from_secs(5)).await;
    }
    for untrusted in [trusting("other.pem"), TlsFiles::default()] {
        let error = refusal(client, &broker.tls_endpoint(untrusted)).await;
        let ClientError::Connect { endpoint, reason } = &error else { panic!("{error:?}") };
        assert!(endpoint.starts_with("amqps://") && reason.contains("UnknownIssuer"), "{error}");
    }

    // The encryption is not left out in silence where the broker speaks plain AMQP.
    let plain = Endpoint { port: broker.amqp_port, ..broker.tls_endpoint(trusting("ca.pem")) };
    assert!(matches!(refusal(client, &plain).await, ClientError::Connect { .. }));

    let external = |files| Endpoint { credentials: Credentials::External, ..broker.tls_endpoint(files) };
    let connection = client.connect(&external(identity("client")), "conformance").await.unwrap();
    connection.close(Duration::from_secs(5)).await;
    for unknown in [identity("stranger"), trusting("ca.pem")] {
        let error = refusal(client, &external(unknown)).await;
        assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    }

    let missing = TlsFiles { ca: Some(directory.join("missing.pem")), ..TlsFiles::default() };
    let error = refusal(client, &broker.tls_endpoint(missing)).await;
    assert!(matches!(&error, ClientError::Tls { path, .. } if path.ends_with("missing.pem")), "{error:?}");
}
