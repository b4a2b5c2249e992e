//! Taking the place of Pods of lower priority (`DefaultPreemption`). Pure.
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};

use super::cycle::Cycle;
use super::{Config, PodInfo, Snapshot, Unschedulable};
use crate::client::ObjectKey;

/// As many nodes as are tried at least (minCandidateNodesAbsolute).
const CANDIDATES: usize = 100;
/// A part of the nodes that is tried, in hundredths (minCandidateNodesPercentage).
const CANDIDATES_PERCENT: usize = 10;

const NO_HELP: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A disruption budget, as far as it is respected where there is a choice.
#[derive(Debug, Clone)]
pub struct Budget {
    namespace: String,
    selector: Option<Selector>,
    allowed: i32,
    /// Pods whose eviction is charged already.
    disrupted: HashSet<String>,
}

impl Budget {
    /// What of a budget matters.
    pub fn of(budget: &PodDisruptionBudget) -> Self {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        let status = budget.status.as_ref();
        let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
        Self {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            selector: selector.and_then(|selector| Selector::try_from(selector).ok()),
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
            disrupted: disrupted.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// What makes room for a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// Where.
    pub node: String,
    /// Pods that have to go.
    pub victims: Vec<ObjectKey>,
    /// Pods of lower priority for which room was being made there.
    pub outdone: Vec<ObjectKey>,
}

/// The Pods that would have to go from one node.
#[derive(Debug)]
struct Candidate {
    slot: usize,
    victims: Vec<Victim>,
    /// How many of them their budgets protect.
    violations: usize,
}

#[derive(Debug, Clone)]
struct Victim {
    key: ObjectKey,
    priority: i32,
    started: Option<Timestamp>,
}

/// Why no room is made for a Pod; `Display` is kube-scheduler's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoom {
    /// It may not take the place of others, or waits for those to go that have to.
    Ineligible(&'static str),
    /// There is no node where it would help.
    Nowhere(String),
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ineligible(why) => write!(f, "not eligible due to {why}."),
            Self::Nowhere(why) => f.write_str(why),
        }
    }
}

/// Finds room for a Pod that fits nowhere; otherwise says why there is none.
///
/// The snapshot is as before afterwards.
pub fn preempt(
    snapshot: &mut Snapshot,
    key: &ObjectKey,
    pod: &PodInfo,
    refused: &Unschedulable,
    budgets: &[Budget],
    config: &Config,
) -> Result<Preemption, NoRoom> {
    if !pod.preempts {
        return Err(NoRoom::Ineligible("preemptionPolicy=Never"));
    }
    if is_waiting(snapshot, pod, refused) {
        return Err(NoRoom::Ineligible("a terminating pod on the nominated node"));
    }
    let wanted = CANDIDATES.max(snapshot.len() * CANDIDATES_PERCENT / 100);
    let mut candidates = Vec::new();
    for slot in &refused.resolvable {
        if let Some(candidate) = victims(snapshot, key, pod, *slot, budgets, config) {
            candidates.push(candidate);
        }
        if candidates.len() >= wanted {
            break;
        }
    }
    let Some(best) = candidates.into_iter().min_by_key(rank) else {
        let why = no_room(snapshot.len(), refused.resolvable.len());
        return Err(NoRoom::Nowhere(why));
    };
    let node = snapshot.nodes()[best.slot].name.clone();
    let outdone = snapshot.nominated_below(&node, pod.priority);
    let victims = best.victims.into_iter().map(|victim| victim.key).collect();
    Ok(Preemption { node, victims, outdone })
}

/// Whether Pods are still on their way out to make room for this one, where that helps.
fn is_waiting(snapshot: &Snapshot, pod: &PodInfo, refused: &Unschedulable) -> bool {
    let Some(node) = pod.nominated.as_deref().and_then(|name| snapshot.node(name)) else {
        return false;
    };
    if !refused.resolvable.contains(&node.slot) {
        return false;
    }
    node.pods.iter().filter_map(|key| snapshot.pod(key)).any(|placed| {
        placed.priority < pod.priority
            && snapshot.class_of(placed).is_some_and(|class| class.terminating)
    })
}

