//! `InterPodAffinity`: which Pods a Pod wants near and far, and which want it so.
use std::collections::{HashMap, HashSet};

use super::BEST;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::{Class, NOWHERE, NodeInfo, Snapshot, Topology};
use crate::scheduler::terms::Term;

/// What a required affinity of a Pod that is there weighs when it would like the
/// new one near (upstream's hardPodAffinityWeight).
const HARD_WEIGHT: i64 = 1;

/// Where the Pods are that matter.
#[derive(Default)]
pub(in crate::scheduler) struct Near<'a> {
    /// Domains that Pods which are there want free of this one.
    forbidden: Vec<(&'a Topology, HashSet<u32>)>,
    /// For each term of anti-affinity, the domains with Pods it means.
    far: Vec<(&'a Topology, HashSet<u32>)>,
    /// For each term of affinity, the domains with Pods that all terms mean.
    near: Vec<(&'a Topology, HashSet<u32>)>,
    /// Whether no Pod is there that the terms mean and this one would be the first.
    first: bool,
}

impl<'a> Near<'a> {
    /// Looks at all Pods.
    pub(in crate::scheduler) fn of(snapshot: &'a Snapshot, pod: &PodInfo) -> Self {
        let mut near = Self::default();
        for class in snapshot.classes_with_terms() {
            for term in class.terms.anti_affinity.iter().filter(|term| means(snapshot, term, pod)) {
                add(snapshot, &mut near.forbidden, term, class);
            }
        }
        let terms = &pod.terms;
        if terms.affinity.is_empty() && terms.anti_affinity.is_empty() {
            return near;
        }
        let start = |term: &Term| Some((snapshot.topology(&term.topology_key)?, HashSet::new()));
        near.far = terms.anti_affinity.iter().filter_map(start).collect();
        near.near = terms.affinity.iter().filter_map(start).collect();
        for class in snapshot.classes() {
            let of_namespace = snapshot.namespace(&class.namespace);
            let meant = |term: &Term| term.matches(&class.namespace, of_namespace, &class.labels);
            for (term, (topology, domains)) in terms.anti_affinity.iter().zip(&mut near.far) {
                if meant(term) {
                    domains.extend(class.nodes.keys().map(|slot| topology.of(*slot)));
                }
            }
            if !terms.affinity.is_empty() && terms.affinity.iter().all(meant) {
                for (topology, domains) in &mut near.near {
                    domains.extend(class.nodes.keys().map(|slot| topology.of(*slot)));
                }
            }
        }
        for (_, domains) in near.far.iter_mut().chain(&mut near.near) {
            domains.remove(&NOWHERE);
        }
        near.first = near.near.iter().all(|(_, domains)| domains.is_empty())
            && terms.affinity.iter().all(|term| means(snapshot, term, pod));
        near
    }
}

/// Whether a term means the Pod.
fn means(snapshot: &Snapshot, term: &Term, pod: &PodInfo) -> bool {
    term.matches(&pod.namespace, snapshot.namespace(&pod.namespace), &pod.labels)
}

fn add<'a>(
    snapshot: &'a Snapshot,
    forbidden: &mut Vec<(&'a Topology, HashSet<u32>)>,
    term: &Term,
    class: &Class,
) {
    let Some(topology) = snapshot.topology(&term.topology_key) else { return };
    let domains = class.nodes.keys().map(|slot| topology.of(*slot));
    let domains = domains.filter(|domain| *domain != NOWHERE);
    match forbidden.iter_mut().find(|(known, _)| known.key == topology.key) {
        Some((_, known)) => known.extend(domains),
        None => forbidden.push((topology, domains.collect())),
    }
}

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let near = &cycle.near;
    let inside =
        |(topology, domains): &(&Topology, HashSet<u32>)| domains.contains(&topology.of(node.slot));
    let labelled = near.near.iter().all(|(topology, _)| topology.of(node.slot) != NOWHERE);
    if !near.near.is_empty() && !(labelled && (near.first || near.near.iter().all(inside))) {
        return Err(Refusal::unresolvable(Reason::Affinity));
    }
    if near.far.iter().any(inside) {
        return Err(Refusal::resolvable(Reason::AntiAffinity));
    }
    if near.forbidden.iter().any(inside) {
        return Err(Refusal::resolvable(Reason::ExistingAntiAffinity));
    }
    Ok(())
}

/// Whether the Pod bears those for which room is being made on a node, and they it.
pub(in crate::scheduler) fn apart(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let Cycle { snapshot, pod, key, .. } = cycle;
    let parts = |term: &&Term| {
        snapshot.topology(&term.topology_key).is_some_and(|all| all.of(node.slot) != NOWHERE)
    };
    for other in snapshot.nominated_on(node, pod.priority, key) {
        let is_meant = |whose: &PodInfo, by: &PodInfo| {
            by.terms.anti_affinity.iter().filter(parts).any(|term| means(snapshot, term, whose))
        };
        if is_meant(other, pod) {
            return Err(Refusal::resolvable(Reason::AntiAffinity));
        }
        if is_meant(pod, other) {
            return Err(Refusal::resolvable(Reason::ExistingAntiAffinity));
        }
    }
    Ok(())
}

/// The more Pods near that are wanted near, from either side, the better.
pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let (snapshot, pod) = (cycle.snapshot, cycle.pod);
    let mut sums: Vec<(&Topology, HashMap<u32, i64>)> = Vec::new();
    let mut add = |term: &Term, weight: i64, class: &Class| {
        let Some(topology) = snapshot.topology(&term.topology_key) else { return };
        let at = sums.iter().position(|(known, _)| known.key == topology.key);
        let at = at.unwrap_or_else(|| {
            sums.push((topology, HashMap::new()));
            sums.len() - 1
        });
        for (slot, count) in &class.nodes {
            *sums[at].1.entry(topology.of(*slot)).or_default() += weight * i64::from(*count);
        }
    };
    for class in snapshot.classes_with_terms() {
        for term in class.terms.affinity.iter().filter(|term| means(snapshot, term, pod)) {
            add(term, HARD_WEIGHT, class);
        }
        for term in class.terms.preferred.iter().filter(|term| means(snapshot, term, pod)) {
            add(term, term.weight, class);
        }
    }
    if !pod.terms.preferred.is_empty() {
        for class in snapshot.classes() {
            let of_namespace = snapshot.namespace(&class.namespace);
            for term in &pod.terms.preferred {
                if term.matches(&class.namespace, of_namespace, &class.labels) {
                    add(term, term.weight, class);
                }
            }
        }
    }
    if sums.is_empty() {
        return None;
    }
    let sum = |node: &&NodeInfo| -> i64 {
        let of = |(topology, domains): &(&Topology, HashMap<u32, i64>)| {
            let domain = topology.of(node.slot);
            if domain == NOWHERE { 0 } else { domains.get(&domain).copied().unwrap_or(0) }
        };
        sums.iter().map(of).sum()
    };
    let scores: Vec<i64> = nodes.iter().map(sum).collect();
    let (least, most) = (scores.iter().min().copied()?, scores.iter().max().copied()?);
    let stretched =
        |score: i64| if most > least { BEST * (score - least) / (most - least) } else { 0 };
    Some(scores.into_iter().map(stretched).collect())
}
