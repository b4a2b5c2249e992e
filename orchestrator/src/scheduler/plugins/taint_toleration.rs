//! `TaintToleration`: a node's taints keep Pods away that do not tolerate them.
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::normalize;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    match untolerated(&cycle.pod.tolerations, node) {
        None => Ok(()),
        Some(taint) => {
            let value = taint.value.clone().unwrap_or_default();
            Err(Refusal::unresolvable(Reason::Taint(taint.key.clone(), value)))
        }
    }
}

/// The fewer taints that would rather not have the Pod, the better.
pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let prefers = |taint: &&Taint| taint.effect == "PreferNoSchedule";
    if !nodes.iter().any(|node| node.taints.iter().any(|taint| prefers(&taint))) {
        return None;
    }
    let count = |node: &&NodeInfo| {
        let taints = node.taints.iter().filter(prefers);
        let bad = taints.filter(|taint| !is_tolerated(&cycle.pod.tolerations, taint));
        i64::try_from(bad.count()).unwrap_or(i64::MAX)
    };
    let mut scores: Vec<i64> = nodes.iter().map(count).collect();
    normalize(&mut scores, true);
    Some(scores)
}

/// The first taint that keeps a Pod with these tolerations away.
pub(super) fn untolerated<'a>(tolerations: &[Toleration], node: &'a NodeInfo) -> Option<&'a Taint> {
    let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints.iter().filter(keeps_away).find(|taint| !is_tolerated(tolerations, taint))
}

fn is_tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    let value = taint.value.as_deref().unwrap_or_default();
    tolerates(tolerations, &taint.key, value, &taint.effect)
}

/// Whether one of the tolerations fits a taint.
pub(super) fn tolerates(tolerations: &[Toleration], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|toleration| {
        let (own_key, own_effect) = (text(&toleration.key), text(&toleration.effect));
        let fits_effect = own_effect.is_empty() || own_effect == effect;
        let fits_key = own_key.is_empty() || own_key == key;
        let fits_value = match text(&toleration.operator) {
            "" | "Equal" => !own_key.is_empty() && text(&toleration.value) == value,
            "Exists" => true,
            _ => false,
        };
        fits_effect && fits_key && fits_value
    })
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}
