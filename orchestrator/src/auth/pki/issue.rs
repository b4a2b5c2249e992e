//! Making and reading certificates; knows no files.
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::GeneralName;
use x509_parser::time::ASN1Time;

use super::{AUTHORITY_LIFETIME, Identity, LIFETIME, PkiError, SubjectNames};
use crate::api::User;

/// How much earlier a certificate is good than it was made, for clocks that differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// A new P-256 key.
pub fn key() -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(PkiError::Issue)
}

/// A certificate authority with this key.
pub fn authority(key: &KeyPair, now: Timestamp) -> Result<Identity, PkiError> {
    let mut params = params("podium", &[], now, AUTHORITY_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let certificate = params.self_signed(key).map_err(PkiError::Issue)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A certificate by which `user` is known.
pub fn client(
    issuer: &Issuer<'static, KeyPair>,
    user: &User,
    now: Timestamp,
) -> Result<Identity, PkiError> {
    let params = params(&user.name, &user.groups, now, LIFETIME)?;
    leaf(params, ExtendedKeyUsagePurpose::ClientAuth, issuer)
}

/// A certificate for a server with these names.
pub fn server(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    names: &SubjectNames,
    now: Timestamp,
) -> Result<Identity, PkiError> {
    let mut params = params(name, &[], now, LIFETIME)?;
    for name in &names.dns {
        let name = name.as_str().try_into().map_err(PkiError::Issue)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let addresses = names.addresses.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    leaf(params, ExtendedKeyUsagePurpose::ServerAuth, issuer)
}

fn leaf(
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<Identity, PkiError> {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let key = key()?;
    let certificate = params.signed_by(&key, issuer).map_err(PkiError::Issue)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(
    name: &str,
    groups: &[String],
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<CertificateParams, PkiError> {
    let at = |time: Result<Timestamp, jiff::Error>| {
        let second = time.map_err(|_| PkiError::Clock)?.as_second();
        ASN1Time::from_timestamp(second).map_err(|_| PkiError::Clock)
    };
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    for group in groups {
        subject.push(DnType::OrganizationName, group.as_str());
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = at(now.checked_sub(BACKDATE))?.to_datetime();
    params.not_after = at(now.checked_add(lifetime))?.to_datetime();
    // Python 3.13 and later refuse a certificate without it.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// What decides whether a certificate is still of use.
#[derive(Debug)]
pub struct Facts {
    /// When it ends.
    pub ends: Timestamp,
    names: SubjectNames,
    public_key: Vec<u8>,
}

impl Facts {
    /// Whether it is the certificate of this key.
    pub fn belongs_to(&self, key: &KeyPair) -> bool {
        self.public_key == key.der_bytes()
    }

    /// Whether it is good for all these names.
    pub fn covers(&self, names: &SubjectNames) -> bool {
        names.dns.iter().all(|name| self.names.dns.contains(name))
            && names.addresses.iter().all(|address| self.names.addresses.contains(address))
    }
}

/// Reads a certificate in PEM; answers what is wrong with it.
pub fn read(pem: &str) -> Result<Facts, String> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    let mut names = SubjectNames::default();
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    let ends = certificate.validity().not_after.timestamp();
    Ok(Facts {
        ends: Timestamp::from_second(ends).map_err(|error| error.to_string())?,
        names,
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}
