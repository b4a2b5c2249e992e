//! `pods`
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus};
use serde_json::json;

use super::pod_template::{
    requests_from_limits, spec_defaults, spec_warnings, validate_sleeps, validate_spec,
};
use crate::api::{
    Column, FieldErrors, FieldPath, Operation, SelectableField, Strategy, Subresource, Verb,
};
use crate::apis::checks::{forbidden, required};

mod columns;
mod quality;
mod resize;
#[cfg(test)]
mod tests;
mod update;

pub use resize::validate_resize;

/// The `pods` resource.
#[derive(Debug)]
pub struct Pods;

impl Strategy for Pods {
    type Kind = Pod;

    const SHORT_NAMES: &'static [&'static str] = &["po"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Connect { name: "binding", kind: "Binding", verbs: &[Verb::Create] },
        Subresource::Connect { name: "eviction", kind: "Eviction", verbs: &[Verb::Create] },
        Subresource::Connect { name: "log", kind: "Pod", verbs: &[Verb::Get] },
        Subresource::Connect { name: "proxy", kind: "PodProxyOptions", verbs: Verb::PROXY },
        Subresource::Connect {
            name: "resize",
            kind: "Pod",
            verbs: &[Verb::Get, Verb::Patch, Verb::Update],
        },
    ];
    const COLUMNS: &'static [Column<Pod>] = &[
        Column::new("Ready", "How many of its containers are ready", |pod, _| {
            json!(columns::ready(pod))
        }),
        Column::new("Status", "What its containers are doing", |pod, _| {
            json!(columns::summary(pod).status)
        }),
        Column::new(
            "Restarts",
            "How often its containers were restarted, and when last",
            |pod, now| json!(columns::restarts(pod, now)),
        ),
        Column::new("IP", "Its address", |pod, _| json!(columns::address(pod))).wide(),
        Column::new("Node", "The node it is bound to", |pod, _| {
            json!(columns::or_none(spec(pod).and_then(|spec| spec.node_name.as_deref())))
        })
        .wide(),
        Column::new("Nominated Node", "The node that makes room for it", |pod, _| {
            json!(columns::or_none(status(pod).and_then(|s| s.nominated_node_name.as_deref())))
        })
        .wide(),
        Column::new("Readiness Gates", "How many of its readiness gates hold", |pod, _| {
            json!(columns::gates(pod))
        })
        .wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Pod>] = &[
        SelectableField { path: "spec.nodeName", value: |p| of_spec(p, |s| &s.node_name) },
        SelectableField {
            path: "spec.restartPolicy",
            value: |p| of_spec(p, |s| &s.restart_policy),
        },
        SelectableField {
            path: "spec.schedulerName",
            value: |p| of_spec(p, |s| &s.scheduler_name),
        },
        SelectableField {
            path: "spec.serviceAccountName",
            value: |p| of_spec(p, |s| &s.service_account_name),
        },
        SelectableField {
            path: "spec.hostNetwork",
            value: |p| spec(p).and_then(|s| s.host_network).unwrap_or_default().to_string(),
        },
        SelectableField { path: "status.phase", value: |p| of_status(p, |s| &s.phase) },
        SelectableField { path: "status.podIP", value: |p| of_status(p, |s| &s.pod_ip) },
        SelectableField {
            path: "status.nominatedNodeName",
            value: |p| of_status(p, |s| &s.nominated_node_name),
        },
    ];
    const HAS_GENERATION: bool = true;

    fn default(&self, pod: &mut Pod) {
        let Some(spec) = &mut pod.spec else { return };
        spec.enable_service_links.get_or_insert(true);
        spec_defaults(spec);
        requests_from_limits(spec);
        let quality = quality::class(spec);
        let status = pod.status.get_or_insert_default();
        status.qos_class.get_or_insert_with(|| quality.into());
    }

    fn prepare(&self, pod: &mut Pod, operation: Operation<'_, Pod>) {
        if let Operation::Create = operation {
            let phase = Some("Pending".into());
            let conditions = gated(pod).then(|| vec![scheduling_gated()]);
            pod.status = Some(PodStatus { phase, conditions, ..PodStatus::default() });
        }
    }

    fn validate(&self, new: &Pod, operation: Operation<'_, Pod>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        if let Operation::UpdateStatus(_) = operation {
            return errors;
        }
        let Some(spec) = &new.spec else {
            errors.push(required(&path.child("containers"), ""));
            return errors;
        };
        validate_spec(&mut errors, &path, spec);
        match operation.old() {
            Some(old) => errors.extend(update::validate(new, old)),
            None => created(&mut errors, &path, spec),
        }
        errors
    }

    fn warnings(&self, pod: &Pod) -> Vec<String> {
        pod.spec
            .as_ref()
            .map(|spec| spec_warnings(&FieldPath::new("spec"), spec))
            .unwrap_or_default()
    }

    fn grace_period(&self, pod: &Pod) -> u32 {
        let seconds = spec(pod).and_then(|spec| spec.termination_grace_period_seconds);
        // Kubernetes takes a negative period as the shortest one.
        seconds.map_or(30, |seconds| if seconds < 0 { 1 } else { clamped(seconds) })
    }

    fn graceful_deletion(&self, pod: &Pod, requested: Option<u32>) -> u32 {
        let bound =
            spec(pod).is_some_and(|spec| spec.node_name.as_ref().is_some_and(|n| !n.is_empty()));
        // Nothing runs that could use the time.
        if !bound || columns::is_terminal(pod) {
            return 0;
        }
        requested.unwrap_or_else(|| self.grace_period(pod))
    }
}

/// What a new Pod may not have yet.
fn created(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    validate_sleeps(errors, path, spec);
    if spec.ephemeral_containers.as_ref().is_some_and(|all| !all.is_empty()) {
        errors.push(forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    if gated && spec.node_name.as_ref().is_some_and(|name| !name.is_empty()) {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(forbidden(&path.child("nodeName"), why));
    }
}

fn gated(pod: &Pod) -> bool {
    let gates = spec(pod).and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

/// What a Pod says that somebody holds back.
fn scheduling_gated() -> PodCondition {
    PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("SchedulingGated".into()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".into()),
        ..PodCondition::default()
    }
}

fn clamped(seconds: i64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

fn of_spec(pod: &Pod, field: fn(&PodSpec) -> &Option<String>) -> String {
    spec(pod).and_then(|spec| field(spec).clone()).unwrap_or_default()
}

fn of_status(pod: &Pod, field: fn(&PodStatus) -> &Option<String>) -> String {
    status(pod).and_then(|status| field(status).clone()).unwrap_or_default()
}
