//! What a Job asks about one of its Pods.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::controllers::pods;

/// Keeps a Pod that ended until it is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The completion index of a Pod; annotation and label.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often Pods of this index failed before, as far as it counts.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often Pods of this index failed before without that it counts.
pub const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// What a failure policy says of a failed Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The failure counts as any other.
    Count,
    /// It does not count.
    Ignore,
    /// The index has failed.
    FailIndex,
    /// The Job has failed, and why.
    FailJob(String),
}

/// Whether a Pod has not been counted yet.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// The uid of a Pod.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The completion index of a Pod.
pub fn index(pod: &Pod) -> Option<i32> {
    number(pod, INDEX)
}

/// How often Pods of the same index failed before: as far as it counts, and beyond.
pub fn failures_before(pod: &Pod) -> (i32, i32) {
    (number(pod, FAILURES).unwrap_or(0), number(pod, IGNORED).unwrap_or(0))
}

fn number(pod: &Pod, annotation: &str) -> Option<i32> {
    let text = pod.metadata.annotations.as_ref()?.get(annotation)?;
    text.parse().ok().filter(|number| *number >= 0)
}

/// Whether a Pod is replaced only once it has ended, not while it is on its way out.
pub fn only_ended_are_replaced(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether a Pod succeeded.
pub fn has_succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == Some("Succeeded")
}

/// Whether a Pod failed, or is on its way out, which is as good if nobody waits for its end.
pub fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    pods::phase(pod) == Some("Failed")
        || (!only_ended_are_replaced(spec)
            && pod.metadata.deletion_timestamp.is_some()
            && !has_succeeded(pod))
}

/// When a Pod ended: its last container, else when it ceased to be ready, else when it was deleted.
pub fn ended_at(pod: &Pod) -> Timestamp {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let ends = containers.unwrap_or_default().iter().map(|container| {
        let state = container.state.as_ref()?.terminated.as_ref()?;
        state.finished_at.as_ref().map(|time| time.0)
    });
    if let Some(last) = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max()) {
        return last;
    }
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unready = conditions.find(|c| c.type_ == "Ready" && c.status == "False");
    if let Some(time) = unready.and_then(|condition| condition.last_transition_time.as_ref()) {
        return time.0;
    }
    if let Some(time) = &pod.metadata.deletion_timestamp {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        return time.0.checked_sub(SignedDuration::from_secs(grace)).unwrap_or(time.0);
    }
    pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// How often the containers of running Pods were restarted.
pub fn restarts(pod: &Pod) -> i32 {
    if !matches!(pods::phase(pod), Some("Running" | "Pending")) {
        return 0;
    }
    let Some(status) = &pod.status else { return 0 };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.map(|container| container.restart_count).fold(0, i32::saturating_add)
}

/// What the Job's policy says of a failed Pod.
pub fn judge(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    policy.map_or(Verdict::Count, |policy| by_policy(policy, pod))
}

fn by_policy(policy: &PodFailurePolicy, pod: &Pod) -> Verdict {
    for (number, rule) in policy.rules.iter().enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                Verdict::FailJob(format!("{why} matching {} rule at index {number}", rule.action))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// Whether a rule is about this failure, and what it is, in Kubernetes' words.
fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let status = pod.status.as_ref()?;
    if let Some(wanted) = &rule.on_exit_codes {
        let all = status.container_statuses.iter().chain(&status.init_container_statuses);
        let (container, code) = all.flatten().find_map(|container| exit_code(wanted, container))?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {name} has condition {}", found.type_))
}

fn exit_code<'a>(
    wanted: &PodFailurePolicyOnExitCodesRequirement,
    container: &'a ContainerStatus,
) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = wanted.values.contains(&code);
    let matches = match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (named && code != 0 && matches).then_some((container.name.as_str(), code))
}
