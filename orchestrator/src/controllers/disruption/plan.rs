//! What the status of a budget should be. Pure.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::pods::is_ready;
use super::elapsed;
use crate::client::int_or_string::{Rounding, scaled};

/// How long an eviction counts although its Pod is still there (upstream's DeletionTimeout).
const DELETION: Duration = Duration::from_secs(120);

/// What a pass has looked at.
pub(super) struct Seen<'a> {
    pub budget: &'a PodDisruptionBudget,
    pub pods: &'a [Arc<Pod>],
    pub expected: &'a Expected,
    pub now: Timestamp,
}

/// How many Pods there should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Pods(i32),
    /// Why nobody knows.
    Unknown(String),
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The status to write; absent if it is right.
    pub status: Option<PodDisruptionBudgetStatus>,
    /// Pods whose eviction was charged, and that stayed.
    pub not_deleted: Vec<Arc<Pod>>,
    /// When to look again.
    pub recheck: Option<Duration>,
}

/// Decides.
pub(super) fn plan(seen: &Seen<'_>) -> Plan {
    let old = seen.budget.status.clone().unwrap_or_default();
    let mut plan = Plan::default();
    let mut new = PodDisruptionBudgetStatus {
        observed_generation: seen.budget.metadata.generation,
        ..old.clone()
    };
    match seen.expected {
        Expected::Unknown(why) => {
            // Fail safe: nothing is evicted while nobody knows.
            new.observed_generation = old.observed_generation;
            new.disruptions_allowed = Some(0);
            allow(&mut new, "False", "SyncFailed", why, seen.now);
        }
        Expected::Pods(expected) => {
            let disrupted = still_disrupted(seen, &old, &mut plan);
            count(&mut new, seen, *expected, &disrupted);
            new.disrupted_pods = Some(disrupted).filter(|pods| !pods.is_empty());
            let (status, reason) = if new.disruptions_allowed > Some(0) {
                ("True", "SufficientPods")
            } else {
                ("False", "InsufficientPods")
            };
            allow(&mut new, status, reason, "", seen.now);
        }
    }
    plan.status = Some(new).filter(|new| seen.budget.status.as_ref() != Some(new));
    plan
}

/// Whether the controllers of the Pods say how many there should be.
pub(super) fn asks_controllers(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// Since when a Pod says that it is about to be disrupted, and nobody deletes it.
pub(super) fn disrupted_since(pod: &Pod) -> Option<Timestamp> {
    if pod.metadata.deletion_timestamp.is_some() || super::pods::is_terminal(pod) {
        return None;
    }
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let mut targets = conditions.filter(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    targets.next()?.last_transition_time.as_ref().map(|time| time.0)
}

/// What is told of Pods that no controller made.
pub(super) fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let labels: Vec<String> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
        labels.join(",")
    )
}

/// The evictions that were charged and whose Pods are not seen to go yet.
fn still_disrupted(
    seen: &Seen<'_>,
    old: &PodDisruptionBudgetStatus,
    plan: &mut Plan,
) -> BTreeMap<String, Time> {
    let mut still = BTreeMap::new();
    let Some(disrupted) = &old.disrupted_pods else { return still };
    for pod in seen.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(since) = disrupted.get(&name) else { continue };
        let left = DELETION.saturating_sub(elapsed(since.0, seen.now));
        if left.is_zero() {
            plan.not_deleted.push(Arc::clone(pod));
            continue;
        }
        plan.recheck = Some(plan.recheck.map_or(left, |recheck| recheck.min(left)));
        still.insert(name, since.clone());
    }
    still
}

fn count(
    status: &mut PodDisruptionBudgetStatus,
    seen: &Seen<'_>,
    expected: i32,
    disrupted: &BTreeMap<String, Time>,
) {
    let healthy = seen.pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(name) && is_ready(pod)
    });
    let current = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let desired = seen.budget.spec.as_ref().map_or(0, |spec| desired(spec, expected));
    let allowed = if expected <= 0 { 0 } else { (current - desired).max(0) };
    status.current_healthy = Some(current);
    status.expected_pods = Some(expected);
    status.desired_healthy = Some(desired);
    status.disruptions_allowed = Some(allowed);
}

fn desired(spec: &PodDisruptionBudgetSpec, expected: i32) -> i32 {
    if let Some(missing) = &spec.max_unavailable {
        let missing = scaled(missing, expected, Rounding::Up).unwrap_or(0);
        return (expected - missing).max(0);
    }
    let least = spec.min_available.as_ref();
    least.and_then(|least| scaled(least, expected, Rounding::Up)).unwrap_or(0)
}

