//! `NodeUnschedulable`: a cordoned node takes no Pod that does not tolerate it.
use super::taint_toleration::tolerates;
use crate::scheduler::{NodeInfo, PodInfo};

/// The taint that a cordoned node is taken to have.
const KEY: &str = "node.kubernetes.io/unschedulable";

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Vec<String>> {
    if !node.unschedulable || tolerates(&pod.tolerations, KEY, "", "NoSchedule") {
        return Ok(());
    }
    Err(vec!["node(s) were unschedulable".into()])
}