fn no_room(nodes: usize, tried: usize) -> String {
    let mut counts = BTreeMap::new();
    counts.insert(NO_VICTIMS, tried);
    counts.insert(NO_HELP, nodes - tried.min(nodes));
    let mut reasons: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

/// The fewest Pods whose going makes the Pod fit on a node; none if that does not help.
fn victims(
    snapshot: &mut Snapshot,
    key: &ObjectKey,
    pod: &PodInfo,
    slot: usize,
    budgets: &[Budget],
    config: &Config,
) -> Option<Candidate> {
    let on_node = snapshot.nodes()[slot].pods.iter();
    let mut lower: Vec<Victim> = on_node
        .filter_map(|key| {
            let placed = snapshot.pod(key).filter(|placed| placed.priority < pod.priority)?;
            let key = ObjectKey::clone(key);
            Some(Victim { key, priority: placed.priority, started: placed.started })
        })
        .collect();
    if lower.is_empty() {
        return None;
    }
    // The most important first: the highest priority, then the longest running.
    lower.sort_by(|a, b| {
        let order = |v: &Victim| (Reverse(v.priority), v.started.unwrap_or(Timestamp::MAX));
        order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key))
    });
    for victim in &lower {
        snapshot.lift(&victim.key);
    }
    let fits = |snapshot: &Snapshot| {
        Cycle::new(snapshot, key, pod, config).check(&snapshot.nodes()[slot]).is_ok()
    };
    if !fits(snapshot) {
        lower.iter().for_each(|victim| snapshot.put_back(&victim.key));
        return None;
    }
    let (protected, free) = by_budget(snapshot, lower, budgets);
    let mut candidate = Candidate { slot, victims: Vec::new(), violations: 0 };
    for (victim, is_protected) in
        protected.into_iter().map(|v| (v, true)).chain(free.into_iter().map(|v| (v, false)))
    {
        snapshot.put_back(&victim.key);
        if !fits(snapshot) {
            snapshot.lift(&victim.key);
            candidate.violations += usize::from(is_protected);
            candidate.victims.push(victim);
        }
    }
    candidate.victims.iter().for_each(|victim| snapshot.put_back(&victim.key));
    // The highest priority first, as they are ranked by it.
    candidate.victims.sort_by_key(|victim| Reverse(victim.priority));
    Some(candidate)
}

