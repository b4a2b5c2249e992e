//! The certificates that the gateway shows, by the name a client asks for.
//!
//! A host that an Ingress lists under `tls` has the certificate of its Secret,
//! from the moment the Secret has it. Every other host that the gateway serves
//! gets one of the cluster's own authority when it is first asked for, as no
//! wildcard covers `NAME.localhost`; whoever asks for a stranger's name, or for
//! none, sees the one of `localhost`.
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::routes::Classes;
use crate::client::{Informers, ObjectKey};
use crate::proxy::changes::{PAUSE, Wakeup};

/// The certificate and the key of a TLS Secret.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Whose certificate is shown to those who ask for none of ours.
const FALLBACK: &str = "localhost";

/// Certificates of the cluster's authority held at once; each is some 4 KiB.
const MAX_ISSUED: usize = 1024;

/// How long one of them is used: well within the year it is good for.
const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Any error of the issuer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a certificate of the cluster's authority for one host: certificate and key in PEM.
pub type Issue = Arc<dyn Fn(&str) -> Result<(String, String), BoxError> + Send + Sync>;

/// What is wrong with a TLS Secret.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("the Secret does not exist")]
    Missing,
    #[error("the Secret has no {0}")]
    Empty(&'static str),
    #[error("the Secret's {0} is not PEM")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    #[error("the Secret's certificate and key are of no use")]
    Tls(#[source] rustls::Error),
}

/// Shows each client the right certificate.
pub(in crate::proxy) struct Certificates {
    issue: Issue,
    routes: Shared,
    provider: Arc<CryptoProvider>,
    table: RwLock<Table>,
    issued: Mutex<HashMap<String, (Instant, Arc<CertifiedKey>)>>,
}

/// The certificates of Secrets by host.
#[derive(Default)]
struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the asterisk's label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("issued", &self.issued.lock().len()).finish()
    }
}

/// A Secret, by namespace and name.
type Key = (String, String);

/// The Secrets read before, so that one that stays is not read again.
type Read = BTreeMap<Key, (Option<String>, Option<Arc<CertifiedKey>>)>;

impl Certificates {
    /// None of any Secret yet.
    pub(in crate::proxy) fn new(issue: Issue, routes: Shared) -> Self {
        Self {
            issue,
            routes,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            table: RwLock::default(),
            issued: Mutex::default(),
        }
    }

    /// TLS as the gateway speaks it.
    pub(in crate::proxy) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Follows Ingresses and Secrets until it is dropped.
    pub(in crate::proxy) async fn follow(&self, informers: &Informers) {
        let (ingresses, secrets) = (informers.of::<Ingress>(), informers.of::<Secret>());
        let classes = informers.of::<IngressClass>();
        let wakeup = Wakeup::default();
        wakeup.on(&ingresses);
        wakeup.on(&classes);
        wakeup.on(&secrets);
        tokio::join!(ingresses.synced(), classes.synced(), secrets.synced());
        let mut read = Read::new();
        loop {
            let mut table = Table::default();
            let mut kept = Read::new();
            for (host, key) in wanted(&ingresses.list(), &Classes::of(&classes.list())) {
                let found = kept.entry(key.clone()).or_insert_with(|| {
                    let secret = secrets.get(&object_key(&key));
                    self.read(&key, secret.as_deref(), read.remove(&key))
                });
                if let Some(certificate) = found.1.clone() {
                    table.add(&host, certificate);
                }
            }
            read = kept;
            *self.table.write() = table;
            sleep(PAUSE).await;
            wakeup.wait().await;
        }
    }

