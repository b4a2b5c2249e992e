//! `jobs.batch`

mod policies;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use serde_json::json;

use crate::api::{
    Column, FieldErrors, FieldPath, Operation, SelectableField, Strategy, Subresource,
    human_duration,
};
use crate::apis::apps::template;
use crate::apis::checks::selector_text;
use crate::apis::core::pod_template;

pub(super) use validate::validate_template_spec;

/// Labels that tell a Pod's Job, with and without the prefix of the group.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// Retries before a Job fails.
const BACKOFF_LIMIT: i32 = 6;

/// The `jobs.batch` resource.
#[derive(Debug)]
pub struct Jobs;

impl Strategy for Jobs {
    type Kind = Job;

    const CATEGORIES: &'static [&'static str] = &["all"];
    const ORPHANS_BY_DEFAULT: Option<&'static str> = Some(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
    );
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<Job>] = &[
        Column::new("Status", "How it is getting on", |j, _| json!(state(j))),
        Column::new("Completions", "Pods that succeeded, of those wanted", |j, _| {
            json!(completions(j))
        }),
        Column::new("Duration", "How long it has been active", |j, now| json!(duration(j, now))),
        Column::new("Containers", "Names of each container in the template.", |j, _| {
            json!(template::container_names(spec(j).map(|spec| &spec.template)))
        })
        .wide(),
        Column::new("Images", "Images referenced by each container in the template.", |j, _| {
            json!(template::images(spec(j).map(|spec| &spec.template)))
        })
        .wide(),
        Column::new("Selector", "Label selector for its Pods", |j, _| {
            let selector = spec(j).and_then(|spec| spec.selector.as_ref());
            json!(selector.map_or_else(|| "<none>".into(), selector_text))
        })
        .wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Job>] = &[SelectableField {
        path: "status.successful",
        value: |j| {
            let succeeded = j.status.as_ref().and_then(|status| status.succeeded);
            succeeded.unwrap_or_default().to_string()
        },
    }];
    const HAS_GENERATION: bool = true;

    fn default(&self, job: &mut Job) {
        let Some(spec) = &mut job.spec else { return };
        defaults(spec);
        let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        if job.metadata.labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
            && labels.is_some()
        {
            job.metadata.labels = labels.cloned();
        }
    }

    fn prepare(&self, job: &mut Job, operation: Operation<'_, Job>) {
        let (uid, name) = (job.metadata.uid.clone(), job.metadata.name.clone());
        let Some(spec) = &mut job.spec else { return };
        if matches!(operation, Operation::Create) && spec.manual_selector != Some(true) {
            generate_selector(spec, &uid.unwrap_or_default(), &name.unwrap_or_default());
        }
    }

    fn validate(&self, new: &Job, operation: Operation<'_, Job>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match operation {
            Operation::UpdateStatus(old) => status::validate(&mut errors, new, old),
            Operation::Create => validate::created(&mut errors, new),
            Operation::Update(old) => validate::updated(&mut errors, new, old),
        }
        errors
    }

    fn warnings(&self, job: &Job) -> Vec<String> {
        let Some(spec) = spec(job) else { return Vec::new() };
        let mut warnings = pod_template::template_warnings(&spec.template);
        warnings.extend(validate::size_warning(spec, &FieldPath::new("spec")));
        warnings
    }
}

/// Fills in a spec, that of a Job or of the template of one.
pub(super) fn defaults(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    // Whoever limits retries per index does not limit them in all.
    let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { BACKOFF_LIMIT };
    spec.backoff_limit.get_or_insert(limit);
    spec.completion_mode.get_or_insert_with(|| "NonIndexed".into());
    spec.suspend.get_or_insert(false);
    let replace = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.pod_replacement_policy.get_or_insert_with(|| replace.into());
    let rules = spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules);
    for pattern in rules.flat_map(|rule| rule.on_pod_conditions.iter_mut().flatten()) {
        pattern.status.get_or_insert_with(|| "True".into());
    }
    template::defaults(&mut spec.template);
}

/// Selects the Pods by the Job's uid, and labels the template so.
///
/// What a client wrote there stays; validation refuses it if it differs.
fn generate_selector(spec: &mut JobSpec, uid: &str, name: &str) {
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for label in NAME_LABELS {
        labels.entry(label.into()).or_insert_with(|| name.into());
    }
    for label in UID_LABELS {
        labels.entry(label.into()).or_insert_with(|| uid.into());
    }
    let selector = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
    selector.entry(UID_LABELS[0].into()).or_insert_with(|| uid.into());
}

fn spec(job: &Job) -> Option<&JobSpec> {
    job.spec.as_ref()
}

/// Whether the status says that `condition` is so.
fn is(job: &Job, condition: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == condition && c.status == "True")
}

fn is_finished(job: &Job) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

fn state(job: &Job) -> &'static str {
    if is(job, "Complete") {
        "Complete"
    } else if is(job, "Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if is(job, "Suspended") {
        "Suspended"
    } else if is(job, "FailureTarget") {
        "FailureTarget"
    } else if is(job, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Job) -> String {
    let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default();
    let wanted = spec(job).and_then(|spec| spec.completions);
    let side_by_side = spec(job).and_then(|spec| spec.parallelism).unwrap_or_default();
    match wanted {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if side_by_side > 1 => format!("{succeeded}/1 of {side_by_side}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Job, now: Timestamp) -> String {
    let Some(status) = &job.status else { return String::new() };
    let Some(start) = &status.start_time else { return String::new() };
    let end = status.completion_time.as_ref().map_or(now, |time| time.0);
    human_duration(end.duration_since(start.0))
}
