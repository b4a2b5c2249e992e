//! When a Pod has to leave its node. Pure.
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::client::tolerates;

/// What becomes of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It stays.
    Stay,
    /// It has to go now.
    Evict,
    /// It has to go after so long.
    EvictAfter(Duration),
}

/// The node's taints that move Pods.
pub(super) fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute")
}

/// Decides; `seen` is when the Pod was first seen to put up with a taint for a time.
pub(super) fn plan(pod: &Pod, node: &Node, seen: Timestamp, now: Timestamp) -> Plan {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    let tolerations = tolerations.unwrap_or_default();
    let mut due: Option<Timestamp> = None;
    for taint in no_execute(node) {
        let fitting: Vec<&Toleration> =
            tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if fitting.is_empty() {
            return Plan::Evict;
        }
        // The shortest of those that fit decides; one without an end never does.
        let seconds = fitting.iter().filter_map(|toleration| toleration.toleration_seconds).min();
        let Some(seconds) = seconds else { continue };
        // The taints that people set do not say since when they are there. A Pod that
        // came to a tainted node counts from its coming.
        let since = added(taint).unwrap_or(seen);
        let since = scheduled(pod).map_or(since, |came| came.max(since));
        let end = since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(now);
        due = Some(due.map_or(end, |due| due.min(end)));
    }
    match due {
        None => Plan::Stay,
        Some(due) if due <= now => Plan::Evict,
        Some(due) => {
            Plan::EvictAfter(Duration::try_from(due.duration_since(now)).unwrap_or_default())
        }
    }
}

fn added(taint: &Taint) -> Option<Timestamp> {
    taint.time_added.as_ref().map(|time| time.0)
}

fn scheduled(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let scheduled = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "True")?;
    scheduled.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "node.kubernetes.io/unreachable";

    fn node(taints: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": {"taints": taints}}))
            .unwrap()
    }

    fn unreachable() -> Node {
        node(json!([{"key": KEY, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]))
    }

    fn pod(tolerations: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}}))
            .unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn for_seconds(seconds: Value) -> Value {
        json!({"key": KEY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    }

    /// What is planned for a Pod that is seen for the first time.
    fn at_once(pod: &Pod, node: &Node, now: Timestamp) -> Plan {
        plan(pod, node, now, now)
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let now = at("2026-01-01T00:02:00Z");
        assert_eq!(at_once(&pod(json!([])), &unreachable(), now), Plan::Evict);
        let five = pod(json!([for_seconds(json!(300))]));
        assert_eq!(at_once(&five, &unreachable(), now), Plan::EvictAfter(Duration::from_secs(180)));
        assert_eq!(at_once(&five, &unreachable(), at("2026-01-01T00:05:00Z")), Plan::Evict);
        assert_eq!(
            at_once(&pod(json!([for_seconds(Value::Null)])), &unreachable(), now),
            Plan::Stay
        );
        assert_eq!(
            at_once(&pod(json!([for_seconds(json!(-1))])), &unreachable(), now),
            Plan::Evict
        );
        assert_eq!(at_once(&pod(json!([])), &node(json!([])), now), Plan::Stay);
        let other = node(json!([{"key": KEY, "effect": "NoSchedule"}]));
        assert_eq!(at_once(&pod(json!([])), &other, now), Plan::Stay);
    }

    #[test]
    fn a_taint_that_does_not_say_when_it_came_counts_from_when_it_was_seen() {
        let mut old = pod(json!([for_seconds(json!(60))]));
        old.status = serde_json::from_value(json!({"conditions": [{
            "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
        .unwrap();
        let tainted = node(json!([{"key": KEY, "effect": "NoExecute"}]));
        let seen = at("2026-01-01T02:00:00Z");
        let later = at("2026-01-01T02:00:40Z");
        assert_eq!(plan(&old, &tainted, seen, seen), Plan::EvictAfter(Duration::from_secs(60)));
        assert_eq!(plan(&old, &tainted, seen, later), Plan::EvictAfter(Duration::from_secs(20)));
        assert_eq!(plan(&old, &tainted, seen, at("2026-01-01T02:01:00Z")), Plan::Evict);
    }

    #[test]
    fn the_shortest_wait_counts_and_begins_when_the_pod_came() {
        let both = pod(json!([for_seconds(json!(300)), for_seconds(json!(60))]));
        assert_eq!(at_once(&both, &unreachable(), at("2026-01-01T00:01:00Z")), Plan::Evict);
        let mut late = pod(json!([for_seconds(json!(60))]));
        late.status = serde_json::from_value(json!({"conditions": [{
            "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T01:00:00Z"}]}))
        .unwrap();
        let now = at("2026-01-01T01:00:30Z");
        assert_eq!(at_once(&late, &unreachable(), now), Plan::EvictAfter(Duration::from_secs(30)));
    }
}
