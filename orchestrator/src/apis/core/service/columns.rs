//! What `kubectl get services` shows.
use k8s_openapi::api::core::v1::Service;

use super::{kind, spec};

/// CLUSTER-IP.
pub fn cluster_ip(service: &Service) -> String {
    let first = spec(service).and_then(|spec| spec.cluster_ips.as_ref()?.first().cloned());
    let one = || spec(service).and_then(|spec| spec.cluster_ip.clone());
    first.or_else(one).filter(|ip| !ip.is_empty()).unwrap_or_else(|| "<none>".into())
}

/// EXTERNAL-IP.
pub fn external_ip(service: &Service) -> String {
    let own = spec(service).and_then(|spec| spec.external_ips.clone()).unwrap_or_default();
    let or = |all: Vec<String>, none: &str| {
        if all.is_empty() { none.to_owned() } else { all.join(",") }
    };
    match kind(service) {
        "LoadBalancer" => {
            let mut all = balancers(service);
            all.extend(own);
            or(all, "<pending>")
        }
        "ExternalName" => spec(service).and_then(|s| s.external_name.clone()).unwrap_or_default(),
        _ => or(own, "<none>"),
    }
}

/// PORT(S).
pub fn ports(service: &Service) -> String {
    let ports = spec(service).and_then(|spec| spec.ports.as_ref());
    let texts: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            match port.node_port.filter(|&number| number > 0) {
                Some(node_port) => format!("{}:{node_port}/{protocol}", port.port),
                None => format!("{}/{protocol}", port.port),
            }
        })
        .collect();
    if texts.is_empty() { "<none>".into() } else { texts.join(",") }
}

fn balancers(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|balancer| balancer.ingress.as_ref());
    let address = |point: &k8s_openapi::api::core::v1::LoadBalancerIngress| {
        point.ip.clone().filter(|ip| !ip.is_empty()).or_else(|| point.hostname.clone())
    };
    points.into_iter().flatten().filter_map(address).filter(|text| !text.is_empty()).collect()
}
