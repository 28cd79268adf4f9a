//! TLS files, read once before anything connects so that a missing or unreadable one is named.

use std::path::{Path, PathBuf};

use super::error::BrokerError;
use crate::endpoint::TlsFiles;
use crate::plan::TlsPlan;

/// Where systems keep the certificates that they trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files' content, PEM.
#[derive(Clone, Default)]
pub(super) struct TlsMaterial {
    pub(super) ca: Option<Vec<u8>>,
    /// Certificate chain and key of the client.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

pub(super) fn files(plan: &TlsPlan) -> TlsFiles {
    let path = |text: &Option<String>| text.as_ref().map(PathBuf::from);
    TlsFiles { ca: path(&plan.ca), cert: path(&plan.cert), key: path(&plan.key) }
}

pub(super) fn read(files: &TlsFiles) -> Result<TlsMaterial, BrokerError> {
    let ca = match &files.ca {
        Some(path) => Some(pem(path, "CERTIFICATE")?),
        None => system_bundle(),
    };
    let identity = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some((pem(cert, "CERTIFICATE")?, pem(key, "PRIVATE KEY")?)),
        (None, None) => None,
        (Some(path), None) | (None, Some(path)) => {
            return Err(BrokerError::TlsFile {
                path: path.display().to_string(),
                reason: "a client certificate needs both `cert` and `key`".to_owned(),
            });
        }
    };
    Ok(TlsMaterial { ca, identity })
}

fn pem(path: &Path, what: &str) -> Result<Vec<u8>, BrokerError> {
    let bad = |reason: String| BrokerError::TlsFile { path: path.display().to_string(), reason };
    let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    if !String::from_utf8_lossy(&bytes).lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(what)) {
        return Err(bad(format!("it holds no `{what}` in PEM form")));
    }
    Ok(bytes)
}

fn system_bundle() -> Option<Vec<u8>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.map(PathBuf::from)).find_map(|path| std::fs::read(path).ok())
}
