//! What of a Pod matters for its placement.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, NodeSelectorTerm, Pod, Toleration};

use super::Resources;
use crate::client::Quantity;

/// A Pod as the scheduler sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodInfo {
    /// What it asks for; itself counts as one Pod.
    pub requests: Resources,
    /// Labels its node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Terms of which its node must match one (`requiredDuringSchedulingIgnoredDuringExecution`).
    pub affinity: Option<Vec<NodeSelectorTerm>>,
    /// Taints it puts up with.
    pub tolerations: Vec<Toleration>,
    /// Higher goes first.
    pub priority: i32,
    /// The uid of its controller, whose Pods are spread.
    pub owner: Option<String>,
}

impl PodInfo {
    /// What of `pod` matters.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity
            .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let owners = pod.metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        Self {
            requests: requests(pod),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            affinity: required.map(|required| required.node_selector_terms.clone()),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or_default(),
            owner: controller.map(|owner| owner.uid.clone()),
        }
    }
}

/// The sum over containers, or the largest init container where that is more:
/// init containers run one after another, before the others. Those that go on
/// running beside them (restartPolicy Always) count from then on.
fn requests(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut sum = Resources { pods: 1, ..Resources::default() };
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let own = asked(container);
        if container.restart_policy.as_deref() == Some("Always") {
            raise(&mut sum, &own);
            largest(&mut peak, &sum);
        } else {
            let mut while_it_runs = sum;
            raise(&mut while_it_runs, &own);
            largest(&mut peak, &while_it_runs);
        }
    }
    for container in &spec.containers {
        raise(&mut sum, &asked(container));
    }
    largest(&mut sum, &peak);
    sum
}

fn asked(container: &Container) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let amount = |name: &str| {
        let amount = requests.and_then(|requests| requests.get(name));
        amount.and_then(|amount| Quantity::try_from(amount).ok())
    };
    Resources {
        milli_cpu: amount("cpu").map_or(0, Quantity::milli_value),
        memory: amount("memory").map_or(0, Quantity::value),
        ephemeral_storage: amount("ephemeral-storage").map_or(0, Quantity::value),
        pods: 0,
    }
}

fn raise(sum: &mut Resources, by: &Resources) {
    sum.milli_cpu += by.milli_cpu;
    sum.memory += by.memory;
    sum.ephemeral_storage += by.ephemeral_storage;
}

fn largest(sum: &mut Resources, other: &Resources) {
    sum.milli_cpu = sum.milli_cpu.max(other.milli_cpu);
    sum.memory = sum.memory.max(other.memory);
    sum.ephemeral_storage = sum.ephemeral_storage.max(other.ephemeral_storage);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_by_their_largest_and_sidecars_always() {
        let container = |cpu: &str, restart: Option<&str>| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}, "restartPolicy": restart});
        let pod = |init: Vec<serde_json::Value>| {
            let spec = json!({"containers": [container("100m", None), container("200m", None)], "initContainers": init});
            PodInfo::of(&serde_json::from_value(json!({"spec": spec})).unwrap()).requests
        };
        assert_eq!(pod(vec![]).milli_cpu, 300);
        assert_eq!(pod(vec![]).memory, 2 << 20);
        assert_eq!(pod(vec![container("1", None)]).milli_cpu, 1000);
        assert_eq!(pod(vec![container("50m", Some("Always"))]).milli_cpu, 350);
        assert_eq!(
            pod(vec![container("50m", Some("Always")), container("1", None)]).milli_cpu,
            1050
        );
    }
}
