//! Gives containers that run other amounts of CPU and memory.
//!
//! What a Pod asks for and what it was given may differ: a node that has no
//! room leaves things as they are, says so in a condition and tries again.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use shim::cri::Id;
use tracing::{info, warn};

use super::plan::Stop;
use super::worker::{Worker, container_of};
use crate::node::resources;

/// Resources by container.
pub(in crate::node) type Allocated = BTreeMap<String, ResourceRequirements>;

/// Why a resize waits: reason and message of its condition.
pub(in crate::node) type Pending = (&'static str, String);

/// What the containers of a Pod ask for.
pub(super) fn asked(spec: &PodSpec) -> Allocated {
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.map(|container| (container.name.clone(), container.resources.clone().unwrap_or_default()))
        .collect()
}

/// Whether the change of a container's resources asks for its restart.
fn needs_restart(
    container: &Container,
    old: &ResourceRequirements,
    new: &ResourceRequirements,
) -> bool {
    let amount = |resources: &ResourceRequirements, name: &str| {
        let of = |list: &Option<BTreeMap<String, _>>| list.as_ref()?.get(name).cloned();
        (of(&resources.limits), of(&resources.requests))
    };
    container.resize_policy.iter().flatten().any(|policy| {
        policy.restart_policy == "RestartContainer"
            && amount(old, &policy.resource_name) != amount(new, &policy.resource_name)
    })
}

impl Worker {
    /// Gives running containers what the Pod asks for now, if the node has it.
    pub(super) async fn resize(&mut self) {
        let pod = Arc::clone(&self.pod);
        let Some(spec) = &pod.spec else { return };
        let asked = asked(spec);
        if asked == self.allocated {
            self.resize_pending = None;
            return;
        }
        let granted = self.node.reservations.lock().resize(self.uid(), spec);
        if let Err((reason, message)) = granted {
            if self.resize_pending.is_none() {
                let about = self.about();
                self.node.recorder.warning(about, "ResizeDeferred", message.clone());
            }
            self.resize_pending = Some((reason, message));
            return;
        }
        self.resize_pending = None;
        let old = std::mem::replace(&mut self.allocated, asked);
        let running: Vec<_> =
            self.containers.running().map(|(name, a)| (name.to_owned(), a.id.clone())).collect();
        for (name, id) in running {
            let Some(container) = container_of(spec, &name) else { continue };
            let new = container.resources.clone().unwrap_or_default();
            let was = old.get(&name).cloned().unwrap_or_default();
            if new == was {
                continue;
            }
            if needs_restart(container, &was, &new) {
                let message = format!("Container {name} resize requires restart");
                let about = self.about_container(&name);
                self.node.recorder.normal(about, "Killing", message.clone());
                self.restart(&Stop { name, id, message, grace: None });
            } else {
                self.apply(container, Id(id)).await;
            }
        }
        info!(namespace = self.namespace(), name = self.name(), "pod resized");
    }

    async fn apply(&self, container: &Container, id: Id) {
        let annotations = self.pod.metadata.annotations.clone().unwrap_or_default();
        let limits = match resources::of(container, &annotations) {
            Ok(limits) => limits,
            Err(error) => {
                warn!(container = container.name, %error, "resources not applied");
                return;
            }
        };
        // One that has ended meanwhile gets them when it is started again.
        if let Err(error) = self.node.runtime.update_container_resources(&id, limits).await {
            warn!(container = container.name, %error, "resources not applied");
        }
    }

    /// A container with the resources that it was given, whatever it asks for.
    pub(super) fn as_allocated(&self, container: &Container) -> Container {
        let resources = self.allocated.get(&container.name).cloned();
        Container { resources: resources.or(container.resources.clone()), ..container.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_resource_whose_policy_says_so_needs_a_restart() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resizePolicy": [
                {"resourceName": "memory", "restartPolicy": "RestartContainer"},
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            ],
        }))
        .unwrap();
        let resources = |cpu: &str, memory: &str| -> ResourceRequirements {
            let limits = json!({"limits": {"cpu": cpu, "memory": memory}});
            serde_json::from_value(limits).unwrap()
        };
        let old = resources("1", "1Gi");
        assert!(!needs_restart(&container, &old, &resources("2", "1Gi")));
        assert!(needs_restart(&container, &old, &resources("1", "2Gi")));
    }
}
