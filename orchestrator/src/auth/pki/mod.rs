//! The cluster's own certificate authority and the files it lives in.
//!
//! A cluster has a fresh authority, made on its first start and never shared.
//! What is near its end is renewed when it is loaded; the authority keeps its
//! key when it is, so that certificates and kubeconfigs of before stay good.
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::api::User;
use crate::auth::token::{KeyError, Tokens};
use crate::platform;

mod issue;

#[cfg(test)]
mod tests;

/// The name of the cluster's administrator.
pub const ADMIN: &str = "kubernetes-admin";

/// The ClusterIP of the Service `kubernetes`: the first of the service range.
pub const KUBERNETES_SERVICE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 43, 0, 1));

/// What clients inside and outside the cluster call the API server.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// A certificate that ends within this time is renewed.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long the authority's certificate is good: longer than any other.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long other certificates are good, as kubeadm has it.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Names and addresses that a server certificate is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, in PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What kept the certificates from being loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{path} is corrupt: {why}; restore it from a backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The authority's certificate is there, but not its key, or the other way round.
    #[error("{missing} is missing, but its counterpart is there; restore it from a backup")]
    Incomplete {
        /// The missing file.
        missing: PathBuf,
    },
    /// A name is not one that a certificate can hold.
    #[error("cannot make a certificate")]
    Issue(#[source] rcgen::Error),
    /// A point in time is beyond what a certificate can hold.
    #[error("the clock is beyond what a certificate can hold")]
    Clock,
    /// The parts do not fit together for TLS.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The authority cannot verify clients.
    #[error("cannot verify client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The key for tokens is not usable.
    #[error("cannot use {path}")]
    TokenKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// The certificates of one cluster.
#[derive(Debug)]
pub struct Pki {
    authority: String,
    issuer: Issuer<'static, KeyPair>,
    server: Identity,
    admin: Identity,
    tokens: Arc<Tokens>,
}

impl Pki {
    /// Loads the certificates in `dir`, making and renewing what has to be.
    ///
    /// `names` are those of the API server beside the ones every cluster uses.
    pub fn open(dir: &Path, names: &SubjectNames, now: Timestamp) -> Result<Self, PkiError> {
        platform::create_private_dir(dir)
            .map_err(|source| PkiError::Write { path: dir.into(), source })?;
        let files = Files(dir);
        let authority = files.authority(now)?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, files.key(&authority, "ca")?)
            .map_err(|error| files.corrupt("ca.crt", &error.to_string()))?;
        let names = server_names(names);
        let server = files.leaf("apiserver", now, Some(&names), || {
            issue::server(&issuer, "kube-apiserver", &names, now)
        })?;
        let user = User {
            name: ADMIN.into(),
            groups: vec![super::authorizer::MASTERS.into()],
            ..User::default()
        };
        let admin = files.leaf("admin", now, None, || issue::client(&issuer, &user, now))?;
        let tokens = files.tokens()?;
        Ok(Self { authority: authority.certificate, issuer, server, admin, tokens })
    }

    /// The authority's certificate in PEM: what clients trust.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The authority's certificate in DER.
    pub fn authority_der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.authority.as_bytes())
            .expect("the authority was parsed when it was loaded")
    }

    /// The API server's certificate and key.
    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// The certificate and key of the cluster's administrator.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// Issues and checks the cluster's bearer tokens.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// A new certificate by which `user` is known, such as a node's.
    pub fn issue_client(&self, user: &User, now: Timestamp) -> Result<Identity, PkiError> {
        issue::client(&self.issuer, user, now)
    }

    /// A new certificate for a server of the cluster, such as its registry.
    pub fn issue_server(
        &self,
        name: &str,
        names: &SubjectNames,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        issue::server(&self.issuer, name, names, now)
    }

    /// TLS as the API server speaks it: client certificates may be shown, and must then be ours.
    pub fn server_config(&self) -> Result<ServerConfig, PkiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            let certificate = certificate.expect("the authority was parsed when it was loaded");
            roots.add(certificate).map_err(PkiError::Tls)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(PkiError::Verifier)?;
        let chain = CertificateDer::pem_slice_iter(self.server.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .expect("the certificate was parsed when it was loaded");
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes())
            .expect("the key was parsed when it was loaded");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(PkiError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn server_names(more: &SubjectNames) -> SubjectNames {
    let mut names = SubjectNames {
        dns: SERVER_NAMES.iter().map(|&name| name.to_owned()).collect(),
        addresses: vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            KUBERNETES_SERVICE_IP,
        ],
    };
    for name in &more.dns {
        if !names.dns.contains(name) {
            names.dns.push(name.clone());
        }
    }
    for address in &more.addresses {
        if !names.addresses.contains(address) {
            names.addresses.push(*address);
        }
    }
    names
}

