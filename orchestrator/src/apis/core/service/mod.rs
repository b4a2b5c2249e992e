//! `services`
use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::api::{
    Column, FieldErrors, Operation, SelectableField, Strategy, Subresource, Verb, names,
};
use crate::apis::checks::joined;

mod columns;
#[cfg(test)]
mod tests;
mod validate;

/// Seconds that a client stays with its endpoint: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

/// The `services` resource.
#[derive(Debug)]
pub struct Services;

impl Strategy for Services {
    type Kind = Service;

    const SHORT_NAMES: &'static [&'static str] = &["svc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Connect { name: "proxy", kind: "ServiceProxyOptions", verbs: Verb::PROXY },
    ];
    const COLUMNS: &'static [Column<Service>] = &[
        Column::new("Type", "How it is exposed", |s, _| json!(kind(s))),
        Column::new("Cluster-IP", "Its address in the cluster", |s, _| {
            json!(columns::cluster_ip(s))
        }),
        Column::new("External-IP", "Its addresses outside", |s, _| json!(columns::external_ip(s))),
        Column::new("Port(s)", "Its ports, with the nodes' ports", |s, _| json!(columns::ports(s))),
        Column::new("Selector", "Labels of the Pods it sends to", |s, _| {
            json!(joined(spec(s).and_then(|spec| spec.selector.as_ref())))
        })
        .wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Service>] = &[
        SelectableField {
            path: "spec.clusterIP",
            value: |s| spec(s).and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default(),
        },
        SelectableField { path: "spec.type", value: |s| kind(s).to_owned() },
    ];
    const CREATE_ON_UPDATE: bool = true;

    fn empty_status(&self) -> Value {
        json!({"loadBalancer": {}})
    }

    fn default(&self, service: &mut Service) {
        let Some(spec) = &mut service.spec else { return };
        text(&mut spec.session_affinity, "None");
        match spec.session_affinity.as_deref() {
            Some("None") => spec.session_affinity_config = None,
            Some("ClientIP") => {
                let config: &mut SessionAffinityConfig =
                    spec.session_affinity_config.get_or_insert_default();
                let client: &mut ClientIPConfig = config.client_ip.get_or_insert_default();
                client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
            }
            _ => {}
        }
        text(&mut spec.type_, "ClusterIP");
        for port in spec.ports.iter_mut().flatten() {
            text(&mut port.protocol, "TCP");
            let same = matches!(&port.target_port, None | Some(IntOrString::Int(0)))
                || port.target_port == Some(IntOrString::String(String::new()));
            if same {
                port.target_port = Some(IntOrString::Int(port.port));
            }
        }
        if is_external_name(spec) {
            return;
        }
        text(&mut spec.internal_traffic_policy, "Cluster");
        if exposes_nodes(spec) {
            text(&mut spec.external_traffic_policy, "Cluster");
        }
        if spec.type_.as_deref() == Some("LoadBalancer") {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        addresses(spec);
    }

    fn prepare(&self, service: &mut Service, operation: Operation<'_, Service>) {
        let old = operation.old().and_then(|old| old.spec.as_ref());
        if let (Some(new), Some(old)) = (&mut service.spec, old) {
            carry_over(new, old);
        }
    }

    fn validate(&self, new: &Service, operation: Operation<'_, Service>) -> FieldErrors {
        match operation {
            Operation::UpdateStatus(_) => FieldErrors::default(),
            _ => validate::service(new, operation.old()),
        }
    }

    fn validate_name(&self, name: &str) -> Result<(), String> {
        names::dns_1035_label(name)
    }
}

/// `clusterIP` and `clusterIPs` say the same; the families follow from them.
fn addresses(spec: &mut ServiceSpec) {
    let one = spec.cluster_ip.clone().filter(|ip| !ip.is_empty());
    let all = spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
    match (one, all) {
        (Some(one), None) => spec.cluster_ips = Some(vec![one]),
        (None, Some(all)) => spec.cluster_ip = all.first().cloned(),
        _ => {}
    }
    if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
        let six = spec.cluster_ip.as_ref().is_some_and(|ip| ip.contains(':'));
        spec.ip_families = Some(vec![if six { "IPv6".into() } else { "IPv4".into() }]);
    }
    text(&mut spec.ip_family_policy, "SingleStack");
}

/// What an update that leaves it out keeps: the addresses, and the ports of the nodes.
fn carry_over(new: &mut ServiceSpec, old: &ServiceSpec) {
    let was_external = is_external_name(old);
    let is_external = is_external_name(new);
    if is_external && !was_external {
        release(new, old);
        return;
    }
    if is_external || was_external {
        return;
    }
    let unset = |ip: &Option<String>| ip.as_ref().is_none_or(String::is_empty);
    if unset(&new.cluster_ip) && new.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        new.cluster_ip.clone_from(&old.cluster_ip);
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    if new.ip_families.as_ref().is_none_or(Vec::is_empty) {
        new.ip_families.clone_from(&old.ip_families);
    }
    if exposes_nodes(new) && exposes_nodes(old) {
        keep_node_ports(new, old);
    } else if !exposes_nodes(new) {
        forget_node_ports(new, old);
    }
    let zero = |port: Option<i32>| port.is_none_or(|port| port == 0);
    if needs_health_check(new) && needs_health_check(old) && zero(new.health_check_node_port) {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// A Service that becomes a mere name gives up its address and ports, unless it says new ones, which is refused.
fn release(new: &mut ServiceSpec, old: &ServiceSpec) {
    if new.cluster_ip == old.cluster_ip {
        new.cluster_ip = None;
    }
    if new.cluster_ips == old.cluster_ips {
        new.cluster_ips = None;
    }
    new.ip_families = None;
    new.ip_family_policy = None;
    new.internal_traffic_policy = None;
    forget_node_ports(new, old);
}

fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let mut used: Vec<i32> = new.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    for port in new.ports.iter_mut().flatten().filter(|port| port.node_port.is_none_or(|n| n == 0))
    {
        let same = |other: &&k8s_openapi::api::core::v1::ServicePort| {
            other.port == port.port
                && other.protocol.as_deref().unwrap_or("TCP")
                    == port.protocol.as_deref().unwrap_or("TCP")
        };
        let kept = old.ports.iter().flatten().find(same).and_then(|other| other.node_port);
        if let Some(kept) = kept.filter(|kept| !used.contains(kept)) {
            used.push(kept);
            port.node_port = Some(kept);
        }
    }
}

/// Drops the node ports that the old object had and the new one merely repeats.
fn forget_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let had: Vec<i32> = old.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    for port in new.ports.iter_mut().flatten() {
        if port.node_port.is_some_and(|number| had.contains(&number)) {
            port.node_port = None;
        }
    }
    if new.external_traffic_policy == old.external_traffic_policy && new.external_ips.is_none() {
        new.external_traffic_policy = None;
    }
}

fn spec(service: &Service) -> Option<&ServiceSpec> {
    service.spec.as_ref()
}

fn kind(service: &Service) -> &str {
    spec(service).and_then(|spec| spec.type_.as_deref()).unwrap_or_default()
}

fn is_external_name(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("ExternalName")
}

fn exposes_nodes(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"))
}

fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn text(field: &mut Option<String>, default: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(default.into());
    }
}
