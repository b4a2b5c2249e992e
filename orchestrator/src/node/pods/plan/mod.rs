//! What has to be done about a Pod: a pure function of what is wished and seen.
//!
//! The rules are those of the kubelet: init containers run one after the other,
//! restartable ones (sidecars) go on beside the rest, containers come after them,
//! and a container that ended is started again as its restart policy says.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::backoff::{Backoffs, Wait};
use super::containers::{Attempt, Containers, Ending, State};
use crate::client::is_sidecar;
use crate::node::probes::Verdicts;

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Whether it has a sandbox.
    pub sandbox: bool,
    /// Its containers.
    pub containers: &'a Containers,
    /// What its probes found.
    pub verdicts: &'a Verdicts,
    /// The waits of its containers.
    pub backoffs: &'a Backoffs,
    /// When the agent first saw it.
    pub start_time: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// What has to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The Pod is at its end; nothing else is planned.
    pub end: Option<End>,
    /// It needs a sandbox, in which its init containers run anew.
    pub create_sandbox: bool,
    /// Containers to stop.
    pub stop: Vec<Stop>,
    /// Names of containers to start, in order.
    pub start: Vec<String>,
    /// Containers that wait before they are started again.
    pub back_off: Vec<(String, Wait)>,
    /// When to look again, absent any event.
    pub wake: Option<Timestamp>,
}

/// Why a Pod is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// None of its containers runs or will run again.
    Completed,
    /// It was active for longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
}

/// A container to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Its name.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// Why, for an Event.
    pub message: String,
    /// Seconds until it is ended by force, instead of the Pod's.
    pub grace: Option<i64>,
    /// Whether it is started again whatever the restart policy says.
    pub outdated: bool,
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// In any case.
    Always,
    /// If it failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// The Pod's.
    pub fn of(spec: &PodSpec) -> Self {
        Self::parse(spec.restart_policy.as_deref())
    }

    /// A container's own, or the Pod's.
    pub fn of_container(spec: &PodSpec, container: &Container) -> Self {
        Self::parse(container.restart_policy.as_deref().or(spec.restart_policy.as_deref()))
    }

    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether what ended with `code` is started again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// Whether the containers of a Pod have had their turn: its init containers are done.
pub fn is_initialized(spec: &PodSpec, containers: &Containers, verdicts: &Verdicts) -> bool {
    has_begun(spec, containers)
        || spec.init_containers.iter().flatten().all(|init| {
            let current = containers.current(&init.name);
            if is_sidecar(init) {
                current.is_some_and(|attempt| verdicts.started(init, attempt))
            } else {
                current.and_then(Attempt::ending).is_some_and(|ending| ending.code == 0)
            }
        })
}

/// What has to be done about a Pod.
pub fn plan(view: View<'_>) -> Plan {
    let Some(spec) = &view.pod.spec else { return Plan::default() };
    let deadline = spec
        .active_deadline_seconds
        .map(|seconds| view.start_time + Duration::from_secs(seconds.unsigned_abs()));
    if deadline.is_some_and(|deadline| deadline <= view.now) {
        return Plan { end: Some(End::DeadlineExceeded), ..Plan::default() };
    }
    if is_completed(spec, view.containers) {
        return Plan { end: Some(End::Completed), ..Plan::default() };
    }
    let mut plan = Plan { wake: deadline, ..Plan::default() };
    if view.sandbox {
        if plan.init(spec, view) {
            plan.main(spec, view);
        }
        return plan;
    }
    plan.create_sandbox = true;
    match spec.init_containers.iter().flatten().next() {
        Some(first) => plan.start.push(first.name.clone()),
        None => plan.main(spec, view),
    }
    plan
}

