//! The Pods of one controller go to different nodes, as the default constraints of `PodTopologySpread` have it.
use super::BEST;
use crate::scheduler::{NodeInfo, PodInfo};

pub(super) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let same = pod.owner.as_ref().and_then(|owner| node.owners.get(owner)).copied().unwrap_or(0);
    BEST / (1 + i64::try_from(same).unwrap_or(BEST))
}
