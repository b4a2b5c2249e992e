//! The status of a Pod: a pure function of what is wished and seen.
//!
//! Phase, conditions and reasons are the kubelet's, as people and controllers
//! read them.
mod conditions;
mod container;
mod patch;

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pods::{Containers, Resizing, RestartPolicy, is_initialized};
use super::probes::Verdicts;
use crate::client::is_sidecar;

pub(super) use patch::{apply, patch};

/// Why a container waits: reason and message.
pub(super) type Waiting = BTreeMap<String, (String, String)>;

/// What a status is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Its status as it was last written.
    pub published: &'a PodStatus,
    /// Its address, while it has a sandbox.
    pub ip: Option<IpAddr>,
    /// Its node's address.
    pub host_ip: IpAddr,
    /// Its containers.
    pub containers: &'a Containers,
    /// What its probes found.
    pub verdicts: &'a Verdicts,
    /// Why containers wait.
    pub waiting: &'a Waiting,
    /// What its containers were given and have.
    pub resizing: &'a Resizing,
    /// What ended the Pod as a whole: reason and message.
    pub failure: Option<(&'a str, &'a str)>,
    /// Whether that was because the node ran low, or was stopped.
    pub disrupted: bool,
    /// Whether nothing is started any more.
    pub ending: bool,
    /// When the agent first saw it.
    pub start_time: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// A time as the API has it: whole seconds.
pub(super) fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The status that a Pod has.
pub(super) fn of(view: View<'_>) -> PodStatus {
    let Some(spec) = &view.pod.spec else { return view.published.clone() };
    let initialized = is_initialized(spec, view.containers, view.verdicts);
    let inits: Vec<_> = spec.init_containers.iter().flatten().collect();
    let init_statuses: Vec<_> =
        inits.iter().map(|init| container::of(view, init, "PodInitializing")).collect();
    let waits_for = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let statuses: Vec<_> =
        spec.containers.iter().map(|main| container::of(view, main, waits_for)).collect();
    let phase = phase(view, spec, &init_statuses, &statuses, initialized);
    let mut status = PodStatus {
        conditions: Some(conditions::of(view, spec, phase, initialized, &init_statuses, &statuses)),
        container_statuses: Some(statuses),
        init_container_statuses: (!inits.is_empty()).then_some(init_statuses),
        host_ip: Some(view.host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: view.host_ip.to_string() }]),
        observed_generation: view.pod.metadata.generation,
        phase: Some(phase.to_owned()),
        start_time: Some(time(view.start_time)),
        reason: None,
        message: None,
        ..view.published.clone()
    };
    // A Pod that has ended keeps the address it had.
    if let Some(ip) = view.ip {
        status.pod_ip = Some(ip.to_string());
        status.pod_ips = Some(vec![PodIP { ip: ip.to_string() }]);
    }
    if let Some((reason, message)) = view.failure {
        status.reason = Some(reason.to_owned());
        status.message = Some(message.to_owned());
    }
    status
}

/// The status of a Pod that this node does not take.
pub(super) fn rejected(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> PodStatus {
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(format!("Pod was rejected: {message}")),
        start_time: Some(time(now)),
        observed_generation: pod.metadata.generation,
        ..pod.status.clone().unwrap_or_default()
    }
}

fn phase(
    view: View<'_>,
    spec: &PodSpec,
    inits: &[ContainerStatus],
    statuses: &[ContainerStatus],
    initialized: bool,
) -> &'static str {
    if view.failure.is_some() {
        return "Failed";
    }
    let never = RestartPolicy::of(spec) == RestartPolicy::Never;
    let code = |status: &ContainerStatus| {
        let ended = |state: &Option<_>| {
            let state: &k8s_openapi::api::core::v1::ContainerState = state.as_ref()?;
            state.terminated.as_ref().map(|terminated| terminated.exit_code)
        };
        ended(&status.state).or_else(|| ended(&status.last_state))
    };
    let init_failed = |(init, status): (&Container, &ContainerStatus)| {
        !is_sidecar(init) && code(status).is_some_and(|code| code != 0)
    };
    let all_inits = || spec.init_containers.iter().flatten().zip(inits);
    let is_running = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    // A sidecar that still runs keeps the Pod's place.
    let is_over = !inits.iter().any(is_running);
    if never && !initialized && is_over && all_inits().any(init_failed) {
        return "Failed";
    }
    let running = statuses.iter().filter(|status| is_running(status)).count();
    let codes: Vec<_> = statuses.iter().filter_map(code).collect();
    let stopped = statuses.iter().filter(|s| !is_running(s) && code(s).is_some()).count();
    let unstarted = statuses.len() - running - stopped;
    let all_succeeded = codes.len() == statuses.len() && codes.iter().all(|code| *code == 0);
    if view.ending && running == 0 && is_over {
        // A Pod that was ended before it began has failed, as nothing succeeded.
        return if unstarted == 0 && all_succeeded { "Succeeded" } else { "Failed" };
    }
    if !initialized || unstarted > 0 {
        return "Pending";
    }
    if running > 0 || view.ending {
        return "Running";
    }
    let restarts = spec.containers.iter().zip(&codes).any(|(container, code)| {
        let current = view.containers.current(&container.name);
        current.is_some_and(|current| current.outdated)
            || RestartPolicy::of_container(spec, container).restarts(*code)
    });
    match (restarts, all_succeeded) {
        (true, _) => "Running",
        // Sidecars still run: the Pod ends when they have.
        (false, _) if !is_over => "Running",
        (false, true) => "Succeeded",
        (false, false) => "Failed",
    }
}

#[cfg(test)]
mod tests;
