//! One decision: which node a Pod goes to. Pure.
use std::collections::BTreeMap;
use std::fmt;

use super::plugins::{FILTERS, SCORES};
use super::{NodeInfo, PodInfo, Snapshot};

/// As many fitting nodes as are compared; more make a decision slower, hardly better.
const COMPARED: usize = 100;

/// Why a Pod fits nowhere; `Display` is kube-scheduler's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    nodes: usize,
    /// Reasons, and how many nodes each keeps away from.
    reasons: BTreeMap<String, usize>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// The best node for a Pod. `start` is where the search begins, so that equal nodes take turns.
pub fn schedule<'a>(
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    start: usize,
) -> Result<&'a str, Unschedulable> {
    let nodes = snapshot.nodes();
    let mut refused = BTreeMap::new();
    let mut best: Option<(i64, &NodeInfo)> = None;
    let mut fitting = 0;
    let (after, before) = nodes.split_at(if nodes.is_empty() { 0 } else { start % nodes.len() });
    for node in before.iter().chain(after) {
        if let Err(reasons) = FILTERS.iter().try_for_each(|filter| filter(pod, node)) {
            for reason in reasons {
                *refused.entry(reason).or_insert(0) += 1;
            }
            continue;
        }
        let score = SCORES.iter().map(|(score, weight)| score(pod, node) * weight).sum();
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, node));
        }
        fitting += 1;
        if fitting == COMPARED {
            break;
        }
    }
    match best {
        Some((_, node)) => Ok(&node.name),
        None => Err(Unschedulable { nodes: nodes.len(), reasons: refused }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::ObjectKey;

    fn snapshot(nodes: &[Value]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            snapshot.set_node(&serde_json::from_value(node.clone()).unwrap());
        }
        snapshot
    }

    fn node(name: &str, cpu: &str) -> Value {
        json!({
            "metadata": {"name": name, "labels": {"zone": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}},
        })
    }

    fn pod(spec: Value) -> PodInfo {
        PodInfo::of(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn asking(cpu: &str, memory: &str) -> PodInfo {
        let requests = json!({"cpu": cpu, "memory": memory});
        pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    fn refusal(snapshot: &Snapshot, pod: &PodInfo) -> String {
        schedule(snapshot, pod, 0).unwrap_err().to_string()
    }

    #[test]
    fn the_words_are_kube_schedulers() {
        assert_eq!(
            refusal(&snapshot(&[]), &asking("1", "1Mi")),
            "no nodes available to schedule pods"
        );
        let mut cordoned = node("c", "4");
        cordoned["spec"] = json!({"unschedulable": true});
        let mut tainted = node("d", "4");
        tainted["spec"] = json!({"taints": [{"key": "gpu", "value": "x", "effect": "NoSchedule"}]});
        let all = snapshot(&[node("a", "1"), node("b", "1"), cordoned, tainted]);
        assert_eq!(
            refusal(&all, &asking("2", "2Gi")),
            "0/4 nodes are available: 1 node(s) had untolerated taint {gpu: x}, \
             1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory."
        );
        let selector = pod(json!({"containers": [], "nodeSelector": {"zone": "z"}}));
        assert_eq!(
            refusal(&snapshot(&[node("a", "1")]), &selector),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        );
    }

    #[test]
    fn selectors_affinity_and_tolerations_choose() {
        let mut tainted = node("b", "4");
        tainted["spec"] = json!({"taints": [{"key": "gpu", "value": "x", "effect": "NoExecute"}]});
        let all = snapshot(&[node("a", "4"), tainted]);
        let tolerations = json!([{"key": "gpu", "operator": "Equal", "value": "x"}]);
        let term = |operator: &str, values: Value| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}]}}})
        };
        let wants_b = pod(
            json!({"containers": [], "tolerations": tolerations, "affinity": term("In", json!(["b"]))}),
        );
        assert_eq!(schedule(&all, &wants_b, 0), Ok("b"));
        let not_b = pod(
            json!({"containers": [], "tolerations": tolerations, "affinity": term("NotIn", json!(["b"]))}),
        );
        assert_eq!(schedule(&all, &not_b, 1), Ok("a"));
    }

    #[test]
    fn the_pods_of_one_owner_are_spread_and_freed_room_is_used_again() {
        let mut all = snapshot(&[node("a", "1"), node("b", "1")]);
        let one = PodInfo { owner: Some("rs".into()), ..asking("400m", "1Mi") };
        let mut placed = Vec::new();
        for n in 0..4 {
            let key = ObjectKey::new("default", format!("p{n}"));
            let node = schedule(&all, &one, n).unwrap().to_owned();
            all.place(&key, &one, &node);
            placed.push(node);
        }
        placed.sort();
        assert_eq!(placed, ["a", "a", "b", "b"]);
        assert_eq!(refusal(&all, &one), "0/2 nodes are available: 2 Insufficient cpu.");
        assert!(all.remove_pod(&ObjectKey::new("default", "p0")));
        assert!(schedule(&all, &one, 0).is_ok());
    }
}
