//! `ImageLocality`: a node that has the Pod's images already had better take it.
use super::BEST;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::snapshot::NodeInfo;

/// Bytes of images that make no difference.
const LITTLE: i64 = 23 << 20;
/// Bytes for each container that make all the difference.
const MUCH: i64 = 1000 << 20;

pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let images = &cycle.pod.images;
    if !images.iter().any(|image| cycle.snapshot.nodes_with(image) > 0) {
        return None;
    }
    let total = i64::try_from(cycle.snapshot.len()).unwrap_or(i64::MAX).max(1);
    let most = MUCH.saturating_mul(i64::try_from(images.len()).unwrap_or(1));
    let score = |node: &&NodeInfo| {
        let there = images.iter().filter_map(|image| {
            let size = *node.images.get(image)?;
            let spread = i64::try_from(cycle.snapshot.nodes_with(image)).unwrap_or(total);
            // What few nodes have counts less, or all Pods would heap up there.
            Some(
                i64::try_from(i128::from(size) * i128::from(spread) / i128::from(total))
                    .unwrap_or(0),
            )
        });
        let sum: i64 = there.sum();
        BEST * (sum.clamp(LITTLE, most) - LITTLE) / (most - LITTLE)
    };
    Some(nodes.iter().map(score).collect())
}
