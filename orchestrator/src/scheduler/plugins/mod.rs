//! What decides where a Pod may and should go: one file for each plugin.
//!
//! The order is that of kube-scheduler: the first filter that refuses a node
//! names the reason.
mod least_allocated;
mod node_affinity;
mod node_unschedulable;
mod resources_fit;
mod spread;
mod taint_toleration;

use super::{NodeInfo, PodInfo};

/// Refuses a node with the words of kube-scheduler, or lets it pass.
pub(super) type Filter = fn(&PodInfo, &NodeInfo) -> Result<(), Vec<String>>;

/// Says how good a node is, from 0 to 100.
pub(super) type Score = fn(&PodInfo, &NodeInfo) -> i64;

/// The filters, in order.
pub(super) const FILTERS: &[Filter] = &[
    node_unschedulable::filter,
    taint_toleration::filter,
    node_affinity::filter,
    resources_fit::filter,
];

/// The scores and their weights.
pub(super) const SCORES: &[(Score, i64)] = &[(least_allocated::score, 1), (spread::score, 2)];

/// The best score.
const BEST: i64 = 100;
