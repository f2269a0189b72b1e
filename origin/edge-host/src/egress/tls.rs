//! Whom TLS trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::HostError;

/// The machine's trust store, so that an operator's own authority counts and a distrusted one does not; the built-in
/// list where the machine has none.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, HostError> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::info!(
            errors = native.errors.len(),
            "no trust store on this machine; the built-in list is used"
        );
    } else if ignored > 0 {
        tracing::debug!(
            ignored,
            "some certificates of the machine's trust store could not be read"
        );
    }
    config_with(roots)
}

pub(crate) fn config_with(roots: RootCertStore) -> Result<Arc<ClientConfig>, HostError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| HostError::Tls(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_somebody_to_trust() {
        client_config().unwrap();
    }
}
