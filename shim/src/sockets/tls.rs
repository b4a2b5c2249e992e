//! TLS for guests' requests.
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::network::{Stream, Switch};

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// There are no root certificates, so nobody can be trusted.
    #[error("there are no root certificates to check the other side's with")]
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

/// For the outside. Made at the first use: reading the system's roots takes some milliseconds.
static OUTSIDE: OnceCell<TlsConnector> = OnceCell::const_new();

/// Secures a connection to `host`: within the cluster by its own authority
/// alone, which nobody outside has to believe, elsewhere by the system's roots.
pub(super) async fn connect(
    switch: &Switch,
    host: &str,
    inside: bool,
    stream: Stream,
) -> Result<TlsStream<Stream>, TlsError> {
    let name =
        ServerName::try_from(host.to_string()).map_err(|_| TlsError::Name(host.to_string()))?;
    let connector = if inside {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(switch.cluster_ca().cloned());
        connector(roots)?
    } else {
        OUTSIDE.get_or_try_init(system_connector).await?.clone()
    };
    connector.connect(name, stream).await.map_err(TlsError::Handshake)
}

async fn system_connector() -> Result<TlsConnector, TlsError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|_| TlsError::NoRoots)?;
    for error in &loaded.errors {
        tracing::warn!(%error, "root certificates not read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    connector(roots)
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, TlsError> {
    if roots.is_empty() {
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
