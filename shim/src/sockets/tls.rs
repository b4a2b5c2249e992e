//! TLS for guests' requests to the outside, checked against the system's roots.
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::network::Stream;

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The machine has no root certificates, so nobody can be trusted.
    #[error("no root certificates found on this machine")]
    NoRoots,
    /// The roots could not be used.
    #[error("preparing TLS")]
    Configure(#[source] rustls::Error),
    /// The host is no name that a certificate can have.
    #[error("{0:?} is not a name for a certificate")]
    Name(String),
    /// The other side was not who it should be, or broke off.
    #[error("TLS handshake")]
    Handshake(#[source] std::io::Error),
}

/// Made at the first use: reading the system's roots takes some milliseconds.
static CONNECTOR: OnceCell<TlsConnector> = OnceCell::const_new();

/// Secures a connection to `host`.
pub(super) async fn connect(host: &str, stream: Stream) -> Result<TlsStream<Stream>, TlsError> {
    let name =
        ServerName::try_from(host.to_string()).map_err(|_| TlsError::Name(host.to_string()))?;
    let connector = CONNECTOR.get_or_try_init(connector).await?;
    connector.connect(name, stream).await.map_err(TlsError::Handshake)
}

async fn connector() -> Result<TlsConnector, TlsError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|_| TlsError::NoRoots)?;
    for error in &loaded.errors {
        tracing::warn!(%error, "root certificates not read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configure)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
