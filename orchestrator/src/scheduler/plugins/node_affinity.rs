//! `NodeAffinity`: the node has the labels that nodeSelector and required affinity ask for.
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use crate::scheduler::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Vec<String>> {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    // Terms are alternatives; none at all matches nothing.
    let wanted =
        pod.affinity.as_ref().is_none_or(|terms| terms.iter().any(|term| matches(term, node)));
    if selected && wanted {
        return Ok(());
    }
    Err(vec!["node(s) didn't match Pod's node affinity/selector".into()])
}

fn matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    let by_name = |field: &NodeSelectorRequirement| {
        field.key == "metadata.name" && holds(field, Some(&node.name))
    };
    // A term without requirements matches nothing.
    let asks = expressions.clone().next().is_some() || fields.clone().next().is_some();
    asks && expressions.clone().all(|one| holds(one, node.labels.get(&one.key)))
        && fields.clone().all(by_name)
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
