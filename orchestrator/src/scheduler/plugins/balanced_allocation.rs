//! `NodeResourcesBalancedAllocation`: CPU and memory had better be used alike.
use super::BEST;
use crate::client::resource_requests::Amount;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let asked = &cycle.pod.requests.resources;
    // A Pod that asks for nothing changes no balance.
    if asked.milli_cpu == 0 && asked.memory == 0 {
        return None;
    }
    let score = |node: &&NodeInfo| {
        let part = |all: Amount, used: Amount| {
            // In 10,000ths; a node is never more than full.
            if all > 0 { (used * 10_000 / all).min(10_000) } else { 0 }
        };
        let cpu = part(node.allocatable.milli_cpu, node.requested.milli_cpu + asked.milli_cpu);
        let memory = part(node.allocatable.memory, node.requested.memory + asked.memory);
        // The standard deviation of two values is half their distance.
        let deviation = i64::try_from((cpu - memory).abs() / 2).unwrap_or(0);
        BEST - deviation * BEST / 10_000
    };
    Some(nodes.iter().map(score).collect())
}
