//! What a cluster's certificates promise.
use super::*;
use crate::auth::certificate;

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

fn now() -> Timestamp {
    "2026-11-21T04:00:00Z".parse().unwrap()
}

fn open(dir: &Path, now: Timestamp) -> Result<Pki, PkiError> {
    Pki::open(dir, &SubjectNames::default(), now)
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

#[test]
fn a_second_start_finds_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), now()).unwrap();
    let second = open(dir.path(), now()).unwrap();
    assert_eq!(first.authority(), second.authority());
    assert_eq!(first.server(), second.server());
    assert_eq!(first.admin(), second.admin());
}

#[test]
fn the_administrator_is_a_master() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), now()).unwrap();
    let user = certificate::user(&der(pki.admin())).unwrap();
    assert_eq!(user.name, "kubernetes-admin");
    assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
}

#[test]
fn certificates_near_their_end_are_renewed_and_the_authority_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), now()).unwrap();
    let later = open(dir.path(), now() + YEAR).unwrap();
    assert_eq!(first.authority(), later.authority());
    assert_ne!(first.server(), later.server());
    assert_ne!(first.admin(), later.admin());
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    let much_later = open(dir.path(), now() + YEAR * 10).unwrap();
    assert_ne!(first.authority(), much_later.authority());
    assert_eq!(key, fs::read(dir.path().join("ca.key")).unwrap());
}

#[test]
fn a_new_name_gets_into_the_server_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), now()).unwrap();
    let names = SubjectNames { dns: vec!["pi.local".into()], ..SubjectNames::default() };
    let second = Pki::open(dir.path(), &names, now()).unwrap();
    assert_ne!(first.server(), second.server());
    let facts = issue::read(&second.server().certificate).unwrap();
    assert!(facts.covers(&server_names(&names)));
}

#[test]
fn certificates_name_the_key_of_their_authority() {
    use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), now()).unwrap();
    for identity in [pki.server(), pki.admin()] {
        let der = der(identity);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let named = certificate.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(_))
        });
        assert!(named);
    }
}

#[test]
fn a_corrupt_file_is_named() {
    for file in ["ca.crt", "ca.key", "apiserver.crt", "admin.key", "sa.key"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), now()).unwrap();
        fs::write(dir.path().join(file), "nonsense").unwrap();
        let error = open(dir.path(), now()).unwrap_err();
        assert!(error.to_string().contains(file), "{file}: {error}");
    }
}

#[test]
fn a_lost_authority_key_is_not_replaced_silently() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), now()).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(open(dir.path(), now()), Err(PkiError::Incomplete { .. })));
}

#[test]
fn tls_can_be_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = open(dir.path(), now()).unwrap().server_config().unwrap();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}
