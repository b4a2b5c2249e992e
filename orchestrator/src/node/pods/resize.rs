//! Gives containers that run other amounts of CPU and memory.
//!
//! What a Pod asks for, what the node gave it and what its containers have may
//! differ: a node that has no room leaves things as they are, says so in a
//! condition and tries again when there is room; a memory limit is not lowered
//! below what is in use.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use serde::Serialize;
use shim::cri::{Id, RuntimeError};
use tracing::info;

use super::plan::Stop;
use super::worker::{Worker, chain, container_of};
use crate::client::is_sidecar;
use crate::node::admission::Refusal;
use crate::node::resources;

/// Resources by container.
pub(in crate::node) type Allocated = BTreeMap<String, ResourceRequirements>;

/// Why a resize waits: reason and message of its condition.
pub(in crate::node) type Pending = (&'static str, String);

/// Where the containers of a Pod are on the way to what they ask for.
#[derive(Debug, Default)]
pub(in crate::node) struct Resizing {
    /// What the node gave them.
    pub allocated: Allocated,
    /// What they have.
    pub applied: Allocated,
    /// Why they are not given what they ask for.
    pub pending: Option<Pending>,
    /// Why they do not have what they were given.
    pub error: Option<String>,
    /// What trouble was told of this generation of the Pod.
    told: (Option<i64>, BTreeSet<&'static str>),
}

impl Resizing {
    /// Of a Pod whose containers have what they were given before, or else what they ask for.
    pub fn resumed(spec: &PodSpec, before: &Allocated) -> Self {
        let mut all = asked(spec);
        for (name, resources) in &mut all {
            if let Some(given) = before.get(name) {
                resources.clone_from(given);
            }
        }
        Self { allocated: all.clone(), applied: all, ..Self::default() }
    }

    /// A Pod as if it asked for what it was given.
    pub fn given(&self, spec: &PodSpec) -> PodSpec {
        let mut given = spec.clone();
        let inits = given.init_containers.iter_mut().flatten();
        for container in inits.chain(&mut given.containers) {
            if let Some(resources) = self.allocated.get(&container.name) {
                container.resources = Some(resources.clone());
            }
        }
        given
    }

    /// Whether something is to be tried again.
    pub fn waits(&self) -> bool {
        self.pending.is_some() || self.error.is_some()
    }
}

/// What the containers of a Pod ask for.
fn asked(spec: &PodSpec) -> Allocated {
    all(spec)
        .map(|container| (container.name.clone(), container.resources.clone().unwrap_or_default()))
        .collect()
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// What an Event of a resize says after its first words, as the kubelet writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Given<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Given<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a ResourceRequirements>,
}

impl<'a> Details<'a> {
    fn of(spec: &'a PodSpec, resources: &'a Allocated) -> Self {
        let given = |container: &'a Container| Given {
            name: &container.name,
            resources: resources.get(&container.name),
        };
        Self {
            init_containers: spec.init_containers.iter().flatten().map(given).collect(),
            containers: spec.containers.iter().map(given).collect(),
            generation: None,
            error: None,
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("it has no keys but texts")
    }
}

/// A container as a change of memory limits sees it; in bytes.
struct Held<'a> {
    name: &'a str,
    old: Option<u64>,
    new: Option<u64>,
    used: u64,
    /// Whether it goes on running meanwhile.
    in_place: bool,
}

/// Why memory limits cannot become what they are to be, in the kubelet's words.
fn too_small(containers: &[Held<'_>]) -> Option<String> {
    let is_less =
        |new: Option<u64>, old: Option<u64>| new.filter(|new| old.is_none_or(|old| *new < old));
    let mut wrong = Vec::new();
    // A Pod has a limit if each of its containers has one.
    let sum = |of: fn(&Held<'_>) -> Option<u64>| containers.iter().map(of).sum::<Option<u64>>();
    let used: u64 = containers.iter().map(|container| container.used).sum();
    if let Some(limit) = is_less(sum(|c| c.new), sum(|c| c.old)).filter(|limit| *limit < used) {
        wrong.push(format!(
            "attempting to set pod memory limit ({limit}) below current usage ({used})"
        ));
    }
    for Held { name, old, new, used, in_place } in containers {
        if let Some(limit) = is_less(*new, *old).filter(|limit| *in_place && limit < used) {
            wrong.push(format!(
                "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
            ));
        }
    }
    let told = match wrong.as_slice() {
        [] => return None,
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    Some(format!("cannot decrease memory limits: {told}"))
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
        self.allocate(spec);
        if self.resizing.applied == self.resizing.allocated {
            self.resizing.error = None;
            return;
        }
        self.resizing.error = too_small(&self.held(spec));
        if let Some(error) = self.resizing.error.clone() {
            self.tell_trouble(spec, "ResizeError", "error", &error);
            return;
        }
        self.actuate(spec).await;
        if self.resizing.applied == self.resizing.allocated {
            self.tell_progress(spec, "ResizeCompleted", "completed");
            info!(namespace = self.namespace(), name = self.name(), "pod resized");
        }
    }

    /// Asks the node for what the Pod asks for.
    fn allocate(&mut self, spec: &PodSpec) {
        let asked = asked(spec);
        self.resizing.pending = None;
        if asked == self.resizing.allocated {
            return;
        }
        let wake = &self.inbox.wake;
        let granted = self.node.reservations.lock().resize(self.uid(), spec, wake);
        match granted {
            Ok(()) => {
                self.resizing.allocated = asked;
                self.tell_progress(spec, "ResizeStarted", "started");
            }
            Err(Refusal { reason, word, message }) => {
                let event =
                    if reason == "Deferred" { "ResizeDeferred" } else { "ResizeInfeasible" };
                self.tell_trouble(spec, event, word, &message);
                self.resizing.pending = Some((reason, message));
            }
        }
    }

    /// Hands out what was given.
    async fn actuate(&mut self, spec: &PodSpec) {
        let mut wrong = Vec::new();
        for (name, new) in self.resizing.allocated.clone() {
            let was = self.resizing.applied.get(&name).cloned().unwrap_or_default();
            let Some(container) = container_of(spec, &name).filter(|_| new != was) else {
                continue;
            };
            if let Some(id) = self.running(&name) {
                if needs_restart(container, &was, &new) {
                    self.restart_resized(name, id);
                    continue; // it has them when it is started again
                }
                if let Err(error) = self.apply(container, Id(id)).await {
                    wrong.push(format!("container {name:?}: {error}"));
                    continue;
                }
            }
            self.resizing.applied.insert(name, new);
        }
        self.resizing.error = (!wrong.is_empty()).then(|| wrong.join(", "));
        if let Some(error) = self.resizing.error.clone() {
            self.tell_trouble(spec, "ResizeError", "error", &error);
        }
    }

    fn restart_resized(&mut self, name: String, id: String) {
        if !self.stopping.insert(id.clone()) {
            return;
        }
        let message = format!("Container {name} resize requires restart");
        self.node.recorder.normal(self.about_container(&name), "Killing", message.clone());
        self.restart(&Stop { name, id, message, grace: None, outdated: false });
    }

    /// Gives a running container what it was given; says why it does not have it.
    async fn apply(&self, container: &Container, id: Id) -> Result<(), String> {
        let annotations = self.pod.metadata.annotations.clone().unwrap_or_default();
        let limits = resources::of(&self.as_allocated(container), &annotations)
            .map_err(|error| chain(&error))?;
        match self.node.runtime.update_container_resources(&id, limits).await {
            // One that has ended meanwhile gets them when it is started again.
            Ok(()) | Err(RuntimeError::NotFound { .. }) => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// The id of a container that runs.
    fn running(&self, name: &str) -> Option<String> {
        let mut running = self.containers.running();
        running.find(|(running, _)| *running == name).map(|(_, attempt)| attempt.id.clone())
    }

    /// What containers hold, and what they may have before and after.
    fn held<'a>(&self, spec: &'a PodSpec) -> Vec<Held<'a>> {
        let lasting = |container: &&Container| {
            is_sidecar(container) || spec.containers.iter().any(|c| c.name == container.name)
        };
        let held = |container: &'a Container| {
            let name = container.name.as_str();
            let of = |all: &Allocated| all.get(name).cloned().unwrap_or_default();
            let (old, new) = (of(&self.resizing.applied), of(&self.resizing.allocated));
            let id = self.running(name).map(Id);
            let stats = id.and_then(|id| self.node.runtime.container_stats(&id).ok());
            Held {
                name,
                old: resources::memory_limit(&old),
                new: resources::memory_limit(&new),
                used: stats.map_or(0, |stats| stats.memory_working_set),
                in_place: !needs_restart(container, &old, &new),
            }
        };
        all(spec).filter(lasting).map(held).collect()
    }

    fn tell_progress(&mut self, spec: &PodSpec, reason: &'static str, word: &str) {
        let generation = self.pod.metadata.generation;
        let details = Details { generation, ..Details::of(spec, &self.resizing.allocated) };
        let message = format!("Pod resize {word}: {}", details.text());
        self.node.recorder.normal(self.about(), reason, message);
        self.resizing.told.1.clear();
    }

    /// Tells trouble once for each wish.
    fn tell_trouble(&mut self, spec: &PodSpec, reason: &'static str, word: &str, error: &str) {
        let generation = self.pod.metadata.generation;
        if self.resizing.told.0 != generation {
            self.resizing.told = (generation, BTreeSet::new());
        }
        if !self.resizing.told.1.insert(reason) {
            return;
        }
        let asked = asked(spec);
        let details = Details { generation, error: Some(error), ..Details::of(spec, &asked) };
        let message = format!("Pod resize {word}: {}", details.text());
        self.node.recorder.warning(self.about(), reason, message);
    }

    /// A container with the resources that it was given, whatever it asks for.
    pub(super) fn as_allocated(&self, container: &Container) -> Container {
        let resources = self.resizing.allocated.get(&container.name).cloned();
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

    #[test]
    fn a_resize_that_waits_costs_nobody_its_place_when_the_node_restarts() {
        let spec = |cpu: &str| -> PodSpec {
            let list =
                |name: &str| json!([{"name": name, "resources": {"requests": {"cpu": cpu}}}]);
            let spec = json!({"initContainers": list("init"), "containers": list("web")});
            serde_json::from_value(spec).unwrap()
        };
        let before = Resizing::resumed(&spec("100m"), &Allocated::new()).allocated;
        let wanted = spec("900m");
        let resizing = Resizing::resumed(&wanted, &before);
        assert_eq!(resizing.given(&wanted), spec("100m"));
        assert_eq!(resizing.applied, before);
        assert_ne!(asked(&wanted), resizing.allocated, "it is still to be resized");
        assert_eq!(Resizing::resumed(&wanted, &Allocated::new()).given(&wanted), wanted);
    }

    #[test]
    fn limits_do_not_go_below_what_is_in_use() {
        let held = |name, old, new, used, in_place| Held { name, old, new, used, in_place };
        let refused = [held("web", Some(900), Some(100), 500, true)];
        assert_eq!(
            too_small(&refused).unwrap(),
            "cannot decrease memory limits: [attempting to set pod memory limit (100) below current usage (500), attempting to set container \"web\" memory limit (100) below current usage (500)]"
        );
        let unlimited = held("log", None, None, 700, true);
        let [web] = refused;
        assert_eq!(
            too_small(&[web, unlimited]).unwrap(),
            "cannot decrease memory limits: attempting to set container \"web\" memory limit (100) below current usage (500)"
        );
        for fine in [
            held("grows", Some(100), Some(200), 300, true),
            held("enough", Some(900), Some(600), 500, true),
            held("freed", Some(100), None, 300, true),
        ] {
            assert_eq!(too_small(&[fine]), None);
        }
        let restarts = held("restarts", Some(900), Some(100), 500, false);
        assert_eq!(too_small(&[restarts, held("more", Some(100), None, 0, true)]), None);
    }

    #[test]
    fn an_event_says_what_every_container_gets() {
        let limits = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}});
        let spec = json!({"containers": [{"name": "web", "resources": limits}, {"name": "log"}]});
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let asked = asked(&spec);
        let details =
            Details { generation: Some(2), error: Some("no"), ..Details::of(&spec, &asked) };
        assert_eq!(
            details.text(),
            r#"{"containers":[{"name":"web","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}}},{"name":"log","resources":{}}],"generation":2,"error":"no"}"#
        );
    }
}
