//! What is wrong with where a Pod wants to be.
use k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, WeightedPodAffinityTerm,
};

use super::topology::topology_key;
use crate::api::{FieldErrors, FieldPath, names};
use crate::apis::checks::{forbidden, form, invalid, label_selector, required};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks it.
pub fn validate(errors: &mut FieldErrors, path: &FieldPath, wanted: &Affinity) {
    if let Some(node) = &wanted.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            let path = path.child(REQUIRED).child("nodeSelectorTerms");
            if selector.node_selector_terms.is_empty() {
                let why = "must have at least one node selector term";
                errors.push(required(&path, why));
            }
            for (i, term) in selector.node_selector_terms.iter().enumerate() {
                node_term(errors, &path.index(i), term);
            }
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (i, term) in preferred.enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(errors, &path, term.weight);
            node_term(errors, &path.child("preference"), &term.preference);
        }
    }
    if let Some(pods) = &wanted.pod_affinity {
        let (must, may) = (
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        );
        pod_terms(errors, &path.child("podAffinity"), must.as_deref(), may.as_deref());
    }
    if let Some(pods) = &wanted.pod_anti_affinity {
        let (must, may) = (
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        );
        pod_terms(errors, &path.child("podAntiAffinity"), must.as_deref(), may.as_deref());
    }
}

fn weight(errors: &mut FieldErrors, path: &FieldPath, weight: i32) {
    errors.check((1..=100).contains(&weight), || {
        invalid(&path.child("weight"), weight, "must be in the range 1-100")
    });
}

fn node_term(errors: &mut FieldErrors, path: &FieldPath, term: &NodeSelectorTerm) {
    for (i, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(i);
        operator(errors, &path, requirement);
        form(errors, &path.child("key"), &requirement.key, names::qualified);
    }
    for (i, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(i);
        let count = requirement.values.as_ref().map_or(0, Vec::len);
        match requirement.operator.as_str() {
            "In" | "NotIn" => errors.check(count == 1, || {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                required(&path.child("values"), why)
            }),
            other => {
                errors.push(invalid(&path.child("operator"), other, "not a valid selector operator"));
            }
        }
        errors.check(requirement.key == "metadata.name", || {
            invalid(&path.child("key"), requirement.key.as_str(), "not a valid field selector key")
        });
    }
}

fn operator(errors: &mut FieldErrors, path: &FieldPath, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let at = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" => errors.check(!values.is_empty(), || {
            required(&at, "must be specified when `operator` is 'In' or 'NotIn'")
        }),
        "Exists" | "DoesNotExist" => errors.check(values.is_empty(), || {
            forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        }),
        "Gt" | "Lt" => errors.check(values.len() == 1, || {
            required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'")
        }),
        other => {
            errors.push(invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
}

fn pod_terms(
    errors: &mut FieldErrors,
    path: &FieldPath,
    must: Option<&[PodAffinityTerm]>,
    may: Option<&[WeightedPodAffinityTerm]>,
) {
    for (i, term) in must.into_iter().flatten().enumerate() {
        pod_term(errors, &path.child(REQUIRED).index(i), term);
    }
    for (i, term) in may.into_iter().flatten().enumerate() {
        let path = path.child(PREFERRED).index(i);
        weight(errors, &path, term.weight);
        pod_term(errors, &path.child("podAffinityTerm"), &term.pod_affinity_term);
    }
}

fn pod_term(errors: &mut FieldErrors, path: &FieldPath, term: &PodAffinityTerm) {
    for (field, selector) in
        [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            label_selector(errors, &path.child(field), selector);
        }
    }
    for name in term.namespaces.iter().flatten() {
        form(errors, &path.child("namespace"), name, names::dns_label);
    }
    topology_key(errors, &path.child("topologyKey"), &term.topology_key);
}
