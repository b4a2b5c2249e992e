//! `NodeResourcesFit`'s LeastAllocated: the emptier the node, the better.
use super::BEST;
use crate::scheduler::{NodeInfo, PodInfo};

pub(super) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let (all, used, asked) = (&node.allocatable, &node.requested, &pod.requests);
    let free = |all: i64, used: i64| if all > 0 { (all - used).max(0) * BEST / all } else { 0 };
    let cpu = free(all.milli_cpu, used.milli_cpu + asked.milli_cpu);
    let memory = free(all.memory, used.memory + asked.memory);
    let pods = free(all.pods, used.pods + asked.pods);
    (cpu + memory + pods) / 3
}
