//! Which taints the state of a node gives it. Pure.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::health::ready;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions, the status in which they count, and the taint they give.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Whether Pods may be evicted from a node that is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// Its turn has not come.
    NotYet,
    /// Now.
    Allowed,
    /// Nowhere, while no node at all is ready.
    Suspended,
}

/// The taints that the node should have; none if it has them.
pub(super) fn plan(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (type_, status, key) in BY_CONDITION {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if conditions.into_iter().any(|c| c.type_ == type_ && c.status == status) {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let evicting = old.iter().any(is_eviction);
    let now_or_still = eviction == Eviction::Allowed || eviction == Eviction::NotYet && evicting;
    match ready(node).map(|ready| ready.status.as_str()) {
        Some("False") if now_or_still => wanted.push((NOT_READY, "NoExecute")),
        Some("Unknown") if now_or_still => wanted.push((UNREACHABLE, "NoExecute")),
        _ => {}
    }
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut new: Vec<Taint> =
        old.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            new.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
                value: None,
            });
        }
    }
    (new != old).then_some(new)
}

fn is_eviction(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

/// Whether only this controller gives the taint.
fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    let by_state = BY_CONDITION.iter().any(|(_, _, ours)| *ours == key) || key == UNSCHEDULABLE;
    is_eviction(taint) || taint.effect == "NoSchedule" && by_state
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, taints: Value, unschedulable: bool) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1"},
            "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn keys(node: &Node, eviction: Eviction) -> Option<Vec<String>> {
        let taints = plan(node, eviction, Timestamp::UNIX_EPOCH)?;
        Some(taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
    }

    #[test]
    fn state_becomes_taints_and_others_stay() {
        let own = json!([{"key": "gpu", "value": "x", "effect": "NoSchedule"}]);
        assert_eq!(keys(&node("True", own.clone(), false), Eviction::NotYet), None);
        assert_eq!(
            keys(&node("True", own.clone(), true), Eviction::NotYet).unwrap(),
            ["gpu:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]
        );
        assert_eq!(
            keys(&node("Unknown", own.clone(), false), Eviction::NotYet).unwrap(),
            ["gpu:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule"]
        );
        assert_eq!(
            keys(&node("Unknown", own, false), Eviction::Allowed).unwrap()[2],
            "node.kubernetes.io/unreachable:NoExecute"
        );
    }

    #[test]
    fn each_pressure_keeps_new_pods_away() {
        for (type_, key) in [
            ("MemoryPressure", "memory-pressure"),
            ("DiskPressure", "disk-pressure"),
            ("PIDPressure", "pid-pressure"),
        ] {
            let mut under = node("True", json!([]), false);
            let condition = &mut under.status.as_mut().unwrap().conditions.as_mut().unwrap()[0];
            condition.type_ = type_.to_owned();
            assert_eq!(
                keys(&under, Eviction::NotYet).unwrap(),
                [format!("node.kubernetes.io/{key}:NoSchedule")]
            );
        }
    }

    #[test]
    fn an_eviction_goes_on_until_the_node_is_ready_or_none_is() {
        let taints = json!([
            {"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"},
        ]);
        assert_eq!(keys(&node("Unknown", taints.clone(), false), Eviction::NotYet), None);
        assert_eq!(
            keys(&node("Unknown", taints.clone(), false), Eviction::Suspended).unwrap(),
            ["node.kubernetes.io/unreachable:NoSchedule"]
        );
        assert_eq!(
            keys(&node("False", taints.clone(), false), Eviction::NotYet).unwrap(),
            ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]
        );
        assert_eq!(keys(&node("True", taints, false), Eviction::Allowed), Some(Vec::new()));
    }
}