    /// What a Secret holds now; what is wrong with it is said once.
    fn read(
        &self,
        (namespace, name): &Key,
        secret: Option<&Secret>,
        before: Option<(Option<String>, Option<Arc<CertifiedKey>>)>,
    ) -> (Option<String>, Option<Arc<CertifiedKey>>) {
        let version = secret.and_then(|secret| secret.metadata.resource_version.clone());
        if let Some(before) = before
            && before.0 == version
        {
            return before;
        }
        let found = secret.ok_or(SecretError::Missing);
        match found.and_then(|secret| certified(secret, &self.provider)) {
            Ok(certificate) => (version, Some(certificate)),
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(
                    namespace,
                    name,
                    %error,
                    why,
                    "TLS of an Ingress is served with the cluster's own certificate"
                );
                (version, None)
            }
        }
    }

    /// The certificate of the cluster's authority for a host, made if need be.
    fn of_authority(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let mut issued = self.issued.lock();
        if let Some((made, certificate)) = issued.get(host)
            && made.elapsed() < RENEW_AFTER
        {
            return Some(certificate.clone());
        }
        let made = (self.issue)(host).and_then(|(certificate, key)| {
            Ok(parse(certificate.as_bytes(), key.as_bytes(), &self.provider)?)
        });
        match made {
            Ok(certificate) => {
                if issued.len() >= MAX_ISSUED {
                    // Of a host that is gone, most likely; others keep theirs.
                    let oldest = issued.iter().min_by_key(|(_, (made, _))| *made);
                    if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                        issued.remove(&oldest);
                    }
                }
                issued.insert(host.to_owned(), (Instant::now(), certificate.clone()));
                Some(certificate)
            }
            Err(error) => {
                tracing::warn!(host, %error, "no certificate for a host of the gateway");
                None
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(host) = hello.server_name().map(str::to_ascii_lowercase) else {
            return self.of_authority(FALLBACK);
        };
        if let Some(certificate) = self.table.read().find(&host) {
            return Some(certificate);
        }
        // Bounded by what people have made: a stranger's names make none.
        let name = self.routes.read().certified_name(&host);
        let own = name.and_then(|name| self.of_authority(&name));
        own.or_else(|| self.of_authority(FALLBACK))
    }
}

impl Table {
    /// The first that claims a host has it.
    fn add(&mut self, host: &str, certificate: Arc<CertifiedKey>) {
        match host.strip_prefix("*.") {
            Some(rest) => self.wildcard.entry(rest.to_owned()).or_insert(certificate),
            None => self.exact.entry(host.to_owned()).or_insert(certificate),
        };
    }

    fn find(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let wildcard = || self.wildcard.get(host.split_once('.')?.1);
        self.exact.get(host).or_else(wildcard).cloned()
    }
}

/// Which host should have the certificate of which Secret; of two Ingresses
/// that name a host the older one comes first.
fn wanted(ingresses: &[Arc<Ingress>], classes: &Classes) -> Vec<(String, Key)> {
    let mut ours: Vec<&Arc<Ingress>> = ingresses.iter().filter(|i| classes.take(i)).collect();
    ours.sort_by_key(|ingress| {
        let metadata = &ingress.metadata;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, metadata.namespace.clone(), metadata.name.clone())
    });
    let mut wanted = Vec::new();
    for ingress in ours {
        let Some(spec) = &ingress.spec else { continue };
        let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
        for tls in spec.tls.iter().flatten() {
            let Some(secret) = tls.secret_name.clone().filter(|name| !name.is_empty()) else {
                continue;
            };
            let listed = tls.hosts.iter().flatten().cloned();
            let mut hosts: Vec<String> = listed.collect();
            if hosts.is_empty() {
                // The rules' own hosts, as none is said.
                hosts = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone()).collect();
            }
            let key = (namespace.clone(), secret);
            wanted.extend(hosts.iter().map(|host| (host.to_ascii_lowercase(), key.clone())));
        }
    }
    wanted
}

fn object_key((namespace, name): &Key) -> ObjectKey {
    ObjectKey { namespace: namespace.clone(), name: name.clone() }
}

