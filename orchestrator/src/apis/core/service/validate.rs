//! What is wrong with a Service.
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{exposes_nodes, is_external_name};
use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{
    cidr, forbidden, form, immutable, invalid, ip, labels, one_of, port, required,
};

/// The types.
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// What a port may speak.
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// What traffic policies there are.
const POLICIES: [&str; 2] = ["Cluster", "Local"];
/// Of how many families of addresses a Service may have some.
const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
/// Seconds of a day, the longest that a client may stay with its endpoint.
const AFFINITY_MAX: i32 = 86_400;

/// All that is wrong with `new`.
pub fn service(new: &Service, old: Option<&Service>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("spec");
    let Some(spec) = &new.spec else {
        errors.push(required(&path.child("ports"), ""));
        return errors;
    };
    let kind = spec.type_.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !headless && !is_external_name(spec) {
        errors.push(required(&path.child("ports"), ""));
    }
    if headless && exposes_nodes(spec) {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(invalid(&path.child("clusterIPs").index(0), "None", why));
    }
    if is_external_name(spec) {
        external_name(&mut errors, &path, spec);
    }
    all_ports(&mut errors, &path.child("ports"), spec);
    labels(&mut errors, &path.child("selector"), spec.selector.as_ref());
    affinity(&mut errors, &path, spec);
    addresses(&mut errors, &path, spec);
    families(&mut errors, &path, spec);
    one_of(&mut errors, &path.child("type"), kind, &TYPES);
    traffic(&mut errors, &path, spec);
    if let Some(old) = old.and_then(|old| old.spec.as_ref()) {
        kept(&mut errors, &path, spec, old);
    }
    errors
}

fn external_name(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    for (field, set) in [
        ("clusterIP", spec.cluster_ip.as_ref().is_some_and(|ip| !ip.is_empty())),
        ("clusterIPs", spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty())),
        ("ipFamilies", spec.ip_families.as_ref().is_some_and(|all| !all.is_empty())),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        errors.check(!set, || {
            forbidden(&path.child(field), "may not be set for ExternalName services")
        });
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    let path = path.child("externalName");
    // A trailing dot makes a name absolute.
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.push(required(&path, "")),
        name => form(errors, &path, name, names::dns_subdomain),
    }
}

fn all_ports(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (mut named, mut numbers, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, item) in ports.iter().enumerate() {
        let path = path.index(i);
        one_port(errors, &path, item, ports.len() > 1);
        let name = item.name.as_deref().unwrap_or_default();
        errors.check(name.is_empty() || named.insert(name), || {
            FieldError::Duplicate(path.child("name"), json!(name))
        });
        let protocol = item.protocol.as_deref().unwrap_or_default();
        errors.check(numbers.insert((protocol, item.port)), || {
            FieldError::Duplicate(path.clone(), json!({"port": item.port, "protocol": protocol}))
        });
        let Some(number) = item.node_port.filter(|&number| number != 0) else { continue };
        let path = path.child("nodePort");
        if exposes_nodes(spec) {
            port(errors, &path, number);
            errors.check(nodes.insert((protocol, number)), || {
                FieldError::Duplicate(path.clone(), json!(number))
            });
        } else {
            errors.push(forbidden(&path, "may not be used when `type` is 'ClusterIP'"));
        }
    }
}

fn one_port(errors: &mut FieldErrors, path: &FieldPath, item: &ServicePort, must_have_name: bool) {
    match item.name.as_deref() {
        None | Some("") if must_have_name => errors.push(required(&path.child("name"), "")),
        None | Some("") => {}
        Some(name) => form(errors, &path.child("name"), name, names::dns_label),
    }
    port(errors, &path.child("port"), item.port);
    let protocol = item.protocol.as_deref().unwrap_or_default();
    one_of(errors, &path.child("protocol"), protocol, &PROTOCOLS);
    let target = path.child("targetPort");
    match &item.target_port {
        Some(IntOrString::Int(number)) => port(errors, &target, *number),
        Some(IntOrString::String(name)) => form(errors, &target, name, names::port_name),
        None => {}
    }
    if let Some(protocol) = &item.app_protocol {
        form(errors, &path.child("appProtocol"), protocol, names::qualified);
    }
}

