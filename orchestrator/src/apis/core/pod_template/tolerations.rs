//! What is wrong with the taints a Pod puts up with.
use k8s_openapi::api::core::v1::Toleration;

use crate::api::{FieldErrors, FieldPath, names};
use crate::apis::checks::{form, invalid, one_of};

/// What a taint may do.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks all of them.
pub fn validate(errors: &mut FieldErrors, path: &FieldPath, tolerations: &[Toleration]) {
    for (i, toleration) in tolerations.iter().enumerate() {
        one(errors, &path.index(i), toleration);
    }
}

fn one(errors: &mut FieldErrors, path: &FieldPath, toleration: &Toleration) {
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let operator = toleration.operator.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let at = path.child("operator");
    if !key.is_empty() {
        form(errors, &path.child("key"), key, names::qualified);
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(invalid(&at, operator, why));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(invalid(&path.child("effect"), effect, why));
    }
    match operator {
        "" | "Equal" => form(errors, &at, value, names::label_value),
        "Exists" => errors.check(value.is_empty(), || {
            invalid(&at, value, "value must be empty when `operator` is 'Exists'")
        }),
        other => one_of(errors, &at, other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        one_of(errors, &path.child("effect"), effect, &EFFECTS);
    }
}
