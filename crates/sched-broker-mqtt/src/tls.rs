//! Encryption: whom a server's certificate has to be signed by.

use std::path::Path;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Encrypted transport, to servers whose certificate is signed by those in the file, or else by those the system knows.
pub(crate) fn transport(file: Option<&Path>) -> Result<Transport, (&'static str, String)> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let wrong = |why: String| ("ca_file", format!("{}: {why}", file.display()));
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it has no certificate in PEM".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(("url", "the system has no certificates: give a `ca_file`".to_owned()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| ("url", error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))))
}
