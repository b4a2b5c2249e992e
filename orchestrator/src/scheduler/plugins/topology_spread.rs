//! `PodTopologySpread`: Pods that are alike are spread over nodes, zones, ….
//!
//! A Pod without constraints is spread by its controller, over nodes and
//! zones, as kube-scheduler's default constraints have it.
use std::collections::HashSet;

use super::BEST;
use super::node_affinity::wanted;
use super::taint_toleration::untolerated;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::{NOWHERE, NodeInfo, Snapshot, Topology};
use crate::scheduler::terms::Constraint;

/// The skews of the default constraints, for nodes and for zones.
const DEFAULT_SKEWS: (i64, i64) = (3, 5);

/// A constraint, and what is there.
pub(in crate::scheduler) struct Counted<'a> {
    constraint: &'a Constraint,
    topology: &'a Topology,
    /// Matching Pods in each domain.
    counts: Vec<u32>,
    /// The least of them, among domains that count.
    least: u32,
    /// Whether the Pod itself would be counted.
    self_match: i64,
}

/// The constraints that must hold, or those that had better.
pub(in crate::scheduler) fn count<'a>(
    snapshot: &'a Snapshot,
    pod: &'a PodInfo,
    required: bool,
) -> Vec<Counted<'a>> {
    let constraints = pod.spread.iter().filter(|constraint| constraint.required == required);
    let all: Vec<(&Constraint, &Topology)> = constraints
        .filter_map(|constraint| Some((constraint, snapshot.topology(&constraint.topology_key)?)))
        .collect();
    all.iter()
        .map(|&(constraint, topology)| one(snapshot, pod, constraint, topology, &all))
        .collect()
}

fn one<'a>(
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    constraint: &'a Constraint,
    topology: &'a Topology,
    all: &[(&Constraint, &Topology)],
) -> Counted<'a> {
    let by_labels =
        constraint.honors_affinity && (!pod.node_selector.is_empty() || pod.affinity.is_some());
    let counts_node = |node: &NodeInfo| {
        node.known
            && all.iter().all(|(_, topology)| topology.of(node.slot) != NOWHERE)
            && (!by_labels || wanted(pod, node))
            && (!constraint.honors_taints || untolerated(&pod.tolerations, node).is_none())
    };
    let nodes = snapshot.nodes();
    let mut there = vec![false; topology.domains()];
    let mut eligible = vec![false; nodes.len()];
    for node in nodes {
        if counts_node(node) {
            eligible[node.slot] = true;
            there[topology.of(node.slot) as usize] = true;
        }
    }
    let mut counts = vec![0; topology.domains()];
    for class in snapshot.classes() {
        let alike = class.namespace == pod.namespace
            && !class.terminating
            && constraint.selects.matches(&class.labels);
        for (slot, count) in class.nodes.iter().filter(|_| alike) {
            if eligible[*slot] {
                counts[topology.of(*slot) as usize] += count;
            }
        }
    }
    let mut of_domains =
        counts.iter().zip(&there).filter(|(_, there)| **there).map(|(count, _)| *count).peekable();
    let few = there.iter().filter(|there| **there).count() < constraint.min_domains;
    let least = if few || of_domains.peek().is_none() { 0 } else { of_domains.min().unwrap_or(0) };
    let self_match = i64::from(constraint.selects.matches(&pod.labels));
    Counted { constraint, topology, counts, least, self_match }
}

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    for counted in &cycle.spread {
        let domain = counted.topology.of(node.slot);
        if domain == NOWHERE {
            return Err(Refusal::unresolvable(Reason::SpreadLabel));
        }
        let there = i64::from(counted.counts[domain as usize]);
        let skew = there + counted.self_match - i64::from(counted.least);
        if skew > counted.constraint.max_skew {
            return Err(Refusal::resolvable(Reason::Spread));
        }
    }
    Ok(())
}

/// The fewer alike there are, the better.
pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    if !cycle.pod.spread.is_empty() {
        return by_constraints(cycle, nodes);
    }
    by_owner(cycle, nodes)
}

fn by_constraints(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let counted = count(cycle.snapshot, cycle.pod, false);
    if counted.is_empty() {
        return None;
    }
    let weights: Vec<f64> = counted
        .iter()
        .map(|one| {
            let domains: HashSet<u32> =
                nodes.iter().map(|node| one.topology.of(node.slot)).collect();
            weight(domains.iter().filter(|domain| **domain != NOWHERE).count())
        })
        .collect();
    let score = |node: &&NodeInfo| {
        let mut sum = 0.0;
        for (one, weight) in counted.iter().zip(&weights) {
            let domain = one.topology.of(node.slot);
            if domain == NOWHERE {
                return None;
            }
            sum += part(one.counts[domain as usize], *weight, one.constraint.max_skew);
        }
        Some(sum)
    };
    Some(stretch(nodes.iter().map(score).collect()))
}

fn by_owner(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let owned = cycle.snapshot.owned(cycle.pod.owner.as_ref()?)?;
    let zones = cycle.snapshot.zones();
    let zoned = zones.domains() > 0;
    let of_zones = if zoned {
        let seen: HashSet<u32> = nodes.iter().map(|node| zones.of(node.slot)).collect();
        weight(seen.iter().filter(|zone| **zone != NOWHERE).count())
    } else {
        0.0
    };
    let of_nodes = weight(nodes.len());
    let score = |node: &&NodeInfo| {
        let on_node = owned.nodes.get(&node.slot).copied().unwrap_or(0);
        let mut sum = part(on_node, of_nodes, DEFAULT_SKEWS.0);
        let zone = if zoned { zones.of(node.slot) } else { NOWHERE };
        if zone != NOWHERE {
            let in_zone = owned.zones.get(&zone).copied().unwrap_or(0);
            sum += part(in_zone, of_zones, DEFAULT_SKEWS.1);
        }
        Some(sum)
    };
    Some(stretch(nodes.iter().map(score).collect()))
}

/// What a constraint over so many domains weighs: one over few would not be heard otherwise.
fn weight(domains: usize) -> f64 {
    (domains as f64 + 2.0).ln()
}

fn part(count: u32, weight: f64, max_skew: i64) -> f64 {
    f64::from(count) * weight + (max_skew - 1) as f64
}

/// Scores from 0 to 100, the lowest sum being the best; a node that lacks a label gets none.
fn stretch(sums: Vec<Option<f64>>) -> Vec<i64> {
    let rounded: Vec<Option<i64>> =
        sums.into_iter().map(|sum| sum.map(|sum| sum.round() as i64)).collect();
    let most = rounded.iter().flatten().copied().max().unwrap_or(0);
    let least = rounded.iter().flatten().copied().min().unwrap_or(0);
    let score = |sum: Option<i64>| match sum {
        None => 0,
        Some(_) if most == 0 => BEST,
        Some(sum) => BEST * (most + least - sum) / most,
    };
    rounded.into_iter().map(score).collect()
}
