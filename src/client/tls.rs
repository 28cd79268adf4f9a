//! What TLS needs of an endpoint's files, for every adapter: whom to trust, and who we are.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;
use crate::endpoint::TlsFiles;

/// Trusts the given authorities and no others; the system's where none are given.
///
/// # Errors
/// [`ClientError::Tls`], which names the file.
pub(super) fn config(files: &TlsFiles) -> Result<Arc<ClientConfig>, ClientError> {
    let system = Path::new("of the system's authorities");
    let mut roots = RootCertStore::empty();
    let authorities = match &files.ca {
        Some(ca) => certificates(ca)?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            if let (true, Some(error)) = (found.certs.is_empty(), found.errors.first()) {
                return Err(failed(system, error));
            }
            found.certs
        }
    };
    // An authority that rustls cannot read is one that it does not trust.
    let (trusted, _) = roots.add_parsable_certificates(authorities);
    if let (0, Some(ca)) = (trusted, &files.ca) {
        return Err(failed(ca, &"it holds no certificate of an authority"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(system, &error))?
        .with_root_certificates(roots);
    let config = match (&files.cert, &files.key) {
        (None, None) => config.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
            config.with_client_auth_cert(chain, private).map_err(|error| failed(cert, &error))?
        }
        (Some(cert), None) => return Err(failed(cert, &"a client certificate needs its private key beside it")),
        (None, Some(key)) => return Err(failed(key, &"a private key needs its client certificate beside it")),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let unreadable = |error: rustls::pki_types::pem::Error| failed(path, &error);
    let found =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(failed(path, &"it holds no certificate in PEM"));
    }
    Ok(found)
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> ClientError {
    ClientError::Tls { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.pem");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        for path in [missing, empty] {
            let files = TlsFiles { ca: Some(path.clone()), ..TlsFiles::default() };
            let error = config(&files).expect_err("refused").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let files = TlsFiles { cert: Some("client.pem".into()), ..TlsFiles::default() };
        assert!(config(&files).expect_err("refused").to_string().contains("client.pem"));
    }
}
