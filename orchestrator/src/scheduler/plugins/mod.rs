//! What decides where a Pod may and should go: one file for each plugin.
//!
//! The order, the weights and the words are those of kube-scheduler: the first
//! filter that refuses a node names the reason.
mod balanced_allocation;
mod image_locality;
pub(super) mod inter_pod_affinity;
mod node_affinity;
mod node_ports;
mod node_unschedulable;
mod resources_fit;
mod taint_toleration;
pub(super) mod topology_spread;

use super::cycle::Cycle;
use super::reason::Refusal;
use super::snapshot::NodeInfo;

/// Refuses a node with the words of kube-scheduler, or lets it pass.
pub(super) type Filter = fn(&Cycle<'_>, &NodeInfo) -> Result<(), Refusal>;

/// Says how good each node is, from 0 to 100; none if it likes all the same.
pub(super) type Score = fn(&Cycle<'_>, &[&NodeInfo]) -> Option<Vec<i64>>;

/// The filters, in order.
pub(super) const FILTERS: &[Filter] = &[
    node_unschedulable::filter,
    taint_toleration::filter,
    node_affinity::filter,
    node_ports::filter,
    resources_fit::filter,
    topology_spread::filter,
    inter_pod_affinity::filter,
];

/// The scores and their weights.
pub(super) const SCORES: &[(Score, i64)] = &[
    (taint_toleration::scores, 3),
    (node_affinity::scores, 2),
    (resources_fit::scores, 1),
    (topology_spread::scores, 2),
    (inter_pod_affinity::scores, 2),
    (balanced_allocation::scores, 1),
    (image_locality::scores, 1),
];

/// The best score.
const BEST: i64 = 100;

/// Stretches scores so that the highest is the best; `reverse` makes the lowest the best.
fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let stretched = if highest == 0 { 0 } else { *score * BEST / highest };
        *score = if reverse { BEST - stretched } else { stretched };
    }
}