/// Sets the condition `DisruptionAllowed`.
fn allow(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let observed_generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == "DisruptionAllowed");
    let since = old
        .map(|at| &conditions[at])
        .filter(|old| old.status == value)
        .map_or(now, |old| old.last_transition_time.0);
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation,
        last_transition_time: Time(since),
    };
    match old {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let metadata = json!({"name": "web", "namespace": "default", "generation": 1});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    }

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let pod = |n: usize| {
            let is = if n < ready { "True" } else { "False" };
            let conditions = json!([{"type": "Ready", "status": is}]);
            let pod = json!({"metadata": {"name": format!("web-{n}")}, "status": {"conditions": conditions}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        (0..ready + unready).map(pod).collect()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn status(spec: Value, pods: &[Arc<Pod>], expected: i32) -> PodDisruptionBudgetStatus {
        let budget = budget(spec, json!(null));
        let expected = Expected::Pods(expected);
        plan(&Seen { budget: &budget, pods, expected: &expected, now: now() }).status.unwrap()
    }

    #[test]
    fn what_is_more_than_desired_may_go() {
        let counts = |spec: Value, pods: &[Arc<Pod>], expected| {
            let s = status(spec, pods, expected);
            let all =
                [s.disruptions_allowed, s.current_healthy, s.desired_healthy, s.expected_pods];
            let [allowed, current, desired, expected] = all.map(Option::unwrap);
            (allowed, current, desired, expected)
        };
        assert_eq!(counts(json!({"minAvailable": 2}), &pods(3, 1), 4), (1, 3, 2, 4));
        assert_eq!(counts(json!({"minAvailable": "50%"}), &pods(4, 0), 5), (1, 4, 3, 5));
        assert_eq!(counts(json!({"maxUnavailable": 1}), &pods(3, 0), 3), (1, 3, 2, 3));
        assert_eq!(counts(json!({"maxUnavailable": "30%"}), &pods(3, 1), 4), (1, 3, 2, 4));
        assert_eq!(counts(json!({"maxUnavailable": 1}), &pods(0, 2), 2), (0, 0, 1, 2));
        assert_eq!(counts(json!({"maxUnavailable": 5}), &[], 0), (0, 0, 0, 0));
        let condition = status(json!({"minAvailable": 2}), &pods(3, 0), 3).conditions.unwrap();
        assert_eq!((&*condition[0].status, &*condition[0].reason), ("True", "SufficientPods"));
    }

    #[test]
    fn a_charged_eviction_counts_until_its_pod_goes_or_does_not() {
        let charged = |at: &str| {
            let status = json!({"disruptedPods": {"web-0": at}, "disruptionsAllowed": 0,
                "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3});
            budget(json!({"minAvailable": 2}), status)
        };
        let (all, expected) = (pods(3, 0), Expected::Pods(3));
        let look = |budget: &PodDisruptionBudget| {
            plan(&Seen { budget, pods: &all, expected: &expected, now: now() })
        };
        let fresh = look(&charged("2026-01-01T00:09:00Z"));
        assert_eq!(fresh.status.unwrap().current_healthy, Some(2));
        assert_eq!(fresh.recheck, Some(Duration::from_secs(60)));
        let late = look(&charged("2026-01-01T00:05:00Z"));
        let status = late.status.unwrap();
        assert_eq!((status.current_healthy, status.disrupted_pods), (Some(3), None));
        assert_eq!(late.not_deleted.len(), 1);
    }

    #[test]
    fn nothing_may_go_while_nobody_knows_how_many_there_should_be() {
        let budget = budget(json!({"maxUnavailable": 1}), json!(null));
        let expected = Expected::Unknown("found no controllers for pod \"x\"".into());
        let seen = Seen { budget: &budget, pods: &pods(2, 0), expected: &expected, now: now() };
        let status = plan(&seen).status.unwrap();
        assert_eq!(status.disruptions_allowed, Some(0));
        let condition = &status.conditions.as_ref().unwrap()[0];
        assert_eq!((&*condition.status, &*condition.reason), ("False", "SyncFailed"));
    }

    #[test]
    fn a_right_status_is_not_written_again() {
        let first = status(json!({"minAvailable": 1}), &pods(2, 0), 2);
        let budget = budget(json!({"minAvailable": 1}), json!(first));
        let later = now() + jiff::SignedDuration::from_secs(60);
        let expected = Expected::Pods(2);
        let seen = Seen { budget: &budget, pods: &pods(2, 0), expected: &expected, now: later };
        assert_eq!(plan(&seen).status, None);
    }
}
