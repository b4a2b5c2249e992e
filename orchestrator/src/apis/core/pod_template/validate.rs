//! What is wrong with a Pod's spec.
use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec, PodTemplateSpec};

use super::{affinity, containers, probes, resources, tolerations, topology, volumes};
use crate::api::{FieldErrors, FieldPath, names};
use crate::apis::checks::{
    annotations, forbidden, form, invalid, ip, labels, one_of, required, required_one_of,
};

/// What happens when a container ends.
const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
/// Where names are looked up.
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// As many name servers as a resolver takes.
const NAMESERVERS_MAX: usize = 3;
/// As many search domains as a Pod may name.
const SEARCHES_MAX: usize = 32;

/// Checks a template; `path` is where it stands.
pub fn validate_template(errors: &mut FieldErrors, path: &FieldPath, template: &PodTemplateSpec) {
    if let Some(metadata) = &template.metadata {
        labels(errors, &path.child("labels"), metadata.labels.as_ref());
        annotations(errors, &path.child("annotations"), metadata.annotations.as_ref());
    }
    let path = path.child("spec");
    let Some(spec) = &template.spec else {
        errors.push(required(&path.child("containers"), ""));
        return;
    };
    validate_spec(errors, &path, spec);
    probes::sleeps(errors, &path, spec);
    if spec.ephemeral_containers.as_ref().is_some_and(|all| !all.is_empty()) {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(forbidden(&path.child("ephemeralContainers"), why));
    }
}

/// Checks a spec; `path` is where it stands.
pub fn validate_spec(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let volumes = volumes::validate(errors, &path.child("volumes"), spec);
    containers::validate(errors, path, spec, &volumes);
    let policy = spec.restart_policy.as_deref();
    required_one_of(errors, &path.child("restartPolicy"), policy, &RESTART_POLICIES);
    dns(errors, path, spec);
    labels(errors, &path.child("nodeSelector"), spec.node_selector.as_ref());
    if spec.host_network == Some(true) {
        let why = "Pods have a network of their own in user space, there is no host network for them; use a Service of type NodePort, an Ingress or a hostPort instead";
        errors.push(forbidden(&path.child("hostNetwork"), why));
    }
    security(errors, path, spec);
    for (i, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let path = path.child("imagePullSecrets").index(i).child("name");
        errors.check(!secret.name.is_empty(), || required(&path, ""));
    }
    if let Some(wanted) = &spec.affinity {
        affinity::validate(errors, &path.child("affinity"), wanted);
    }
    for (i, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.child("readinessGates").index(i).child("conditionType");
        form(errors, &path, &gate.condition_type, names::qualified);
    }
    topology::validate(errors, &path.child("topologySpreadConstraints"), spec);
    referred_names(errors, path, spec);
    if let Some(seconds) = spec.active_deadline_seconds {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.check((1..=i64::from(i32::MAX)).contains(&seconds), || {
            invalid(&path.child("activeDeadlineSeconds"), seconds, why)
        });
    }
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        host_alias(errors, &path.child("hostAliases").index(i), alias);
    }
    tolerations::validate(
        errors,
        &path.child("tolerations"),
        spec.tolerations.as_deref().unwrap_or_default(),
    );
    resources::amounts(errors, &path.child("overhead"), spec.overhead.as_ref());
    for (i, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        form(errors, &path.child("schedulingGates").index(i), &gate.name, names::qualified);
    }
}

fn referred_names(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let all: [(&str, &Option<String>, crate::apis::checks::Form); 6] = [
        ("serviceAccountName", &spec.service_account_name, names::dns_subdomain),
        ("nodeName", &spec.node_name, names::dns_subdomain),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
        ("priorityClassName", &spec.priority_class_name, names::dns_subdomain),
        ("runtimeClassName", &spec.runtime_class_name, names::dns_subdomain),
    ];
    for (field, name, check) in all {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            form(errors, &path.child(field), name, check);
        }
    }
}

fn dns(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    one_of(errors, &path.child("dnsPolicy"), policy, &DNS_POLICIES);
    let empty = PodDNSConfig::default();
    let config = spec.dns_config.as_ref().unwrap_or(&empty);
    let path = path.child("dnsConfig");
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let at = path.child("nameservers");
    if policy == "None" && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(required(&at, why));
    }
    errors.check(servers.len() <= NAMESERVERS_MAX, || {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        invalid(&at, serde_json::json!(servers), why)
    });
    for (i, server) in servers.iter().enumerate() {
        ip(errors, &at.index(i), server);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let at = path.child("searches");
    errors.check(searches.len() <= SEARCHES_MAX, || {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        invalid(&at, serde_json::json!(searches), why)
    });
    for (i, domain) in searches.iter().enumerate() {
        let name = domain.strip_suffix('.').unwrap_or(domain);
        form(errors, &at.index(i), name, names::dns_subdomain);
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        let path = path.child("options").index(i);
        let named = option.name.as_ref().is_some_and(|name| !name.is_empty());
        errors.check(named, || required(&path, "must not be empty"));
    }
}

fn security(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let Some(context) = &spec.security_context else { return };
    let path = path.child("securityContext");
    for (field, id) in [
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ] {
        user_id(errors, &path.child(field), id);
    }
    for (i, id) in context.supplemental_groups.iter().flatten().enumerate() {
        user_id(errors, &path.child("supplementalGroups").index(i), Some(*id));
    }
}

/// A numeric id of a user or group.
pub(super) fn user_id(errors: &mut FieldErrors, path: &FieldPath, id: Option<i64>) {
    let Some(id) = id else { return };
    errors.check((0..=i64::from(i32::MAX)).contains(&id), || {
        invalid(path, id, "must be between 0 and 2147483647, inclusive")
    });
}

fn host_alias(errors: &mut FieldErrors, path: &FieldPath, alias: &HostAlias) {
    ip(errors, &path.child("ip"), &alias.ip);
    for name in alias.hostnames.iter().flatten() {
        form(errors, &path.child("hostnames"), name, names::dns_subdomain);
    }
}