impl Plan {
    /// Plans the init containers; answers whether the containers have their turn.
    fn init(&mut self, spec: &PodSpec, view: View<'_>) -> bool {
        let begun = has_begun(spec, view.containers);
        for init in spec.init_containers.iter().flatten() {
            let current = view.containers.current(&init.name);
            let done = if is_sidecar(init) {
                self.container(init, RestartPolicy::Always, view);
                current.is_some_and(|attempt| view.verdicts.started(init, attempt))
            } else if begun {
                true
            } else {
                let succeeded = current.and_then(Attempt::ending).is_some_and(|e| e.code == 0);
                if !succeeded {
                    let policy = match RestartPolicy::of(spec) {
                        RestartPolicy::Never => RestartPolicy::Never,
                        RestartPolicy::Always | RestartPolicy::OnFailure => {
                            RestartPolicy::OnFailure
                        }
                    };
                    self.container(init, policy, view);
                }
                succeeded
            };
            if !done && !begun {
                return false;
            }
        }
        true
    }

    fn main(&mut self, spec: &PodSpec, view: View<'_>) {
        for container in &spec.containers {
            self.container(container, RestartPolicy::of_container(spec, container), view);
        }
    }

    /// Plans one container whose turn it is.
    fn container(&mut self, container: &Container, policy: RestartPolicy, view: View<'_>) {
        let Some(spec) = &view.pod.spec else { return };
        let name = &container.name;
        let Some(current) = view.containers.current(name) else {
            self.start.push(name.clone());
            return;
        };
        match &current.state {
            State::Created => self.start.push(name.clone()),
            State::Running { .. } => {
                let stop = |message, grace, outdated| {
                    let (name, id) = (name.clone(), current.id.clone());
                    Stop { name, id, message, grace, outdated }
                };
                if let Some(message) = outdated(spec, container, current) {
                    self.stop.push(stop(message, None, true));
                } else if let Some((message, grace)) = view.verdicts.condemned(container, current) {
                    self.stop.push(stop(message, grace, false));
                }
            }
            State::Exited(ending) if restarts(policy, current, ending) => {
                let wait = view.backoffs.waiting(name, ending.finished_at, view.now);
                match wait.filter(|_| !current.differs(container)) {
                    Some(wait) => {
                        self.wake = Some(self.wake.map_or(wait.until, |wake| wake.min(wait.until)));
                        self.back_off.push((name.clone(), wait));
                    }
                    None => self.start.push(name.clone()),
                }
            }
            State::Exited(_) => {}
        }
    }
}

/// Why a container has to be started again with another image, in the kubelet's words.
fn outdated(spec: &PodSpec, container: &Container, current: &Attempt) -> Option<String> {
    let name = &container.name;
    let is_init = spec.init_containers.iter().flatten().any(|init| init.name == *name);
    // What ends by itself is left to its end.
    let lasts = !is_init || is_sidecar(container);
    (lasts && current.differs(container)).then(|| {
        if is_sidecar(container) {
            format!("Init container {name} definition changed")
        } else {
            format!("Container {name} definition changed, will be restarted")
        }
    })
}

/// Whether an attempt that ended is followed by another.
fn restarts(policy: RestartPolicy, attempt: &Attempt, ending: &Ending) -> bool {
    attempt.outdated || policy.restarts(ending.code)
}

/// Whether a container that is no init container was made in this sandbox.
fn has_begun(spec: &PodSpec, containers: &Containers) -> bool {
    spec.containers.iter().any(|container| containers.is_here(&container.name))
}

/// Whether nothing runs or will run again.
fn is_completed(spec: &PodSpec, containers: &Containers) -> bool {
    let ended = |container: &Container, policy: RestartPolicy| {
        let current = containers.current(&container.name);
        let ended = current.and_then(|current| Some((current, current.ending()?)));
        ended.is_some_and(|(current, ending)| !restarts(policy, current, ending))
    };
    let never = RestartPolicy::of(spec) == RestartPolicy::Never;
    let init_failed = never
        && !has_begun(spec, containers)
        && spec.init_containers.iter().flatten().any(|init| {
            let ending = containers.current(&init.name).and_then(Attempt::ending);
            !is_sidecar(init) && ending.is_some_and(|ending| ending.code != 0)
        });
    init_failed
        || spec
            .containers
            .iter()
            .all(|container| ended(container, RestartPolicy::of_container(spec, container)))
}

#[cfg(test)]
mod tests;
