//! Deleting a Pod that nobody asked to delete: its status first says why.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::pods;
use crate::client::status_code;

/// Why a Pod goes, for its condition `DisruptionTarget`.
#[derive(Debug, Clone, Copy)]
pub struct Cause {
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: &'static str,
    /// Whether the Pod has failed by it: nobody is left who could say so.
    pub fails: bool,
    /// Whether it goes at once: nobody is left who could end it.
    pub force: bool,
}

/// Writes the condition and deletes the Pod; one that is gone already is no trouble.
pub async fn disrupt(
    client: &Client,
    pod: &Pod,
    cause: Cause,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    if !pods::is_terminal(pod) && !says(pod, cause.reason) {
        let mut status = json!({"conditions": [{
            "type": "DisruptionTarget", "status": "True",
            "reason": cause.reason, "message": cause.message,
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]});
        if cause.fails {
            status["phase"] = json!("Failed");
        }
        let patch = Patch::Strategic(json!({"metadata": {"uid": meta.uid}, "status": status}));
        if absent_is_done(api.patch_status(name, &PatchParams::default(), &patch).await)?.is_none()
        {
            return Ok(());
        }
    }
    let deletion = DeleteParams {
        grace_period_seconds: cause.force.then_some(0),
        preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    absent_is_done(api.delete(name, &deletion).await).map(drop)
}

fn says(pod: &Pod, reason: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| {
        c.type_ == "DisruptionTarget" && c.status == "True" && c.reason.as_deref() == Some(reason)
    })
}

/// Nothing for a Pod that is gone, or is another one of the same name.
fn absent_is_done<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(None),
        Err(error) => Err(error),
    }
}
