//! `NodePorts`: the ports that the Pod takes of its node are free.
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let taken = |port| node.ports.iter().any(|taken| taken.conflicts(port));
    if cycle.pod.ports.iter().any(taken) {
        return Err(Refusal::resolvable(Reason::Ports));
    }
    Ok(())
}