fn certified(secret: &Secret, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, SecretError> {
    let of = |name| {
        let value = secret.data.as_ref().and_then(|data| data.get(name));
        value.map(|value| value.0.as_slice()).ok_or(SecretError::Empty(name))
    };
    parse(of(CERTIFICATE)?, of(KEY)?, provider)
}

/// A chain and its key, which must belong together.
fn parse(
    certificate: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, SecretError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|source| SecretError::Pem(CERTIFICATE, source))?;
    if chain.is_empty() {
        return Err(SecretError::Empty(CERTIFICATE));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| SecretError::Pem(KEY, source))?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(SecretError::Tls)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(name: &str, created: &str, spec: Value) -> Arc<Ingress> {
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created},
            "spec": spec,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn each_host_has_the_secret_of_the_oldest_ingress_that_names_it() {
        let rules = json!([{"host": "rule.example"}]);
        let found = wanted(
            &[
                ingress(
                    "young",
                    "2026-02-01T00:00:00Z",
                    json!({
                        "tls": [{"hosts": ["a.example"], "secretName": "young"}],
                    }),
                ),
                ingress(
                    "old",
                    "2026-01-01T00:00:00Z",
                    json!({
                        "tls": [{"hosts": ["A.example", "*.b.example"], "secretName": "old"}],
                    }),
                ),
                ingress(
                    "hostless",
                    "2026-03-01T00:00:00Z",
                    json!({
                        "rules": rules, "tls": [{"secretName": "bare"}, {"hosts": ["none.example"]}],
                    }),
                ),
                ingress(
                    "other",
                    "2026-01-01T00:00:00Z",
                    json!({
                        "ingressClassName": "nginx", "tls": [{"hosts": ["x"], "secretName": "x"}],
                    }),
                ),
            ],
            &Classes::first(),
        );
        assert_eq!(
            found,
            [
                ("a.example".to_owned(), key("old")),
                ("*.b.example".to_owned(), key("old")),
                ("a.example".to_owned(), key("young")),
                ("rule.example".to_owned(), key("bare")),
            ]
        );
    }

    fn issued(host: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn certificates() -> Certificates {
        let issue: Issue = Arc::new(|host: &str| Ok(issued(host)));
        Certificates::new(issue, Shared::default())
    }

    fn secret(certificate: &str, private: &str) -> Secret {
        serde_json::from_value(json!({
            "metadata": {"resourceVersion": "1"},
            "data": {"tls.crt": encode(certificate), "tls.key": encode(private)},
        }))
        .unwrap()
    }

    fn encode(text: &str) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_of_one_label() {
        let provider = rustls::crypto::ring::default_provider();
        let one = |host| {
            let (certificate, private) = issued(host);
            parse(certificate.as_bytes(), private.as_bytes(), &provider).unwrap()
        };
        let (exact, wildcard) = (one("a.example"), one("*.example"));
        let mut table = Table::default();
        table.add("*.example", wildcard.clone());
        table.add("a.example", exact.clone());
        table.add("a.example", wildcard.clone());
        assert!(Arc::ptr_eq(&table.find("a.example").unwrap(), &exact));
        assert!(Arc::ptr_eq(&table.find("b.example").unwrap(), &wildcard));
        assert!(table.find("b.c.example").is_none());
        assert!(table.find("example").is_none());
    }

    #[test]
    fn a_secret_is_read_when_it_changes_and_what_is_wrong_with_it_is_named() {
        let certificates = certificates();
        let provider = &certificates.provider;
        let (certificate, private) = issued("a.example");
        let good = secret(&certificate, &private);
        let first = certificates.read(&key("tls"), Some(&good), None);
        let again = certificates.read(&key("tls"), Some(&good), Some(first.clone()));
        assert!(Arc::ptr_eq(&first.1.unwrap(), &again.1.unwrap()));
        assert!(certificates.read(&key("tls"), None, None).1.is_none());

        let (_, foreign) = issued("a.example");
        let wrong = |secret: Secret| certified(&secret, provider).unwrap_err().to_string();
        assert!(wrong(secret(&certificate, &foreign)).contains("of no use"));
        assert!(wrong(secret("text", &private)).contains("no tls.crt"));
        assert!(wrong(secret(&certificate, "text")).contains("tls.key is not PEM"));
        assert_eq!(wrong(Secret::default()), "the Secret has no tls.crt");
    }

    #[test]
    fn a_certificate_of_the_authority_is_made_once() {
        let certificates = certificates();
        let first = certificates.of_authority("web.localhost").unwrap();
        let again = certificates.of_authority("web.localhost").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }
}
