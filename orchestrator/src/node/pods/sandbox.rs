//! What a Pod's sandbox is to be: a pure function of the Pod.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use shim::cri::{DnsConfig, Id, PodSandboxConfig, PodSandboxMetadata};

/// The longest host name.
const HOSTNAME_MAX: usize = 63;

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
    PodSandboxConfig {
        dns: dns(pod, cluster_domain),
        metadata: PodSandboxMetadata { name, namespace, uid, attempt },
        hostname: hostname(pod),
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
    fn a_pod_may_have_names_of_its_own() {
        let config = config_of(json!({
            "containers": [], "hostname": "db", "dnsPolicy": "None",
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
        }));
        assert!(config.dns.searches.is_empty());
        assert_eq!(config.hostname, "db");
        let ip: IpAddr = [10, 0, 0, 1].into();
        assert_eq!(config.dns.hosts, [("a".to_owned(), ip), ("b".to_owned(), ip)]);
    }
}
