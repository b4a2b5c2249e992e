//! What `kubectl get pods` shows.
//!
//! STATUS is not the phase: it is the most telling word among the phase, the
//! reasons of the containers and the deletion, in upstream's order.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use super::{spec, status};
use crate::api::{age, sidecars};

/// What the containers add up to.
pub struct Summary {
    /// The word under STATUS.
    pub status: String,
    ready: usize,
    total: usize,
    restarts: i32,
    last_restart: Option<Timestamp>,
}

/// Adds up the containers of `pod`.
pub fn summary(pod: &Pod) -> Summary {
    let status = status(pod);
    let side_cars = side_cars(pod);
    let containers = spec(pod).map_or(0, |spec| spec.containers.len());
    let mut summary = Summary {
        status: word_of_pod(status),
        ready: 0,
        total: containers + side_cars.len(),
        restarts: 0,
        last_restart: None,
    };
    let initializing = initialize(&mut summary, pod, &side_cars);
    if !initializing || condition(status, "Initialized") {
        run(&mut summary, status, &side_cars);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.and_then(|s| s.reason.as_deref()) == Some("NodeLost") {
            summary.status = "Unknown".into();
        } else if !is_terminal(pod) {
            summary.status = "Terminating".into();
        }
    }
    summary
}

/// READY: ready of all containers.
pub fn ready(pod: &Pod) -> String {
    let summary = summary(pod);
    format!("{}/{}", summary.ready, summary.total)
}

/// RESTARTS: how many, and how long ago the last was.
pub fn restarts(pod: &Pod, now: Timestamp) -> String {
    let summary = summary(pod);
    match summary.last_restart {
        Some(last) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, age(Some(last), now))
        }
        _ => summary.restarts.to_string(),
    }
}

/// IP.
pub fn address(pod: &Pod) -> &str {
    let status = status(pod);
    let first = status.and_then(|s| s.pod_ips.as_ref()?.first()).map(|ip| ip.ip.as_str());
    or_none(first.or_else(|| status.and_then(|s| s.pod_ip.as_deref())))
}

/// READINESS GATES: those that hold, of all.
pub fn gates(pod: &Pod) -> String {
    let gates = spec(pod).and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    if gates.is_empty() {
        return "<none>".into();
    }
    let held = gates.iter().filter(|gate| condition(status(pod), &gate.condition_type)).count();
    format!("{held}/{}", gates.len())
}

/// `text`, or how tables show that there is none.
pub fn or_none(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("<none>")
}

/// Whether no container will run any more.
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = status(pod).and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn word_of_pod(status: Option<&PodStatus>) -> String {
    let Some(status) = status else { return String::new() };
    let gated = |all: &Vec<_>| {
        all.iter().any(|c: &k8s_openapi::api::core::v1::PodCondition| {
            c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated")
        })
    };
    if status.conditions.as_ref().is_some_and(gated) {
        return "SchedulingGated".into();
    }
    let reason = status.reason.clone().filter(|reason| !reason.is_empty());
    reason.or_else(|| status.phase.clone()).unwrap_or_default()
}

/// Names of the init containers that go on running beside the others.
fn side_cars(pod: &Pod) -> Vec<&str> {
    let sidecars = spec(pod).into_iter().flat_map(sidecars);
    sidecars.map(|container| container.name.as_str()).collect()
}

/// Adds up the init containers; whether one of them is still to finish.
fn initialize(summary: &mut Summary, pod: &Pod, side_cars: &[&str]) -> bool {
    let all = spec(pod).and_then(|spec| spec.init_containers.as_ref()).map_or(0, Vec::len);
    let seen = status(pod).and_then(|status| status.init_container_statuses.as_deref());
    for (i, container) in seen.unwrap_or_default().iter().enumerate() {
        count(summary, container);
        let state = container.state.clone().unwrap_or_default();
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        if state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0) {
            continue;
        }
        if side_cars.contains(&container.name.as_str()) && container.started == Some(true) {
            summary.ready += usize::from(container.ready);
            continue;
        }
        summary.status = match waiting {
            _ if state.terminated.is_some() => format!("Init:{}", ending(&state)),
            Some(reason) if !reason.is_empty() && reason != "PodInitializing" => {
                format!("Init:{reason}")
            }
            _ => format!("Init:{i}/{all}"),
        };
        return true;
    }
    false
}

/// Adds up the containers of a Pod that is initialized.
fn run(summary: &mut Summary, status: Option<&PodStatus>, side_cars: &[&str]) {
    // Restarts of init containers that are done do not matter any more.
    (summary.restarts, summary.last_restart) = (0, None);
    let init = status.and_then(|status| status.init_container_statuses.as_deref());
    for container in init.unwrap_or_default() {
        if side_cars.contains(&container.name.as_str()) {
            count(summary, container);
        }
    }
    let mut running = false;
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    for container in containers.unwrap_or_default().iter().rev() {
        count(summary, container);
        let state = container.state.clone().unwrap_or_default();
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        if let Some(reason) = waiting.filter(|reason| !reason.is_empty()) {
            summary.status = reason.into();
        } else if state.terminated.is_some() {
            summary.status = ending(&state);
        } else if container.ready && state.running.is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && running {
        let ready = condition(status, "Ready");
        summary.status = if ready { "Running".into() } else { "NotReady".into() };
    }
}

fn count(summary: &mut Summary, container: &ContainerStatus) {
    summary.restarts += container.restart_count;
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let finished = last.and_then(|ended| ended.finished_at.as_ref()).map(|time| time.0);
    summary.last_restart = summary.last_restart.max(finished);
}

/// How a container ended: its reason, or else its signal or exit code.
fn ending(state: &ContainerState) -> String {
    let Some(ended) = &state.terminated else { return String::new() };
    match (&ended.reason, ended.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.clone(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.exit_code),
    }
}

fn condition(status: Option<&PodStatus>, sort: &str) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == sort && condition.status == "True")
}
