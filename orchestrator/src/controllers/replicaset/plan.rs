//! What a `ReplicaSet` needs: how many Pods more, which Pods fewer, which status.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::pods;

/// As many Pods as one pass creates or deletes; the rest wait for the next.
const BURST: usize = 500;
/// Makes a Pod cheap or dear to delete.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What one pass does.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to create.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
}

/// Why Pods could not be created or deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// Compares the Pods there are with the Pods there should be.
///
/// `crowd` counts, per node, the Pods of the set and of its siblings under
/// one Deployment: where many are together, one is missed least.
pub fn plan(
    owner: &ReplicaSet,
    owned: &[Arc<Pod>],
    crowd: &HashMap<String, usize>,
    now: Timestamp,
) -> Plan {
    if owner.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let wanted = usize::try_from(wanted(owner)).unwrap_or(0);
    let mut active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    if surplus > 0 && wanted > 0 {
        active.sort_by_cached_key(|pod| deletion_rank(pod, crowd, now));
    }
    Plan {
        create: wanted.saturating_sub(active.len()).min(BURST),
        delete: active.into_iter().take(surplus).collect(),
    }
}

/// The status, and how long until a ready Pod becomes available.
pub fn status(
    owner: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = owner.spec.as_ref();
    let template = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let seconds = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (mut replicas, mut labeled, mut ready, mut available) = (0, 0, 0, 0);
    let mut recheck: Option<Duration> = None;
    for pod in owned.iter().filter(|pod| pods::is_active(pod)) {
        replicas += 1;
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value): (&String, &String)| labels.and_then(|l| l.get(key)) == Some(value);
        labeled += i32::from(template.is_none_or(|template| template.iter().all(has)));
        ready += i32::from(pods::is_ready(pod));
        match pods::until_available(pod, min_ready, now) {
            Some(Duration::ZERO) => available += 1,
            Some(wait) => recheck = Some(recheck.map_or(wait, |other| other.min(wait))),
            None => {}
        }
    }
    let terminating = owned.iter().filter(|pod| pods::is_terminating(pod)).count();
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: nonzero(labeled),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(available),
        terminating_replicas: Some(i32::try_from(terminating).unwrap_or(i32::MAX)),
        observed_generation: owner.metadata.generation,
        conditions: conditions(owner, failure, now),
    };
    (status, recheck)
}

/// Whether two statuses say the same; an absent count is zero.
pub fn same_status(one: &ReplicaSetStatus, other: &ReplicaSetStatus) -> bool {
    let counts = |s: &ReplicaSetStatus| {
        [s.fully_labeled_replicas, s.ready_replicas, s.available_replicas, s.terminating_replicas]
            .map(|count| count.unwrap_or(0))
    };
    let conditions = |s: &ReplicaSetStatus| s.conditions.clone().unwrap_or_default();
    one.replicas == other.replicas
        && counts(one) == counts(other)
        && one.observed_generation == other.observed_generation
        && conditions(one) == conditions(other)
}

/// Counts that Kubernetes leaves out when they are zero.
fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// `spec.replicas`, 1 unless given.
pub fn wanted(owner: &ReplicaSet) -> i32 {
    owner.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn conditions(
    owner: &ReplicaSet,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let before =
        owner.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or(&[]);
    let mut after: Vec<_> =
        before.iter().filter(|c| c.type_ != "ReplicaFailure").cloned().collect();
    if let Some(failure) = failure {
        let known = before.iter().find(|c| c.type_ == "ReplicaFailure");
        let same = known.filter(|c| c.reason.as_deref() == Some(failure.reason));
        after.push(same.cloned().unwrap_or_else(|| ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }));
    }
    (!after.is_empty()).then_some(after)
}

/// Orders Pods by how little is lost in deleting them, as Kubernetes does:
/// without a node, not running, not ready, cheap, crowded, ready or made
/// lately, often restarted.
fn deletion_rank(pod: &Pod, crowd: &HashMap<String, usize>, now: Timestamp) -> impl Ord + use<> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let phase = match pods::phase(pod) {
        Some("Pending") | None => 0,
        Some("Unknown") => 1,
        Some(_) => 2,
    };
    let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST)?.parse().ok());
    let crowded = node.and_then(|node| crowd.get(node)).copied().unwrap_or(0);
    let restarts = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .map(|container| container.restart_count)
        .max();
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (
        (node.is_some(), phase, pods::is_ready(pod), cost.unwrap_or(0i32)),
        std::cmp::Reverse(crowded),
        magnitude(pods::ready_since(pod), now),
        std::cmp::Reverse(restarts),
        magnitude(created, now),
        pod.metadata.uid.clone(),
    )
}

/// The order of magnitude of an age: ages that differ less are as good as
/// equal, so that not always the youngest go (KEP-2185).
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(since) = since else { return -1 };
    let nanoseconds = now.duration_since(since).as_nanos();
    u128::try_from(nanoseconds)
        .ok()
        .and_then(u128::checked_ilog2)
        .map_or(-1, |log| i32::try_from(log).expect("the logarithm of 128 bits is small"))
}
