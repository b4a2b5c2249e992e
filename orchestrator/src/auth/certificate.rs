//! The caller that a client certificate names.
//!
//! The TLS layer has verified the certificate against the cluster's authority
//! before this reads it. As in Kubernetes, the common name is the user and
//! each organization is a group.
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::api::User;

/// A certificate that names nobody.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no X.509 certificate.
    #[error("client certificate does not parse")]
    Parse(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// It has no common name.
    #[error("client certificate has no common name")]
    NoCommonName,
}

/// The caller that the certificate `der` was issued to.
pub fn user(der: &[u8]) -> Result<User, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(CertificateError::Parse)?;
    let subject = certificate.subject();
    let name = subject
        .iter_common_name()
        .find_map(|name| name.as_str().ok())
        .filter(|name| !name.is_empty())
        .ok_or(CertificateError::NoCommonName)?;
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    groups.push("system:authenticated".into());
    Ok(User { name: name.to_owned(), uid: String::new(), groups })
}
