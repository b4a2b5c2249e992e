//! `NodeResourcesFit`: what the Pod asks for is free; the emptier the node the
//! better, or the fuller, as configured.
use std::collections::BTreeMap;

use super::BEST;
use crate::client::resource_requests::Amount;
use crate::scheduler::Strategy;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let requests = &cycle.pod.requests;
    let (asked, all, used) = (&requests.resources, &node.allocatable, &node.requested);
    let fits = used.pods + asked.pods <= all.pods
        && (asked.milli_cpu == 0 || used.milli_cpu + asked.milli_cpu <= all.milli_cpu)
        && (asked.memory == 0 || used.memory + asked.memory <= all.memory)
        && (asked.ephemeral_storage == 0
            || used.ephemeral_storage + asked.ephemeral_storage <= all.ephemeral_storage);
    if fits && requests.extended.is_empty() {
        return Ok(());
    }
    missing(cycle, node)
}

fn missing(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let requests = &cycle.pod.requests;
    let (asked, all, used) = (&requests.resources, &node.allocatable, &node.requested);
    let mut refusal = Refusal { reasons: Vec::new(), resolvable: true };
    if used.pods + asked.pods > all.pods {
        refusal.reasons.push(Reason::TooManyPods);
    }
    for (name, asked, all, used) in [
        ("cpu", asked.milli_cpu, all.milli_cpu, used.milli_cpu),
        ("memory", asked.memory, all.memory, used.memory),
        (
            "ephemeral-storage",
            asked.ephemeral_storage,
            all.ephemeral_storage,
            used.ephemeral_storage,
        ),
    ] {
        if asked > 0 && asked > all - used {
            refusal.reasons.push(Reason::Insufficient(name.into()));
            refusal.resolvable &= asked <= all;
        }
    }
    for (name, asked) in &requests.extended {
        let of = |amounts: &BTreeMap<String, Amount>| amounts.get(name).copied().unwrap_or(0);
        let (all, used) = (of(&node.extended), of(&node.extended_requested));
        if *asked > 0 && *asked > all - used {
            refusal.reasons.push(Reason::Insufficient(name.clone().into()));
            refusal.resolvable &= *asked <= all;
        }
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}

/// By the part of CPU and memory that would be free, or taken.
pub(super) fn scores(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let asked = cycle.pod.requests.scored;
    let score = |node: &&NodeInfo| {
        let best = Amount::from(BEST);
        let part = |all: Amount, used: Amount| match (cycle.config.strategy, all > 0 && used <= all)
        {
            (_, false) => 0,
            (Strategy::LeastAllocated, true) => (all - used) * best / all,
            (Strategy::MostAllocated, true) => used * best / all,
        };
        let cpu = part(node.allocatable.milli_cpu, node.scored.0 + asked.0);
        let memory = part(node.allocatable.memory, node.scored.1 + asked.1);
        i64::try_from((cpu + memory) / 2).unwrap_or(0)
    };
    Some(nodes.iter().map(score).collect())
}