/// Those whose going their budgets do not allow, and the others.
fn by_budget(
    snapshot: &Snapshot,
    victims: Vec<Victim>,
    budgets: &[Budget],
) -> (Vec<Victim>, Vec<Victim>) {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    victims.into_iter().partition(|victim| {
        let Some(class) = snapshot.pod(&victim.key).and_then(|placed| snapshot.class_of(placed))
        else {
            return false;
        };
        let mut violates = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            let is_meant = budget.namespace == victim.key.namespace
                && budget.selector.as_ref().is_some_and(|s| s.matches(&class.labels))
                && !budget.disrupted.contains(&victim.key.name);
            if is_meant {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

/// The lower the better, in upstream's order: budgets broken, the highest
/// priority that goes, the sum of priorities, how many go, and how long the most
/// important of them has run.
fn rank(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let highest = candidate.victims.first().map_or(i32::MIN, |victim| victim.priority);
    // Shifted, so that more victims of negative priority are not fewer.
    let shifted = |victim: &Victim| i64::from(victim.priority) + i64::from(i32::MAX) + 1;
    let sum = candidate.victims.iter().map(shifted).sum();
    let of_highest = candidate.victims.iter().filter(|victim| victim.priority == highest);
    let earliest = of_highest.filter_map(|victim| victim.started).min();
    let earliest = Reverse(earliest.unwrap_or(Timestamp::MAX));
    (candidate.violations, highest, sum, candidate.victims.len(), earliest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::schedule;
    use super::*;

    fn node(name: &str, cpu: &str) -> Value {
        json!({
            "metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}},
        })
    }

    fn pod(priority: i32, cpu: &str, app: &str) -> PodInfo {
        PodInfo::of(
            &serde_json::from_value(json!({
                "metadata": {"namespace": "default", "labels": {"app": app}},
                "spec": {"priority": priority, "containers": [
                    {"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            }))
            .unwrap(),
        )
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn cluster(nodes: &[&str], pods: &[(&str, &str, i32, &str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for name in nodes {
            snapshot.set_node(&serde_json::from_value(node(name, "2")).unwrap());
        }
        for (name, node, priority, cpu) in pods {
            snapshot.place(&key(name), &pod(*priority, cpu, name), node);
        }
        snapshot
    }

    fn tried(
        snapshot: &mut Snapshot,
        pod: &PodInfo,
        budgets: &[Budget],
    ) -> Result<Preemption, String> {
        let config = Config::default();
        let refused = schedule(snapshot, &key("new"), pod, &mut 0, &config).unwrap_err();
        preempt(snapshot, &key("new"), pod, &refused, budgets, &config)
            .map_err(|no_room| no_room.to_string())
    }

    #[test]
    fn the_least_important_pods_go_and_no_more_than_needed() {
        let all = [("a1", "a", 10, "1"), ("a2", "a", 5, "1"), ("b1", "b", 20, "2")];
        let mut snapshot = cluster(&["a", "b"], &all);
        let found = tried(&mut snapshot, &pod(100, "1", "new"), &[]).unwrap();
        assert_eq!((found.node.as_str(), found.victims), ("a", vec![key("a2")]));
        // All are there still.
        assert!(
            schedule(&mut snapshot, &key("x"), &pod(0, "1", "x"), &mut 0, &Config::default())
                .is_err()
        );
        let found = tried(&mut snapshot, &pod(100, "2", "new"), &[]).unwrap();
        assert_eq!((found.node.as_str(), found.victims), ("a", vec![key("a1"), key("a2")]));
    }

    #[test]
    fn nobody_goes_for_an_equal_or_where_it_does_not_help() {
        let mut snapshot = cluster(&["a"], &[("a1", "a", 10, "1"), ("a2", "a", 10, "1")]);
        assert_eq!(
            tried(&mut snapshot, &pod(10, "1", "new"), &[]).unwrap_err(),
            "0/1 nodes are available: 1 No preemption victims found for incoming pod."
        );
        assert_eq!(
            tried(&mut snapshot, &pod(100, "3", "new"), &[]).unwrap_err(),
            "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
        let meek = PodInfo { preempts: false, ..pod(100, "1", "new") };
        let why = tried(&mut snapshot, &meek, &[]).unwrap_err();
        assert_eq!(why, "not eligible due to preemptionPolicy=Never.");
    }

    #[test]
    fn those_that_go_are_waited_for_only_where_that_helps() {
        let mut snapshot = cluster(&["a", "b"], &[("b1", "b", 0, "2")]);
        let going = PodInfo { terminating: true, ..pod(0, "2", "a1") };
        snapshot.place(&key("a1"), &going, "a");
        let incoming = PodInfo { nominated: Some("a".into()), ..pod(100, "2", "new") };
        let why = tried(&mut snapshot, &incoming, &[]).unwrap_err();
        assert_eq!(why, "not eligible due to a terminating pod on the nominated node.");
        let mut cordoned = node("a", "2");
        cordoned["spec"] = json!({"unschedulable": true});
        snapshot.set_node(&serde_json::from_value(cordoned).unwrap());
        assert_eq!(tried(&mut snapshot, &incoming, &[]).unwrap().node, "b");
    }

    #[test]
    fn budgets_are_respected_where_there_is_a_choice() {
        let mut snapshot = cluster(&["a", "b"], &[("a1", "a", 0, "2"), ("b1", "b", 5, "2")]);
        let budget = Budget::of(
            &serde_json::from_value(json!({
                "metadata": {"namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": "a1"}}},
                "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
            }))
            .unwrap(),
        );
        let incoming = pod(100, "2", "new");
        let found = tried(&mut snapshot, &incoming, std::slice::from_ref(&budget)).unwrap();
        assert_eq!(found.node, "b");
        snapshot.remove_node("b");
        assert_eq!(tried(&mut snapshot, &incoming, &[budget]).unwrap().node, "a");
    }

    #[test]
    fn room_that_is_made_is_kept_from_pods_of_lower_priority() {
        let mut snapshot = cluster(&["a"], &[]);
        let config = Config::default();
        snapshot.nominate(&key("big"), &pod(100, "2", "big"), "a");
        let small = pod(0, "1", "small");
        assert!(schedule(&mut snapshot, &key("small"), &small, &mut 0, &config).is_err());
        let higher = pod(200, "1", "higher");
        assert!(schedule(&mut snapshot, &key("higher"), &higher, &mut 0, &config).is_ok());
        let mut big = pod(100, "2", "big");
        big.nominated = Some("a".into());
        assert_eq!(schedule(&mut snapshot, &key("big"), &big, &mut 0, &config).unwrap(), "a");
        snapshot.place(&key("big"), &big, "a");
        assert!(!snapshot.has_nominated());
    }
}
