//! Which Pods nobody else would remove. Pure.
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::time::Instant;

use crate::controllers::disrupt::Cause;
use crate::controllers::pods::{is_terminal, node_name};

/// Ended Pods that are kept (`--terminated-pod-gc-threshold`).
const TERMINATED: usize = 12_500;
/// How long a node has to be missing before its Pods go (upstream's quarantine).
const QUARANTINE: Duration = Duration::from_secs(40);

/// Nodes that Pods name and nobody knows, since when.
pub(super) type Missing = HashMap<String, Instant>;

pub(super) const ORPHANED: Cause = Cause {
    reason: Some("DeletionByPodGC"),
    message: "PodGC: node no longer exists",
    fails: true,
    force: true,
};

/// Those were on their way out before: nothing disrupts them.
const OUT_OF_SERVICE: Cause =
    Cause { reason: None, message: "PodGC: terminating pod on an out-of-service node", ..ORPHANED };

const UNSCHEDULED: Cause =
    Cause { message: "PodGC: terminating pod that was never scheduled", ..OUT_OF_SERVICE };

const ENDED: Cause = Cause { message: "PodGC: more ended pods than are kept", ..OUT_OF_SERVICE };

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to remove, and why.
    pub remove: Vec<(Arc<Pod>, Cause)>,
    /// Nodes that are missing for long; if the API agrees, their Pods go.
    pub ask: BTreeSet<String>,
    /// The Pods of these nodes.
    pub orphans: Vec<Arc<Pod>>,
}

/// Decides; `missing` is kept from one look to the next.
pub(super) fn plan(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    missing: &mut Missing,
    now: Instant,
) -> Plan {
    let mut plan = Plan::default();
    let known: HashMap<&str, &Node> =
        nodes.iter().filter_map(|node| Some((node.metadata.name.as_deref()?, &**node))).collect();
    let mut named: HashSet<&str> = HashSet::new();
    let mut ended: Vec<&Arc<Pod>> = Vec::new();
    for pod in pods {
        if is_terminal(pod) {
            ended.push(pod);
        }
        let terminating = pod.metadata.deletion_timestamp.is_some();
        match node_name(pod) {
            None if terminating => plan.remove.push((Arc::clone(pod), UNSCHEDULED)),
            None => {}
            Some(name) => match known.get(name) {
                Some(node) if terminating && is_out_of_service(node) => {
                    plan.remove.push((Arc::clone(pod), OUT_OF_SERVICE));
                }
                Some(_) => {}
                None => {
                    named.insert(name);
                    let since = *missing.entry(name.to_owned()).or_insert(now);
                    if now.duration_since(since) >= QUARANTINE {
                        plan.ask.insert(name.to_owned());
                        plan.orphans.push(Arc::clone(pod));
                    }
                }
            },
        }
    }
    missing.retain(|name, _| named.contains(name.as_str()));
    let surplus = ended.len().saturating_sub(TERMINATED);
    if surplus > 0 {
        ended.sort_by_key(|pod| {
            (!is_evicted(pod), pod.metadata.creation_timestamp.clone().map(|t| t.0))
        });
        let oldest = ended.into_iter().take(surplus);
        plan.remove.extend(oldest.map(|pod| (Arc::clone(pod), ENDED)));
    }
    plan
}

fn is_evicted(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

/// Whether a person has said that the node is down for good, and it is not ready.
fn is_out_of_service(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    !ready && taints.any(|taint| taint.key == "node.kubernetes.io/out-of-service")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: Value, rest: Value) -> Arc<Pod> {
        let mut pod =
            json!({"metadata": {"name": name}, "spec": {"containers": [], "nodeName": node}});
        if let Some(at) = rest.get("deleted") {
            pod["metadata"]["deletionTimestamp"] = at.clone();
        }
        pod["status"] = rest["status"].clone();
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
    }

    #[test]
    fn pods_of_a_node_that_is_missing_for_long_go() {
        let node = Arc::new(serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap());
        let pods = [pod("a", json!("n1"), json!({})), pod("b", json!("gone"), json!({}))];
        let (mut missing, start) = (Missing::new(), Instant::now());
        let nodes = [node];
        assert!(plan(&pods, &nodes, &mut missing, start).ask.is_empty());
        let later = plan(&pods, &nodes, &mut missing, start + QUARANTINE);
        assert_eq!((later.ask.len(), names(&later.orphans)), (1, vec!["b"]));
        let none = plan(&pods[..1], &nodes, &mut missing, start + QUARANTINE);
        assert!(none.ask.is_empty() && missing.is_empty());
    }

    #[test]
    fn a_deleted_pod_without_a_node_goes_at_once() {
        let deleted = json!({"deleted": "2026-01-01T00:00:00Z"});
        let pods = [pod("a", Value::Null, deleted), pod("b", Value::Null, json!({}))];
        let plan = plan(&pods, &[], &mut Missing::new(), Instant::now());
        assert_eq!(plan.remove.len(), 1);
        assert_eq!(plan.remove[0].0.metadata.name.as_deref(), Some("a"));
        assert_eq!(plan.remove[0].1.reason, None, "it is no disruption");
        assert_eq!(ORPHANED.reason, Some("DeletionByPodGC"));
    }

    #[test]
    fn ended_pods_beyond_the_number_go_evicted_ones_first() {
        let mut pods: Vec<Arc<Pod>> = (0..TERMINATED)
            .map(|n| pod(&format!("p{n}"), Value::Null, json!({"status": {"phase": "Succeeded"}})))
            .collect();
        let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
        pods.push(pod("evicted", Value::Null, evicted));
        let plan = plan(&pods, &[], &mut Missing::new(), Instant::now());
        assert_eq!(plan.remove.len(), 1);
        assert_eq!(plan.remove[0].0.metadata.name.as_deref(), Some("evicted"));
    }
}
