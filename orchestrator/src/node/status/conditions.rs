//! The conditions of a Pod.
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodCondition, PodSpec};

use super::{View, time};
use crate::client::is_sidecar;
use crate::node::pods::Resizing;

/// The condition of a Pod that is not given other resources.
const RESIZE_PENDING: &str = "PodResizePending";
/// The condition of a Pod whose containers do not have yet what they were given.
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";
/// Conditions that are there only while they hold.
pub(super) const PASSING: [&str; 2] = [RESIZE_PENDING, RESIZE_IN_PROGRESS];

/// What a condition says, before it is compared with what it said.
struct Finding {
    type_: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn holds(type_: &'static str) -> Self {
        Self { type_, holds: true, reason: None, message: None }
    }

    fn fails(type_: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self { type_, holds: false, reason: Some(reason), message }
    }
}

/// The conditions that the agent owns, then those of others as they are.
pub(super) fn of(
    view: View<'_>,
    spec: &PodSpec,
    phase: &str,
    initialized: bool,
    inits: &[ContainerStatus],
    statuses: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers = containers_ready(spec, phase, inits, statuses);
    let mut findings = vec![
        sandbox(view),
        self::initialized(spec, phase, initialized, inits),
        ready(view, spec, &containers),
        containers,
        Finding::holds("PodScheduled"),
    ];
    findings.extend(evicted(view));
    findings.extend(resizing(view));
    let known = view.published.conditions.iter().flatten();
    let mut all: Vec<_> = findings.iter().map(|finding| condition(view, finding)).collect();
    let others = known.filter(|c| findings.iter().all(|f| f.type_ != c.type_));
    all.extend(others.filter(|c| !PASSING.contains(&c.type_.as_str())).cloned());
    all
}

/// What stands between a Pod and the resources it asks for.
fn resizing(view: View<'_>) -> impl Iterator<Item = Finding> {
    let Resizing { allocated, applied, pending, error, .. } = view.resizing;
    let pending = pending.as_ref().map(|(reason, message)| Finding {
        reason: Some(reason),
        message: Some(message.clone()),
        ..Finding::holds(RESIZE_PENDING)
    });
    let progress = (allocated != applied).then(|| Finding {
        reason: error.as_ref().map(|_| "Error"),
        message: error.clone(),
        ..Finding::holds(RESIZE_IN_PROGRESS)
    });
    pending.into_iter().chain(progress)
}

/// That the node took the Pod's place back, for controllers that count failures.
fn evicted(view: View<'_>) -> Option<Finding> {
    let (_, message) = view.failure.filter(|_| view.disrupted)?;
    Some(Finding {
        reason: Some("TerminationByKubelet"),
        message: Some(message.to_owned()),
        ..Finding::holds("DisruptionTarget")
    })
}

fn sandbox(view: View<'_>) -> Finding {
    let type_ = "PodReadyToStartContainers";
    Finding { type_, holds: view.ip.is_some(), reason: None, message: None }
}

fn initialized(
    spec: &PodSpec,
    phase: &str,
    initialized: bool,
    inits: &[ContainerStatus],
) -> Finding {
    let type_ = "Initialized";
    if phase == "Succeeded" {
        return Finding { reason: Some("PodCompleted"), ..Finding::holds(type_) };
    }
    if initialized || spec.init_containers.iter().flatten().next().is_none() {
        return Finding::holds(type_);
    }
    let incomplete: Vec<_> = spec
        .init_containers
        .iter()
        .flatten()
        .zip(inits)
        .filter(|(init, status)| !is_done(init, status))
        .map(|(init, _)| init.name.as_str())
        .collect();
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Finding::fails(type_, "ContainersNotInitialized", Some(message))
}

fn is_done(init: &Container, status: &ContainerStatus) -> bool {
    if is_sidecar(init) { status.started == Some(true) } else { status.ready }
}

fn containers_ready(
    spec: &PodSpec,
    phase: &str,
    inits: &[ContainerStatus],
    statuses: &[ContainerStatus],
) -> Finding {
    let type_ = "ContainersReady";
    match phase {
        "Succeeded" => return Finding::fails(type_, "PodCompleted", None),
        "Failed" => return Finding::fails(type_, "PodFailed", None),
        _ => {}
    }
    let sidecars = spec.init_containers.iter().flatten().zip(inits);
    let unready: Vec<_> = sidecars
        .filter(|(init, _)| is_sidecar(init))
        .map(|(_, status)| status)
        .chain(statuses)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::holds(type_);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding::fails(type_, "ContainersNotReady", Some(message))
}

fn ready(view: View<'_>, spec: &PodSpec, containers: &Finding) -> Finding {
    let type_ = "Ready";
    if !containers.holds {
        return Finding { type_, message: containers.message.clone(), ..*containers };
    }
    let holds = |gate: &str| {
        let mut known = view.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        known.any(|condition| condition.type_ == gate && condition.status == "True")
    };
    let closed: Vec<_> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter(|gate| !holds(&gate.condition_type))
        .map(|gate| format!("corresponding condition of pod readiness gate \"{}\" does not exist or is not True.", gate.condition_type))
        .collect();
    if closed.is_empty() {
        return Finding::holds(type_);
    }
    Finding::fails(type_, "ReadinessGatesNotReady", Some(closed.join(", ")))
}

/// A condition; it keeps the time of its last transition until it turns.
fn condition(view: View<'_>, finding: &Finding) -> PodCondition {
    let status = if finding.holds { "True" } else { "False" };
    let mut known = view.published.conditions.iter().flatten();
    let before = known.find(|c| c.type_ == finding.type_ && c.status == status);
    PodCondition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.map(ToOwned::to_owned),
        message: finding.message.clone(),
        last_probe_time: None,
        last_transition_time: before
            .and_then(|condition| condition.last_transition_time.clone())
            .or_else(|| Some(time(view.now))),
        observed_generation: view.pod.metadata.generation,
    }
}
