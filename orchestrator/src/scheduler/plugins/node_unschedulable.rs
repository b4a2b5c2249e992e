//! `NodeUnschedulable`: a cordoned node takes no Pod that does not tolerate it.
use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::is_tolerated;
use crate::scheduler::cycle::Cycle;
use crate::scheduler::reason::{Reason, Refusal};
use crate::scheduler::snapshot::NodeInfo;

/// The taint that a cordoned node is taken to have.
const KEY: &str = "node.kubernetes.io/unschedulable";

pub(super) fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    if !node.unschedulable {
        return Ok(());
    }
    let taint = Taint { key: KEY.into(), effect: "NoSchedule".into(), ..Taint::default() };
    if is_tolerated(&cycle.pod.tolerations, &taint) {
        return Ok(());
    }
    Err(Refusal::unresolvable(Reason::Unschedulable))
}
