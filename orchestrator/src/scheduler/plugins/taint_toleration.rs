//! `TaintToleration`: a node's taints keep Pods away that do not tolerate them.
use k8s_openapi::api::core::v1::{Taint, Toleration};
use tracing::debug;

use super::normalize;
use crate::client::tolerates;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    match untolerated(&cycle.pod.tolerations, node) {
        None => Ok(()),
        Some(Taint { key: taint, value, .. }) => {
            debug!(pod = %cycle.key, node = node.name, taint, value, "untolerated taint");
            Err(Refusal::unresolvable(Reason::Taint))
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

/// Whether one of the tolerations fits a taint.
pub(super) fn is_tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}
