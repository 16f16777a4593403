//! Whom HTTPS deliveries trust: the system's roots, and the certificates given with the target.
//!
//! The provider is named here (ring), so that nothing depends on a process-wide default.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The TLS configuration for a target with these certificates, in PEM.
///
/// Roots of the system that cannot be read are left out: an unreadable one must not stop
/// deliveries to others.
pub(super) fn client_config(ca_certs: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca_certs.unwrap_or_default().as_bytes()) {
        let certificate =
            certificate.map_err(|error| format!("CACerts is not valid PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("CACerts holds no usable certificate: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS is not available: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
