//! Certificates: that they are good now, and that the kubeconfig is of the same cluster.
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use jiff::Timestamp;
use kube::config::Kubeconfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;
use crate::api::human_duration;

const CERTIFICATES: &str = "certificates";

/// The step that renews whatever is about to end.
const RENEW: &str = "restart the cluster: it renews what ends within 30 days";

/// What is wrong with the certificates of a data directory.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_run = root.join("kubeconfig").exists();
    for name in ["ca", "apiserver", "admin"] {
        let path = root.join("pki").join(format!("{name}.crt"));
        if path.exists() {
            findings.push(certificate(name, &path, Timestamp::now()));
        } else if has_run {
            let why = format!("{} is gone", path.display());
            let fix = "restore it from a backup, or start the cluster: it makes a new one, and kubeconfigs from before it no longer work";
            findings.push(Finding::error(CERTIFICATES, why, fix));
        }
    }
    let (kubeconfig, authority) = (root.join("kubeconfig"), root.join("pki/ca.crt"));
    if kubeconfig.exists() && authority.exists() {
        findings.push(matches(&kubeconfig, &authority));
    }
    findings
}

/// Whether a certificate is good at a time.
fn certificate(name: &str, path: &Path, now: Timestamp) -> Finding {
    let (begins, ends) = match validity(path) {
        Ok(times) => times,
        Err(error) => {
            let fix = "restore it from a backup; without one, begin anew with another --data-dir";
            return Finding::error(CERTIFICATES, format!("{}: {error:#}", path.display()), fix);
        }
    };
    if begins > now {
        let ahead = human_duration(begins.duration_since(now));
        let fix = "set this machine's clock right";
        return Finding::error(CERTIFICATES, format!("{name} begins only in {ahead}"), fix);
    }
    if ends <= now {
        let ago = human_duration(now.duration_since(ends));
        return Finding::error(CERTIFICATES, format!("{name} ended {ago} ago"), RENEW);
    }
    let left = human_duration(ends.duration_since(now));
    Finding::ok(CERTIFICATES, format!("{name} is good for {left}"))
}

fn validity(path: &Path) -> Result<(Timestamp, Timestamp)> {
    let der = CertificateDer::from_pem_file(path).context("it is no PEM")?;
    let (_, certificate) = X509Certificate::from_der(&der).context("it is no certificate")?;
    let validity = certificate.validity();
    let time = |seconds: i64| Timestamp::from_second(seconds).context("its times make no sense");
    Ok((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

/// Whether the kubeconfig trusts this cluster's authority.
fn matches(kubeconfig: &Path, authority: &Path) -> Finding {
    const KUBECONFIG: &str = "kubeconfig";
    let shown = kubeconfig.display();
    let fix = "restart the cluster: it writes the kubeconfig anew";
    match same_authority(kubeconfig, authority) {
        Ok(true) => Finding::ok(KUBECONFIG, format!("{shown} is of this cluster")),
        Ok(false) => {
            let why = format!("{shown} trusts another authority than this cluster's");
            Finding::error(KUBECONFIG, why, fix)
        }
        Err(error) => Finding::error(KUBECONFIG, format!("{shown} cannot be used: {error:#}"), fix),
    }
}

fn same_authority(kubeconfig: &Path, authority: &Path) -> Result<bool> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let ours = std::fs::read_to_string(authority)?;
    let mut trusted = Vec::new();
    for cluster in config.clusters.into_iter().filter_map(|named| named.cluster) {
        let data = cluster.certificate_authority_data.unwrap_or_default();
        let pem = base64::engine::general_purpose::STANDARD.decode(data.trim())?;
        trusted.push(String::from_utf8(pem)?);
    }
    Ok(trusted.iter().any(|pem| pem.trim() == ours.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Pki, SubjectNames};
    use crate::cli::doctor::Level;
    use jiff::SignedDuration;

    #[test]
    fn a_certificate_that_ended_or_begins_later_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let pki = Pki::open(&folder.path().join("pki"), &SubjectNames::default(), now).unwrap();
        let path = folder.path().join("pki/admin.crt");
        let at = |days: i64| {
            let then = now + SignedDuration::from_hours(24 * days);
            certificate("admin", &path, then)
        };
        assert_eq!(at(0).level, Level::Ok);
        assert!(at(400).message.contains("ended"), "{:?}", at(400));
        assert!(at(-400).message.contains("begins only in"), "{:?}", at(-400));

        let ours = crate::cli::kubeconfig::document("https://x", pki.authority(), pki.admin());
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, ours.to_string()).unwrap();
        assert!(check(folder.path()).iter().all(|finding| finding.level == Level::Ok));
        let other = crate::cli::kubeconfig::document("https://x", "other", pki.admin());
        std::fs::write(&kubeconfig, other.to_string()).unwrap();
        let findings = check(folder.path());
        assert!(findings.iter().any(|f| f.message.contains("another authority")), "{findings:?}");
    }
}
