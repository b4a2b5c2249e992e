//! What is wrong with how a Pod wants to be spread.
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;

use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{form, invalid, label_selector, one_of, required};

/// Checks all constraints.
pub fn validate(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    let mut seen = BTreeSet::new();
    for (i, wanted) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = path.index(i);
        errors.check(wanted.max_skew > 0, || {
            invalid(&path.child("maxSkew"), wanted.max_skew, "must be greater than zero")
        });
        let key = wanted.topology_key.as_str();
        topology_key(errors, &path.child("topologyKey"), key);
        let action = wanted.when_unsatisfiable.as_str();
        let at = path.child("whenUnsatisfiable");
        one_of(errors, &at, action, &["DoNotSchedule", "ScheduleAnyway"]);
        errors.check(seen.insert((key, action)), || {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            FieldError::Duplicate(path, json!(format!("{{{key}, {action}}}")))
        });
        if let Some(domains) = wanted.min_domains {
            let path = path.child("minDomains");
            errors.check(domains > 0, || invalid(&path, domains, "must be greater than zero"));
            errors.check(action == "DoNotSchedule", || {
                let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway";
                invalid(&path, domains, why)
            });
        }
        if let Some(selector) = &wanted.label_selector {
            label_selector(errors, &path.child("labelSelector"), selector);
        }
    }
}

/// The label of nodes that says which belong together.
pub fn topology_key(errors: &mut FieldErrors, path: &FieldPath, key: &str) {
    if key.is_empty() {
        errors.push(required(path, "can not be empty"));
    } else {
        form(errors, path, key, names::qualified);
    }
}
