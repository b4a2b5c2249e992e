//! Fetches artifacts from registries and sends them there.
//!
//! The protocol is `oci-client`'s; what is added here are typed references, bounds, storing
//! while streaming, and errors that say what to do. Plain HTTP is spoken to loopback addresses
//! only, unless a registry is listed in [`Options::plain_http`].
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

use crate::reference::Reference;

mod auth;
mod error;
mod pull;
mod push;

pub use auth::{Auth, CredentialsError};
pub use error::ClientError;
pub use pull::{MAX_CONFIG_SIZE, Pulled};
pub use push::Progress;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a registry may send nothing at all.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How we name ourselves.
const USER_AGENT: &str = concat!("podium/", env!("CARGO_PKG_VERSION"));

/// What is particular to a network.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// CA certificates in PEM, each trusted beside the system's own.
    pub extra_ca: Vec<Vec<u8>>,
    /// Registries (host and port) spoken to in plain HTTP, though they are not on loopback.
    pub plain_http: Vec<String>,
    /// Registries (host and port) on loopback that speak TLS nevertheless.
    pub tls: Vec<String>,
}

/// A client of any registry; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    /// Connections of those who give no credentials, made when first needed. Credentials never
    /// share a client: it would answer one user with another's token.
    plain: OnceLock<oci_distribution::Client>,
    tls: OnceLock<oci_distribution::Client>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client.
    pub fn new(options: Options) -> Self {
        let (plain, tls) = (OnceLock::new(), OnceLock::new());
        Self { inner: Arc::new(Inner { options, plain, tls }) }
    }

    /// Whether a registry is spoken to in plain HTTP.
    fn is_plain(&self, registry: &str) -> bool {
        let listed = |hosts: &[String]| hosts.iter().any(|host| host == registry);
        let Options { plain_http, tls, .. } = &self.inner.options;
        !listed(tls) && (is_loopback(registry) || listed(plain_http))
    }

    fn session(
        &self,
        reference: &Reference,
        auth: &Auth,
    ) -> Result<oci_distribution::Client, ClientError> {
        let plain = self.is_plain(reference.registry());
        if *auth != Auth::Anonymous {
            return self.connect(plain);
        }
        let shared = if plain { &self.inner.plain } else { &self.inner.tls };
        if let Some(client) = shared.get() {
            return Ok(client.clone());
        }
        let client = self.connect(plain)?;
        Ok(shared.get_or_init(|| client).clone())
    }

    fn connect(&self, plain: bool) -> Result<oci_distribution::Client, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error says that another thread was first, which serves as well.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let mut extra_root_certificates = Vec::new();
        for pem in &self.inner.options.extra_ca {
            extra_root_certificates.extend(certificates(pem)?);
        }
        let mut config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            use_monolithic_push: true,
            extra_root_certificates,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: USER_AGENT,
            // We choose from an index ourselves.
            platform_resolver: None,
            ..ClientConfig::default()
        };
        if plain {
            // Naming a proxy switches off the one of the environment, which cannot reach our
            // loopback; the exception for every host switches off this one.
            config.http_proxy = Some("http://127.0.0.1:9".to_owned());
            config.no_proxy = Some("*,0.0.0.0/0,::/0".to_owned());
        }
        oci_distribution::Client::try_from(config).map_err(|e| ClientError::Setup(Box::new(e)))
    }
}

/// The certificates in a PEM text. The OCI client would take a text without any in silence, and
/// then trust less than its user believes.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = parsed.map_err(ClientError::Certificate)?;
    if found.is_empty() {
        return Err(ClientError::Certificate(pem::Error::NoItemsFound));
    }
    let encode = |der: CertificateDer<'_>| Certificate {
        encoding: CertificateEncoding::Der,
        data: der.to_vec(),
    };
    Ok(found.into_iter().map(encode).collect())
}

/// Whether a registry (host with optional port) is on this machine.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The reference in the OCI client's own type.
fn foreign(reference: &Reference) -> oci_distribution::Reference {
    let registry = reference.registry().to_owned();
    let repository = reference.repository().as_str().to_owned();
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => {
            oci_distribution::Reference::with_digest(registry, repository, digest.to_string())
        }
        (None, tag) => {
            let tag = tag.map_or("latest", |tag| tag.as_str()).to_owned();
            oci_distribution::Reference::with_tag(registry, repository, tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_listed_registries_are_spoken_to_in_plain() {
        let client = Client::new(Options {
            plain_http: vec!["registry.lan:5000".to_owned()],
            tls: vec!["localhost:5443".to_owned()],
            ..Options::default()
        });
        for plain in [
            "localhost",
            "localhost:5001",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "registry.lan:5000",
        ] {
            assert!(client.is_plain(plain), "{plain}");
        }
        for tls in [
            "localhost:5443",
            "ghcr.io",
            "10.0.0.1:5000",
            "registry.lan",
            "localhost.evil.org",
            "128.0.0.1",
        ] {
            assert!(!client.is_plain(tls), "{tls}");
        }
    }
}