/// The folder that holds the files.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn authority(&self, now: Timestamp) -> Result<Identity, PkiError> {
        match (self.read("ca.crt")?, self.read("ca.key")?) {
            (None, None) => {
                let authority = issue::authority(&issue::key()?, now)?;
                // The key first: a certificate without its key cannot be repaired.
                self.write("ca.key", &authority.key)?;
                self.write("ca.crt", &authority.certificate)?;
                Ok(authority)
            }
            (Some(certificate), Some(key)) => {
                let facts =
                    issue::read(&certificate).map_err(|why| self.corrupt("ca.crt", &why))?;
                let found = Identity { certificate, key };
                let key = self.key(&found, "ca")?;
                if !facts.belongs_to(&key) {
                    return Err(self.corrupt("ca.key", "it is not the key of ca.crt"));
                }
                if facts.ends.duration_since(now) > RENEW_BEFORE {
                    return Ok(found);
                }
                let renewed = issue::authority(&key, now)?;
                self.write("ca.crt", &renewed.certificate)?;
                Ok(renewed)
            }
            // A crash between the two writes leaves the key alone: nobody has seen it yet.
            (None, Some(key)) => {
                let found = Identity { certificate: String::new(), key };
                let authority = issue::authority(&self.key(&found, "ca")?, now)?;
                self.write("ca.crt", &authority.certificate)?;
                Ok(authority)
            }
            (Some(_), None) => Err(PkiError::Incomplete { missing: self.0.join("ca.key") }),
        }
    }

    fn leaf(
        &self,
        name: &str,
        now: Timestamp,
        names: Option<&SubjectNames>,
        issue: impl FnOnce() -> Result<Identity, PkiError>,
    ) -> Result<Identity, PkiError> {
        let (certificate_file, key_file) = (format!("{name}.crt"), format!("{name}.key"));
        if let (Some(certificate), Some(key)) =
            (self.read(&certificate_file)?, self.read(&key_file)?)
        {
            let facts =
                issue::read(&certificate).map_err(|why| self.corrupt(&certificate_file, &why))?;
            let found = Identity { certificate, key };
            let fits = facts.belongs_to(&self.key(&found, name)?)
                && names.is_none_or(|names| facts.covers(names));
            if fits && facts.ends.duration_since(now) > RENEW_BEFORE {
                return Ok(found);
            }
        }
        let identity = issue()?;
        self.write(&key_file, &identity.key)?;
        self.write(&certificate_file, &identity.certificate)?;
        Ok(identity)
    }

    fn tokens(&self) -> Result<Arc<Tokens>, PkiError> {
        const FILE: &str = "sa.key";
        let pem = match self.read(FILE)? {
            Some(pem) => pem,
            None => {
                let pem = issue::key()?.serialize_pem();
                self.write(FILE, &pem)?;
                pem
            }
        };
        let key = KeyPair::from_pem(&pem).map_err(|why| self.corrupt(FILE, &why.to_string()))?;
        let tokens = Tokens::new(key.serialized_der())
            .map_err(|source| PkiError::TokenKey { path: self.0.join(FILE), source })?;
        Ok(Arc::new(tokens))
    }

    fn key(&self, identity: &Identity, name: &str) -> Result<KeyPair, PkiError> {
        KeyPair::from_pem(&identity.key)
            .map_err(|why| self.corrupt(&format!("{name}.key"), &why.to_string()))
    }

    fn read(&self, file: &str) -> Result<Option<String>, PkiError> {
        let path = self.0.join(file);
        match fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| self.corrupt(file, "it is not a text file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::Read { path, source }),
        }
    }

    fn write(&self, file: &str, content: &str) -> Result<(), PkiError> {
        let path = self.0.join(file);
        platform::write_private(&path, content.as_bytes())
            .map_err(|source| PkiError::Write { path, source })
    }

    fn corrupt(&self, file: &str, why: &str) -> PkiError {
        PkiError::Corrupt { path: self.0.join(file), why: why.to_owned() }
    }
}
