//! Whether a node still lives. Pure.
//!
//! A sign of life is a renewed Lease or a status that was written anew; when
//! it came is told by our own clock, as clocks of nodes may differ.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a node may be silent (`--node-monitor-grace-period`).
pub(super) const GRACE: Duration = Duration::from_secs(50);
/// How long a node may be silent that never said a word (`--node-startup-grace-period`).
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// The conditions that the kubelet keeps.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is remembered of a node between two looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Health {
    /// When it gave its last sign of life, or was first seen.
    alive: Instant,
    renewed: Option<MicroTime>,
    heartbeat: Option<Time>,
    status: Option<String>,
}

/// What a look at a node says.
#[derive(Debug)]
pub(super) struct Verdict {
    pub health: Health,
    /// Conditions to write, none unless it has just fallen silent.
    pub conditions: Vec<Value>,
    /// Whether it is ready, after that.
    pub ready: Readiness,
}

/// The node's `Ready` condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotReady,
    /// It never said.
    New,
}

/// Looks at a node.
pub(super) fn judge(
    node: &Node,
    lease: Option<&Lease>,
    known: Option<Health>,
    at: Instant,
    now: Timestamp,
) -> Verdict {
    let ready = ready(node);
    let renewed =
        lease.and_then(|lease| lease.spec.as_ref()).and_then(|spec| spec.renew_time.clone());
    let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.clone());
    let status = ready.map(|ready| ready.status.clone());
    let alive = match &known {
        None => at,
        Some(known) => {
            let lives = known.renewed != renewed && renewed.is_some()
                // What we wrote ourselves is no sign of life.
                || known.heartbeat != heartbeat && heartbeat.is_some()
                || known.status != status && status.as_deref() != Some("Unknown");
            if lives { at } else { known.alive }
        }
    };
    let grace = if ready.is_none() && renewed.is_none() { STARTUP_GRACE } else { GRACE };
    let silent = at.duration_since(alive) > grace;
    let conditions = if silent { unknown(node, now) } else { Vec::new() };
    let readiness = match ready {
        Some(ready) if ready.status == "True" && !silent => Readiness::Ready,
        None if !silent => Readiness::New,
        _ => Readiness::NotReady,
    };
    let health = Health { alive, renewed, heartbeat, status };
    Verdict { health, conditions, ready: readiness }
}

/// The node's `Ready` condition.
pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

/// The conditions of a silent node that say something else yet.
fn unknown(node: &Node, now: Timestamp) -> Vec<Value> {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let of = |type_: &&str| match condition(node, type_) {
        Some(condition) if condition.status == "Unknown" => None,
        Some(_) => Some(json!({
            "type": type_, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": now,
        })),
        None => Some(json!({
            "type": type_, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.", "lastTransitionTime": now,
            "lastHeartbeatTime": node.metadata.creation_timestamp,
        })),
    };
    CONDITIONS.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, heartbeat: &str) -> Node {
        let condition = json!({"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat});
        serde_json::from_value(json!({
            "metadata": {"name": "n1"}, "status": {"conditions": [condition]},
        }))
        .unwrap()
    }

    fn lease(second: u32) -> Lease {
        let time = format!("2026-01-01T00:00:{second:02}.000000Z");
        serde_json::from_value(json!({"spec": {"renewTime": time}})).unwrap()
    }

    const BEAT: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn a_node_lives_while_its_lease_is_renewed() {
        let (node, start) = (node("True", BEAT), Instant::now());
        let mut known = None;
        for step in 0..20 {
            let at = start + Duration::from_secs(10 * u64::from(step));
            let verdict = judge(&node, Some(&lease(step)), known, at, Timestamp::UNIX_EPOCH);
            assert_eq!((verdict.ready, verdict.conditions.len()), (Readiness::Ready, 0));
            known = Some(verdict.health);
        }
        let silent = start + Duration::from_secs(190) + GRACE + Duration::from_secs(1);
        let verdict = judge(&node, Some(&lease(19)), known, silent, Timestamp::UNIX_EPOCH);
        assert_eq!(verdict.ready, Readiness::NotReady);
        assert_eq!(verdict.conditions[0]["reason"], "NodeStatusUnknown");
        assert_eq!(verdict.conditions[1]["reason"], "NodeStatusNeverUpdated");
        assert_eq!(verdict.conditions.len(), 4);
    }

    #[test]
    fn a_silent_node_is_alive_again_with_its_next_word() {
        let start = Instant::now();
        let first = judge(&node("True", BEAT), None, None, start, Timestamp::UNIX_EPOCH).health;
        let late = start + Duration::from_secs(120);
        let silent = judge(&node("Unknown", BEAT), None, Some(first), late, Timestamp::UNIX_EPOCH);
        assert_eq!(silent.ready, Readiness::NotReady, "our own condition is no sign of life");
        let back = judge(
            &node("True", "2026-01-01T00:02:00Z"),
            None,
            Some(silent.health),
            late,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(back.ready, Readiness::Ready);
    }

    #[test]
    fn a_new_node_has_a_minute() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
        let start = Instant::now();
        let first = judge(&node, None, None, start, Timestamp::UNIX_EPOCH);
        assert_eq!(first.ready, Readiness::New);
        let at = start + Duration::from_secs(55);
        let second = judge(&node, None, Some(first.health), at, Timestamp::UNIX_EPOCH);
        assert_eq!(second.ready, Readiness::New);
        let at = start + Duration::from_secs(61);
        let third = judge(&node, None, Some(second.health), at, Timestamp::UNIX_EPOCH);
        assert_eq!(third.ready, Readiness::NotReady);
        assert!(third.conditions.iter().all(|c| c["reason"] == "NodeStatusNeverUpdated"));
    }
}
