//! One decision: which node a Pod goes to. Pure.
use std::collections::BTreeMap;
use std::fmt;

use super::plugins::inter_pod_affinity::{self, Near};
use super::plugins::topology_spread::{self, Counted};
use super::plugins::{FILTERS, SCORES};
use super::reason::{Plugins, Reason, Refusal};
use super::{Config, NodeInfo, PodInfo, Snapshot};
use crate::client::ObjectKey;

/// As many fitting nodes as are compared; more make a decision slower, hardly
/// better (upstream's minFeasibleNodesToFind).
const COMPARED: usize = 100;

/// Why a Pod fits nowhere; `Display` is kube-scheduler's message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unschedulable {
    nodes: usize,
    /// Reasons, and how many nodes each keeps away from.
    reasons: BTreeMap<Reason, usize>,
    /// Places of nodes where it would help if other Pods went.
    pub(super) resolvable: Vec<usize>,
    /// What preemption said, if it was tried.
    pub(super) preemption: Option<String>,
}

impl Unschedulable {
    /// Those that refused: what changes for none of them cannot help.
    pub fn plugins(&self) -> Plugins {
        if self.nodes == 0 {
            return Plugins::NO_NODE;
        }
        self.reasons.keys().fold(Plugins::NONE, |all, reason| all.and(reason.plugin()))
    }
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))?;
        match &self.preemption {
            Some(preemption) => write!(f, " preemption: {preemption}"),
            None => Ok(()),
        }
    }
}

/// What is looked up once for a decision.
pub(super) struct Cycle<'a> {
    pub snapshot: &'a Snapshot,
    pub key: &'a ObjectKey,
    pub pod: &'a PodInfo,
    pub config: &'a Config,
    pub spread: Vec<Counted<'a>>,
    pub near: Near<'a>,
}

impl<'a> Cycle<'a> {
    /// The snapshot must have [learnt](Snapshot::learn) the Pod's topology keys.
    pub(super) fn new(
        snapshot: &'a Snapshot,
        key: &'a ObjectKey,
        pod: &'a PodInfo,
        config: &'a Config,
    ) -> Self {
        let spread = topology_spread::count(snapshot, pod, true);
        let near = Near::of(snapshot, pod);
        Self { snapshot, key, pod, config, spread, near }
    }

    /// Whether the Pod may be on a node, now and once others have the room made for them.
    pub(super) fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        FILTERS.iter().try_for_each(|filter| filter(self, node))?;
        if self.snapshot.has_nominated()
            && let Some(later) = self.snapshot.with_nominated(node, self.pod.priority, self.key)
        {
            FILTERS.iter().try_for_each(|filter| filter(self, &later))?;
            return inter_pod_affinity::apart(self, node);
        }
        Ok(())
    }

    fn best(&self, fitting: &[&'a NodeInfo]) -> Option<&'a NodeInfo> {
        if fitting.len() <= 1 {
            return fitting.first().copied();
        }
        let mut totals = vec![0; fitting.len()];
        for (score, weight) in SCORES {
            let Some(scores) = score(self, fitting) else { continue };
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * weight;
            }
        }
        // Of equals the first: the search begins elsewhere each time.
        let best = totals.iter().enumerate().max_by_key(|(at, total)| (**total, usize::MAX - at));
        best.map(|(at, _)| fitting[at])
    }
}

/// The best node for a Pod. `start` is where the search begins; it moves on, so that equal nodes take turns.
pub fn schedule(
    snapshot: &mut Snapshot,
    key: &ObjectKey,
    pod: &PodInfo,
    start: &mut usize,
    config: &Config,
) -> Result<String, Unschedulable> {
    snapshot.learn(pod);
    let snapshot = &*snapshot;
    let mut unschedulable = Unschedulable { nodes: snapshot.len(), ..Unschedulable::default() };
    if snapshot.is_empty() {
        return Err(unschedulable);
    }
    let cycle = Cycle::new(snapshot, key, pod, config);
    // Room was made there for this one.
    if let Some(node) = pod.nominated.as_deref().and_then(|name| snapshot.node(name))
        && cycle.check(node).is_ok()
    {
        return Ok(node.name.clone());
    }
    let nodes = snapshot.nodes();
    let mut fitting = Vec::with_capacity(COMPARED);
    let (after, before) = nodes.split_at(*start % nodes.len());
    let mut looked = 0;
    for node in before.iter().chain(after) {
        looked += 1;
        if !node.known {
            continue;
        }
        match cycle.check(node) {
            Ok(()) => fitting.push(node),
            Err(refusal) => {
                // Only if no node fits does anybody ask.
                if fitting.is_empty() {
                    if refusal.resolvable {
                        unschedulable.resolvable.push(node.slot);
                    }
                    for reason in refusal.reasons {
                        *unschedulable.reasons.entry(reason).or_insert(0) += 1;
                    }
                }
            }
        }
        if fitting.len() == COMPARED {
            break;
        }
    }
    *start = (*start % nodes.len()) + looked;
    match cycle.best(&fitting) {
        Some(node) => Ok(node.name.clone()),
        None => Err(unschedulable),
    }
}

#[cfg(test)]
mod tests;
