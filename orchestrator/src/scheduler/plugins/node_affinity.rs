//! `NodeAffinity`: the node has the labels that nodeSelector and affinity ask for.
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::normalize;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    if wanted(cycle.pod, node) {
        return Ok(());
    }
    Err(Refusal::unresolvable(Reason::NodeAffinity))
}

/// The more preferred terms a node matches, by their weights, the better.
pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let preferred = &cycle.pod.preferred;
    if preferred.is_empty() {
        return None;
    }
    let sum = |node: &&NodeInfo| {
        let held = preferred.iter().filter(|term| matches(&term.preference, node));
        held.map(|term| i64::from(term.weight)).sum()
    };
    let mut scores: Vec<i64> = nodes.iter().map(sum).collect();
    normalize(&mut scores, false);
    Some(scores)
}

/// Whether the Pod may be on this node, by its labels.
pub(super) fn wanted(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    // Terms are alternatives; none at all matches nothing.
    selected
        && pod.affinity.as_ref().is_none_or(|terms| terms.iter().any(|term| matches(term, node)))
}

fn matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by_name = |field: &NodeSelectorRequirement| {
        field.key == "metadata.name" && holds(field, Some(&node.name))
    };
    // A term without requirements matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|one| holds(one, node.labels.get(&one.key)))
        && fields.iter().all(by_name)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.contains(value));
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |fits: fn(i64, i64) -> bool| {
        let limit = values.first().and_then(number);
        value.and_then(number).zip(limit).is_some_and(|(value, limit)| fits(value, limit))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, limit| value > limit),
        "Lt" => compare(|value, limit| value < limit),
        _ => false,
    }
}
