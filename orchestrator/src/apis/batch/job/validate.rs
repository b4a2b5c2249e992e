//! What is wrong with a Job, and what of it may not change.
use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::{NAME_LABELS, UID_LABELS, is, is_indexed, policies};
use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{
    domain_prefixed_path, immutable, invalid, label_selector, not_negative, one_of, required,
    selects,
};
use crate::apis::core::pod_template;

/// As many bytes as `managedBy` may have; upstream's, as the next ones.
const MANAGED_BY_MAX: usize = 63;
/// As many Pods side by side as an indexed Job may have: their indexes are listed in the status.
const PARALLELISM_MAX: i32 = 100_000;
const FAILED_INDEXES_MAX: i32 = 100_000;
/// From so many completions on, what is listed in the status is bounded more tightly.
const MANY_COMPLETIONS: i32 = 100_000;
const PARALLELISM_OF_MANY: i32 = 10_000;
const FAILED_INDEXES_OF_MANY: i32 = 10_000;
/// When the Pods of an ended one are replaced.
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];

/// Checks a new Job.
pub fn created(errors: &mut FieldErrors, job: &Job) {
    generated_selector(errors, job);
    let empty = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&empty);
    let path = FieldPath::new("spec");
    selected(errors, &path, spec);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if let Some(completions) = spec.completions.filter(|count| is_indexed(spec) && *count > 0) {
        // The last Pod's host name must be one.
        let longest = format!("{name}-{}", completions - 1);
        errors.check(names::dns_label(&longest).is_ok(), || {
            let why = format!("will not able to create pod with invalid DNS label: {longest}");
            invalid(&FieldPath::new("metadata").child("name"), name, why)
        });
    }
}

/// Checks a new version of a Job.
pub fn updated(errors: &mut FieldErrors, new: &Job, old: &Job) {
    let path = FieldPath::new("spec");
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else {
        return created(errors, new);
    };
    selected(errors, &path, spec);
    kept_completions(errors, &path, spec, before);
    immutable(errors, &path.child("selector"), &spec.selector, &before.selector);
    kept_template(errors, &path.child("template"), new, old);
    let at = |field| path.child(field);
    immutable(errors, &at("completionMode"), &spec.completion_mode, &before.completion_mode);
    immutable(
        errors,
        &at("podFailurePolicy"),
        &spec.pod_failure_policy,
        &before.pod_failure_policy,
    );
    let per_index = (&spec.backoff_limit_per_index, &before.backoff_limit_per_index);
    immutable(errors, &at("backoffLimitPerIndex"), per_index.0, per_index.1);
    immutable(errors, &at("managedBy"), &spec.managed_by, &before.managed_by);
    immutable(errors, &at("successPolicy"), &spec.success_policy, &before.success_policy);
}

/// Checks the template of Jobs; `path` is where it stands.
pub fn validate_template_spec(
    errors: &mut FieldErrors,
    path: &FieldPath,
    template: &JobTemplateSpec,
) {
    let path = path.child("spec");
    let empty = JobSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    validate_spec(errors, &path, spec);
    if let Some(selector) = &spec.selector {
        let why = "`selector` will be auto-generated";
        errors.push(invalid(&path.child("selector"), json!(selector), why));
    }
    if spec.manual_selector == Some(true) {
        let supported = ["nil", "false"].map(str::to_owned).to_vec();
        let at = path.child("manualSelector");
        errors.push(FieldError::NotSupported(at, json!(true), supported));
    }
}

/// What a Job that is too big for its status warns of.
pub fn size_warning(spec: &JobSpec, path: &FieldPath) -> Option<String> {
    let many = spec.completions.is_some_and(|count| count > MANY_COMPLETIONS)
        && spec.parallelism.is_some_and(|count| count > PARALLELISM_OF_MANY);
    (is_indexed(spec) && many).then(|| {
        format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            path
        )
    })
}

/// The labels that were generated are there and say what they should.
fn generated_selector(errors: &mut FieldErrors, job: &Job) {
    let Some(spec) = &job.spec else { return };
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true))
    else {
        return;
    };
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let path = FieldPath::new("spec").child("template").child("metadata").child("labels");
    let expected: BTreeMap<String, String> = [
        (UID_LABELS[0], uid),
        (NAME_LABELS[0], name),
        (UID_LABELS[1], uid),
        (NAME_LABELS[1], name),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into();
    for (label, value) in &expected {
        let path = path.key(label);
        let why = format!("must be '{value}'");
        match labels.and_then(|labels| labels.get(label)) {
            None => errors.push(required(&path, &why)),
            Some(found) => errors.check(found == value, || invalid(&path, json!(labels), why)),
        }
    }
    errors.check(selects(selector, Some(&expected)), || {
        let path = FieldPath::new("spec").child("selector");
        invalid(&path, json!(selector), "`selector` not auto-generated")
    });
}

/// The spec, and that the selector selects the template's Pods.
fn selected(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec) {
    validate_spec(errors, path, spec);
    let Some(selector) = &spec.selector else {
        errors.push(required(&path.child("selector"), ""));
        return;
    };
    label_selector(errors, &path.child("selector"), selector);
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    errors.check(selects(selector, labels), || {
        let path = path.child("template").child("metadata").child("labels");
        invalid(&path, json!(labels), "`selector` does not match template `labels`")
    });
}