fn affinity(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    let word = spec.session_affinity.as_deref().unwrap_or_default();
    one_of(errors, &path.child("sessionAffinity"), word, &["ClientIP", "None"]);
    let path = path.child("sessionAffinityConfig");
    let config = spec.session_affinity_config.as_ref();
    if word == "None" && config.is_some() {
        let why = "must not be set when session affinity is None";
        errors.push(forbidden(&path, why));
    }
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    if let Some(seconds) = seconds.filter(|_| word == "ClientIP") {
        errors.check((1..=AFFINITY_MAX).contains(&seconds), || {
            let why = format!("must be greater than 0 and less than {AFFINITY_MAX}");
            invalid(&path.child("clientIP").child("timeoutSeconds"), seconds, why)
        });
    }
}

fn addresses(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    for (i, address) in spec.external_ips.iter().flatten().enumerate() {
        ip(errors, &path.child("externalIPs").index(i), address);
    }
    for (i, range) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        cidr(errors, &path.child("loadBalancerSourceRanges").index(i), range.trim());
    }
    if is_external_name(spec) {
        return;
    }
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let path = path.child("clusterIPs");
    let one = spec.cluster_ip.as_deref().unwrap_or_default();
    if all.len() > 1 {
        // One range of addresses, IPv4.
        errors.push(FieldError::TooMany(path.clone(), all.len(), 1));
    }
    for (i, address) in all.iter().enumerate() {
        if address != "None" {
            ip(errors, &path.index(i), address);
        }
    }
    errors.check(all.first().is_none_or(|first| first == one), || {
        invalid(&path, json!(all), "first value must match `clusterIP`")
    });
}

/// The cluster has IPv4 alone; a headless Service whose endpoints others write may have any.
fn families(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    let at = path.child("ipFamilyPolicy");
    let policy = spec.ip_family_policy.as_deref();
    if let Some(policy) = policy {
        one_of(errors, &at, policy, &FAMILY_POLICIES);
    }
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    if is_external_name(spec) || (spec.cluster_ip.as_deref() == Some("None") && !selects) {
        return;
    }
    if policy == Some("RequireDualStack") {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(invalid(&at, "RequireDualStack", why));
    }
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        let at = path.child("ipFamilies").index(i);
        match family.as_str() {
            "IPv4" => {}
            "IPv6" => errors.push(invalid(&at, "IPv6", "not configured on this cluster")),
            other => one_of(errors, &at, other, &["IPv4", "IPv6"]),
        }
    }
}

fn traffic(errors: &mut FieldErrors, path: &FieldPath, spec: &ServiceSpec) {
    if let Some(policy) = &spec.external_traffic_policy {
        let path = path.child("externalTrafficPolicy");
        let external = exposes_nodes(spec)
            || spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty());
        if external {
            one_of(errors, &path, policy, &POLICIES);
        } else {
            let why = "may only be set for externally-accessible services";
            errors.push(invalid(&path, policy.as_str(), why));
        }
    }
    if let Some(policy) = &spec.internal_traffic_policy {
        one_of(errors, &path.child("internalTrafficPolicy"), policy, &POLICIES);
    }
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    for (field, set) in [
        ("allocateLoadBalancerNodePorts", spec.allocate_load_balancer_node_ports.is_some()),
        ("loadBalancerClass", spec.load_balancer_class.is_some()),
    ] {
        errors.check(balanced || !set, || {
            forbidden(&path.child(field), "may only be used when `type` is 'LoadBalancer'")
        });
    }
    if let Some(class) = &spec.load_balancer_class {
        form(errors, &path.child("loadBalancerClass"), class, names::qualified);
    }
}

fn kept(errors: &mut FieldErrors, path: &FieldPath, new: &ServiceSpec, old: &ServiceSpec) {
    if is_external_name(new) || is_external_name(old) {
        return;
    }
    let address = |spec: &ServiceSpec| spec.cluster_ip.clone().unwrap_or_default();
    if address(old).is_empty() {
        return;
    }
    if new.cluster_ip != old.cluster_ip {
        let why = "may not change once set";
        let all = new.cluster_ips.clone().unwrap_or_default();
        errors.push(invalid(&path.child("clusterIPs").index(0), json!(all), why));
    }
    let class = &path.child("loadBalancerClass");
    if new.type_ == old.type_ && old.load_balancer_class.is_some() {
        immutable(errors, class, &new.load_balancer_class, &old.load_balancer_class);
    }
}
