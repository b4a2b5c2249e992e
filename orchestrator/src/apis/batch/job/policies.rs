//! What is wrong with the policies by which a Job fails or succeeds.
use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicyRule,
};
use serde_json::{Value, json};

use crate::api::indexes::Indexes;
use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{form, invalid, not_negative, one_of, required};

/// As many rules as a policy may have; upstream's.
const RULES_MAX: usize = 20;
/// As many exit codes as a rule may name; upstream's.
const EXIT_CODES_MAX: usize = 255;
/// As many conditions as a rule may name; upstream's.
const CONDITIONS_MAX: usize = 20;
/// As many bytes as the indexes of a rule may take; upstream's.
const INDEXES_MAX: usize = 64 * 1024;
/// What may be done about a failed Pod, as upstream lists it.
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
/// How exit codes are compared.
const OPERATORS: [&str; 2] = ["In", "NotIn"];
/// What a condition may be.
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Checks `podFailurePolicy`.
pub fn failure(
    errors: &mut FieldErrors,
    path: &FieldPath,
    spec: &JobSpec,
    policy: &PodFailurePolicy,
) {
    let path = path.child("rules");
    too_many(errors, &path, policy.rules.len(), RULES_MAX);
    let pod = spec.template.spec.as_ref();
    let init = pod.iter().flat_map(|pod| pod.init_containers.iter().flatten());
    let containers = pod.iter().flat_map(|pod| &pod.containers);
    let names: BTreeSet<&str> = init.chain(containers).map(|c| c.name.as_str()).collect();
    for (i, rule) in policy.rules.iter().enumerate() {
        failure_rule(errors, &path.index(i), spec, rule, &names);
    }
}

fn failure_rule(
    errors: &mut FieldErrors,
    path: &FieldPath,
    spec: &JobSpec,
    rule: &PodFailurePolicyRule,
    names: &BTreeSet<&str>,
) {
    let at = path.child("action");
    match rule.action.as_str() {
        "FailIndex" => errors.check(spec.backoff_limit_per_index.is_some(), || {
            invalid(&at, rule.action.as_str(), "requires the backoffLimitPerIndex to be set")
        }),
        action => required_of(errors, &at, action, &ACTIONS),
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(errors, &path.child("onExitCodes"), codes, names);
    }
    pod_conditions(errors, &path.child("onPodConditions"), conditions);
    let why = match (rule.on_exit_codes.is_some(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(invalid(path, Value::Null, why));
}

fn exit_codes(
    errors: &mut FieldErrors,
    path: &FieldPath,
    codes: &PodFailurePolicyOnExitCodesRequirement,
    names: &BTreeSet<&str>,
) {
    required_of(errors, &path.child("operator"), &codes.operator, &OPERATORS);
    if let Some(name) = &codes.container_name {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.check(names.contains(name.as_str()), || {
            invalid(&path.child("containerName"), name.as_str(), why)
        });
    }
    let at = path.child("values");
    if codes.values.is_empty() {
        errors.push(invalid(&at, json!(codes.values), "at least one value is required"));
    }
    too_many(errors, &at, codes.values.len(), EXIT_CODES_MAX);
    let mut seen = BTreeSet::new();
    for (i, code) in codes.values.iter().enumerate() {
        let at = at.index(i);
        errors.check(codes.operator != "In" || *code != 0, || {
            invalid(&at, *code, "must not be 0 for the In operator")
        });
        errors.check(seen.insert(code), || FieldError::Duplicate(at, json!(code)));
    }
    errors.check(codes.values.is_sorted(), || invalid(&at, json!(codes.values), "must be ordered"));
}

fn pod_conditions(
    errors: &mut FieldErrors,
    path: &FieldPath,
    patterns: &[PodFailurePolicyOnPodConditionsPattern],
) {
    too_many(errors, path, patterns.len(), CONDITIONS_MAX);
    for (i, pattern) in patterns.iter().enumerate() {
        let path = path.index(i);
        form(errors, &path.child("type"), &pattern.type_, names::qualified);
        let status = pattern.status.as_deref().unwrap_or_default();
        required_of(errors, &path.child("status"), status, &STATUSES);
    }
}

/// Checks `successPolicy`.
pub fn success(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec) {
    let Some(policy) = &spec.success_policy else { return };
    let path = path.child("rules");
    if policy.rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(required(&path, why));
    }
    too_many(errors, &path, policy.rules.len(), RULES_MAX);
    let completions = spec.completions.unwrap_or_default();
    for (i, rule) in policy.rules.iter().enumerate() {
        success_rule(errors, &path.index(i), rule, completions);
    }
}

fn success_rule(
    errors: &mut FieldErrors,
    path: &FieldPath,
    rule: &SuccessPolicyRule,
    completions: i32,
) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(required(path, why));
    }
    let mut named = None;
    if let Some(text) = &rule.succeeded_indexes {
        let at = path.child("succeededIndexes");
        errors.check(text.len() <= INDEXES_MAX, || FieldError::TooLong(at.clone(), INDEXES_MAX));
        match Indexes::parse(text, completions) {
            Ok(indexes) => named = Some(indexes.len()),
            Err(why) => {
                named = Some(0);
                let why = format!("error parsing succeededIndexes: {why}");
                errors.push(invalid(&at, text.as_str(), why));
            }
        }
    }
    let Some(count) = rule.succeeded_count else { return };
    let at = path.child("succeededCount");
    not_negative(errors, &at, Some(count.into()));
    errors.check(count <= completions, || {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        invalid(&at, count, why)
    });
    if let Some(named) = named {
        errors.check(count <= named, || {
            let why = format!(
                "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
            );
            invalid(&at, count, why)
        });
    }
}

fn too_many(errors: &mut FieldErrors, path: &FieldPath, count: usize, most: usize) {
    errors.check(count <= most, || FieldError::TooMany(path.clone(), count, most));
}

/// One of `supported`, which the refusal of none at all lists too.
pub(super) fn required_of(
    errors: &mut FieldErrors,
    path: &FieldPath,
    text: &str,
    supported: &[&str],
) {
    if text.is_empty() {
        let quoted: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
        errors.push(required(path, &format!("valid values: [{}]", quoted.join(" "))));
    } else {
        one_of(errors, path, text, supported);
    }
}