fn validate_spec(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec) {
    let numbers = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ];
    for (field, number) in numbers {
        not_negative(errors, &path.child(field), number);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let at = path.child("backoffLimitPerIndex");
        errors.push(required(&at, "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = &spec.managed_by {
        let at = path.child("managedBy");
        domain_prefixed_path(errors, &at, manager);
        errors.check(manager.len() <= MANAGED_BY_MAX, || FieldError::TooLong(at, MANAGED_BY_MAX));
    }
    let mode = spec.completion_mode.as_deref().unwrap_or("NonIndexed");
    one_of(errors, &path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    if mode == "Indexed" {
        indexed(errors, path, spec);
    } else {
        let only_indexed = [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(Value::from)),
            ("maxFailedIndexes", spec.max_failed_indexes.map(Value::from)),
            ("successPolicy", spec.success_policy.as_ref().map(|policy| json!(policy))),
        ];
        for (field, value) in only_indexed {
            let Some(value) = value else { continue };
            errors.push(invalid(&path.child(field), value, "requires indexed completion mode"));
        }
    }
    let at = path.child("podReplacementPolicy");
    let replacement = spec.pod_replacement_policy.as_deref();
    if let Some(policy) = &spec.pod_failure_policy {
        policies::failure(errors, &path.child("podFailurePolicy"), spec, policy);
        one_of(errors, &at, replacement.unwrap_or("Failed"), &["Failed"]);
    } else if let Some(replacement) = replacement {
        one_of(errors, &at, replacement, &REPLACEMENTS);
    }
    template(errors, &path.child("template"), spec);
}

/// What only Jobs with indexes have.
fn indexed(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec) {
    let at = |field| path.child(field);
    let most = |errors: &mut FieldErrors, field, number: Option<i32>, most: i32, more: &str| {
        if let Some(number) = number {
            let why = format!("must be less than or equal to {most}{more}");
            errors.check(number <= most, || invalid(&at(field), number, why));
        }
    };
    let (parallelism, failures) = (spec.parallelism, spec.max_failed_indexes);
    let when = " when completion mode is Indexed";
    most(errors, "parallelism", parallelism, PARALLELISM_MAX, when);
    let Some(completions) = spec.completions else {
        errors.push(required(&at("completions"), "when completion mode is Indexed"));
        return;
    };
    if let Some(failures) = failures {
        errors.check(failures <= completions, || {
            invalid(&at("maxFailedIndexes"), failures, "must be less than or equal to completions")
        });
    }
    most(errors, "maxFailedIndexes", failures, FAILED_INDEXES_MAX, "");
    if completions > MANY_COMPLETIONS && spec.backoff_limit_per_index.is_some() {
        let when = format!(
            " when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        );
        errors.check(failures.is_some(), || {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            required(&at("maxFailedIndexes"), &why)
        });
        most(errors, "parallelism", parallelism, PARALLELISM_OF_MANY, &when);
        most(errors, "maxFailedIndexes", failures, FAILED_INDEXES_OF_MANY, &when);
    }
    policies::success(errors, &at("successPolicy"), spec);
}

fn template(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec) {
    pod_template::validate_template(errors, path, &spec.template);
    let pod = spec.template.spec.as_ref();
    let restart = pod.and_then(|pod| pod.restart_policy.as_deref()).unwrap_or_default();
    let at = path.child("spec").child("restartPolicy");
    match restart {
        "" | "Always" => {
            errors.push(required(&at, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(invalid(&at, restart, why));
        }
        other => one_of(errors, &at, other, &["OnFailure", "Never"]),
    }
}

/// Completions stay, but an indexed Job may grow and shrink with its parallelism.
fn kept_completions(errors: &mut FieldErrors, path: &FieldPath, new: &JobSpec, old: &JobSpec) {
    let at = path.child("completions");
    if !is_indexed(new) {
        immutable(errors, &at, &new.completions, &old.completions);
    } else if new.completions != old.completions && new.completions.is_some() {
        errors.check(new.completions == new.parallelism, || {
            let why = "can only be modified in tandem with spec.parallelism";
            invalid(&at, json!(new.completions), why)
        });
    }
}

/// The template stays, but for where its Pods are placed while the Job has not begun.
fn kept_template(errors: &mut FieldErrors, path: &FieldPath, new: &Job, old: &Job) {
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return };
    let suspended = |job: &Job| job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    let begun = old.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let not_running = suspended(old) && (!begun || is(old, "Suspended"));
    let mut allowed = before.template.clone();
    if not_running {
        placed_alike(&mut allowed, &spec.template);
    }
    errors.check(spec.template == allowed, || {
        FieldError::immutable(path.clone(), json!(spec.template))
    });
}

/// Gives `old` the scheduling directives of `new`.
fn placed_alike(old: &mut PodTemplateSpec, new: &PodTemplateSpec) {
    let (Some(pod), Some(wanted)) = (&mut old.spec, &new.spec) else { return };
    let node_affinity =
        wanted.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    if node_affinity.is_some() || pod.affinity.is_some() {
        let affinity = pod.affinity.get_or_insert_default();
        affinity.node_affinity = node_affinity;
        if wanted.affinity.is_none()
            && affinity.pod_affinity.is_none()
            && affinity.pod_anti_affinity.is_none()
        {
            pod.affinity = None;
        }
    }
    pod.node_selector.clone_from(&wanted.node_selector);
    pod.tolerations.clone_from(&wanted.tolerations);
    pod.scheduling_gates.clone_from(&wanted.scheduling_gates);
    let metadata = old.metadata.get_or_insert_default();
    let wanted = new.metadata.clone().unwrap_or_default();
    metadata.annotations = wanted.annotations;
    metadata.labels = wanted.labels;
}
