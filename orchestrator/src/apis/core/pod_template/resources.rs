//! What is wrong with the resources a container asks for.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::api::{FieldErrors, FieldPath, Quantity, names};
use crate::apis::checks::{form, invalid, quantity};

/// What every node has for containers.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Other names without a domain, which quotas know.
const STANDARD: [&str; 12] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

type Amounts = BTreeMap<String, resource::Quantity>;

/// Checks what a container asks for and may use.
pub fn validate(errors: &mut FieldErrors, path: &FieldPath, wanted: &ResourceRequirements) {
    amounts(errors, &path.child("limits"), wanted.limits.as_ref());
    amounts(errors, &path.child("requests"), wanted.requests.as_ref());
    let path = path.child("requests");
    for (name, request) in wanted.requests.iter().flatten() {
        let limit = wanted.limits.as_ref().and_then(|limits| limits.get(name));
        let parse = |amount: &resource::Quantity| Quantity::try_from(amount).ok();
        let (Some(asked), Some(limit)) = (parse(request), limit.and_then(parse)) else {
            if limit.is_none() && is_extended(name) {
                let why = format!("Limit must be set for non overcommitable resources: {name}");
                errors.push(crate::apis::checks::required(&path.child(name), &why));
            }
            continue;
        };
        if is_extended(name) {
            let why = format!("must be equal to {name} limit of {limit}");
            errors.check(asked == limit, || invalid(&path, asked.to_string(), why));
        } else {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.check(asked <= limit, || invalid(&path, asked.to_string(), why));
        }
    }
}

/// Checks a list of amounts: their names, and that they parse.
pub fn amounts(errors: &mut FieldErrors, path: &FieldPath, all: Option<&Amounts>) {
    for (name, amount) in all.into_iter().flatten() {
        let path = path.key(name);
        resource_name(errors, &path, name);
        let parsed = quantity(errors, &path, amount);
        if let Some(parsed) = parsed.filter(|_| is_extended(name)) {
            errors.check(parsed.is_whole(), || {
                invalid(&path, amount.0.as_str(), "must be an integer")
            });
        }
    }
}

fn resource_name(errors: &mut FieldErrors, path: &FieldPath, name: &str) {
    form(errors, path, name, names::qualified);
    if name.contains('/') || OF_CONTAINERS.contains(&name) || name.starts_with("hugepages-") {
        return;
    }
    if !STANDARD.contains(&name) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(invalid(path, name, why));
    }
    errors.push(invalid(path, name, "must be a standard resource for containers"));
}

/// Whether a resource is one that some domain defines, which is never shared.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"))
}
