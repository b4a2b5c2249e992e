//! `NodeUnschedulable`: a cordoned node takes no Pod that does not tolerate it.
use super::taint_toleration::tolerates;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

/// The taint that a cordoned node is taken to have.
const KEY: &str = "node.kubernetes.io/unschedulable";

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    if !node.unschedulable || tolerates(&cycle.pod.tolerations, KEY, "", "NoSchedule") {
        return Ok(());
    }
    Err(Refusal::unresolvable(Reason::Unschedulable))
}
