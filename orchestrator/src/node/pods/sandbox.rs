//! What a Pod's sandbox is to be: a pure function of the Pod.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use shim::cri::{DnsConfig, Id, PodSandboxConfig, PodSandboxMetadata};

/// The longest host name.
const HOSTNAME_MAX: usize = 63;
/// The longest name that a kernel takes for its own, as in the kubelet.
const FQDN_MAX: usize = 64;

/// A full name that no kernel would take for its own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to construct FQDN from pod hostname and cluster domain, FQDN {0} is too long ({FQDN_MAX} characters is the max, {len} characters requested)", len = .0.len())]
pub(super) struct TooLong(String);

/// The sandbox there is.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    /// The runtime's id.
    pub id: Id,
    /// Its address.
    pub ip: Option<IpAddr>,
}

/// The sandbox of a Pod.
pub(super) fn config(
    pod: &Pod,
    attempt: u32,
    wanted_ip: Option<IpAddr>,
    log_directory: PathBuf,
    cluster_domain: &str,
) -> PodSandboxConfig {
    let meta = &pod.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let namespace = meta.namespace.clone().unwrap_or_default();
    let uid = meta.uid.clone().unwrap_or_default();
    let labels = BTreeMap::from([
        ("io.kubernetes.pod.name".to_owned(), name.clone()),
        ("io.kubernetes.pod.namespace".to_owned(), namespace.clone()),
        ("io.kubernetes.pod.uid".to_owned(), uid.clone()),
    ]);
    let DnsConfig { searches, hosts } = dns(pod, cluster_domain);
    PodSandboxConfig {
        dns: DnsConfig { searches: or_none(searches), hosts },
        metadata: PodSandboxMetadata { name, namespace, uid, attempt },
        hostname: kernel_hostname(pod, cluster_domain),
        log_directory,
        labels,
        wanted_ip,
    }
}

/// The name that a Pod has for itself.
pub(super) fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.clone());
    let own = own.filter(|name| !name.is_empty());
    let mut name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(HOSTNAME_MAX);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The domain of a Pod's name, if it has one.
pub(super) fn subdomain(pod: &Pod, domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{subdomain}.{namespace}.svc.{domain}"))
}

/// The name that a Pod's containers are told: the full one if they shall have it.
pub(super) fn kernel_hostname(pod: &Pod, domain: &str) -> String {
    let full = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let name = hostname(pod);
    match subdomain(pod, domain).filter(|_| full) {
        Some(domain) => format!("{name}.{domain}"),
        None => name,
    }
}

/// Refuses a name that is too long for a kernel.
pub(super) fn check_hostname(pod: &Pod, domain: &str) -> Result<(), TooLong> {
    let name = kernel_hostname(pod, domain);
    if name.len() > FQDN_MAX { Err(TooLong(name)) } else { Ok(()) }
}

/// A list of search domains, in which none is the root: an empty one would be the namespace's.
fn or_none(searches: Vec<String>) -> Vec<String> {
    if searches.is_empty() { vec![".".to_owned()] } else { searches }
}

/// How a Pod's names are looked up.
pub(super) fn dns(pod: &Pod, domain: &str) -> DnsConfig {
    let Some(spec) = &pod.spec else { return DnsConfig::default() };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut searches = Vec::new();
    if !matches!(spec.dns_policy.as_deref(), Some("None" | "Default")) {
        searches.push(format!("{namespace}.svc.{domain}"));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.to_owned());
    }
    let own = spec.dns_config.iter().flat_map(|config| config.searches.iter().flatten());
    searches.extend(own.cloned());
    let aliases = spec.host_aliases.iter().flatten();
    let hosts = aliases.flat_map(|alias| {
        let ip: Option<IpAddr> = alias.ip.parse().ok();
        let names = alias.hostnames.iter().flatten();
        names.filter_map(move |name| Some((name.clone(), ip?)))
    });
    DnsConfig { searches, hosts: hosts.collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_of(spec: serde_json::Value) -> PodSandboxConfig {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u"}, "spec": spec,
        }));
        config(&pod.unwrap(), 2, None, "/logs".into(), "cluster.local")
    }

    #[test]
    fn names_are_searched_in_the_namespace_first() {
        let config = config_of(json!({"containers": [], "dnsConfig": {"searches": ["corp"]}}));
        assert_eq!(
            config.dns.searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp"]
        );
        assert_eq!((config.hostname.as_str(), config.metadata.attempt), ("web-1", 2));
    }

    #[test]
    fn a_pod_is_told_its_full_name_if_it_is_to_have_it() {
        let named = |hostname: &str, full: bool| {
            json!({"metadata": {"name": "web-1", "namespace": "shop"}, "spec": {
                "containers": [], "hostname": hostname, "subdomain": "pair",
                "setHostnameAsFQDN": full,
            }})
        };
        let told = |pod| kernel_hostname(&serde_json::from_value(pod).unwrap(), "cluster.local");
        assert_eq!(told(named("db", true)), "db.pair.shop.svc.cluster.local");
        assert_eq!(told(named("db", false)), "db");

        let check = |pod| check_hostname(&serde_json::from_value(pod).unwrap(), "cluster.local");
        let longest = "d".repeat(FQDN_MAX - ".pair.shop.svc.cluster.local".len());
        assert_eq!(check(named(&longest, true)), Ok(()));
        let why = check(named(&format!("{longest}d"), true)).unwrap_err().to_string();
        assert!(why.ends_with("is too long (64 characters is the max, 65 characters requested)"));
    }

    #[test]
    fn a_pod_may_have_names_of_its_own() {
        let config = config_of(json!({
            "containers": [], "hostname": "db", "dnsPolicy": "None",
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
        }));
        assert_eq!(config.dns.searches, ["."], "no short name is looked up");
        assert_eq!(config.hostname, "db");
        let ip: IpAddr = [10, 0, 0, 1].into();
        assert_eq!(config.dns.hosts, [("a".to_owned(), ip), ("b".to_owned(), ip)]);
    }
}
