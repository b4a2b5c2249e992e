//! The files of a Pod's network in `/etc`, as the kubelet and the runtimes below it write them.
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use shim::cri::Etc;

use super::sandbox::{dns, hostname, kernel_hostname, subdomain};

/// What stands in every hosts file.
const LOCAL: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// What the guests of a Pod find there.
pub(super) fn of(pod: &Pod, ip: Option<IpAddr>, domain: &str) -> Etc {
    Etc {
        hosts: hosts(pod, ip, domain),
        hostname: format!("{}\n", kernel_hostname(pod, domain)),
        resolv_conf: resolver(pod, domain),
    }
}

fn hosts(pod: &Pod, ip: Option<IpAddr>, domain: &str) -> String {
    let mut text = LOCAL.to_owned();
    let spec = pod.spec.as_ref();
    let name = hostname(pod);
    match (ip, subdomain(pod, domain)) {
        (None, _) => {}
        (Some(ip), None) => text.push_str(&format!("{ip}\t{name}\n")),
        (Some(ip), Some(subdomain)) => {
            text.push_str(&format!("{ip}\t{name}.{subdomain}\t{name}\n"));
        }
    }
    let aliases = spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// Names no server but those that the Pod names: guests ask the node.
fn resolver(pod: &Pod, domain: &str) -> String {
    let spec = pod.spec.as_ref();
    let config = spec.and_then(|spec| spec.dns_config.as_ref());
    let mut text = String::new();
    let searches = dns(pod, domain).searches;
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    for server in config.iter().flat_map(|config| config.nameservers.iter().flatten()) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let own: Vec<_> = config.iter().flat_map(|config| config.options.iter().flatten()).collect();
    let is_named = own.iter().any(|option| option.name.as_deref() == Some("ndots"));
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref());
    let mut options = Vec::new();
    if !is_named && !matches!(policy, Some("None" | "Default")) {
        options.push("ndots:5".to_owned());
    }
    options.extend(own.into_iter().map(|option| {
        let name = option.name.clone().unwrap_or_default();
        option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}"))
    }));
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(spec: serde_json::Value) -> Etc {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop"}, "spec": spec,
        }));
        of(&pod.unwrap(), Some([10, 64, 0, 5].into()), "cluster.local")
    }

    #[test]
    fn a_plain_pod_finds_itself_and_its_namespace() {
        let Etc { hosts, hostname, resolv_conf } = written(json!({"containers": []}));
        assert_eq!(hostname, "web-1\n");
        assert_eq!(hosts, format!("{LOCAL}10.64.0.5\tweb-1\n"));
        assert_eq!(
            resolv_conf,
            "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
    }

    #[test]
    fn what_a_pod_says_of_names_is_written() {
        let Etc { hosts, hostname, resolv_conf } = written(json!({
            "containers": [], "hostname": "db", "subdomain": "pair", "dnsPolicy": "None",
            "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
            "dnsConfig": {
                "nameservers": ["192.0.2.1"], "searches": ["corp"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            },
        }));
        let own = "10.64.0.5\tdb.pair.shop.svc.cluster.local\tdb\n";
        assert_eq!(hostname, "db.pair.shop.svc.cluster.local\n");
        let aliases = "\n# Entries added by HostAliases.\n10.0.0.1\ta\tb\n";
        assert_eq!(hosts, format!("{LOCAL}{own}{aliases}"));
        assert_eq!(resolv_conf, "search corp\nnameserver 192.0.2.1\noptions ndots:2 edns0\n");
    }
}
