//! Deleting a Pod that nobody asked to delete: its status first says why.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::pods;
use crate::client::status_code;

/// Why a Pod goes.
#[derive(Debug, Clone, Copy)]
pub struct Cause {
    /// One word for its condition `DisruptionTarget`; it gets none without.
    pub reason: Option<&'static str>,
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
    if let Some(status) = told(pod, cause, now) {
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

/// What the status has to say before the Pod goes; none if it says so already.
fn told(pod: &Pod, cause: Cause, now: Timestamp) -> Option<Value> {
    let mut status = json!({});
    if let Some(reason) = cause.reason.filter(|reason| !says(pod, reason)) {
        status["conditions"] = json!([{
            "type": "DisruptionTarget", "status": "True",
            "reason": reason, "message": cause.message,
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]);
    }
    if cause.fails {
        status["phase"] = json!("Failed");
    }
    let is_news = status.as_object().is_some_and(|status| !status.is_empty());
    (is_news && !pods::is_terminal(pod)).then_some(status)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(cause: Cause, status: Value) -> Option<Value> {
        let pod = serde_json::from_value(json!({"status": status})).unwrap();
        told(&pod, cause, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_status_says_only_what_is_news() {
        let by_taint = Cause { reason: Some("Taint"), message: "m", fails: false, force: false };
        let status = after(by_taint, json!({"phase": "Running"})).unwrap();
        assert_eq!(
            (&status["conditions"][0]["reason"], status.get("phase")),
            (&json!("Taint"), None)
        );
        assert_eq!(after(by_taint, json!({"phase": "Succeeded"})), None);
        assert_eq!(
            after(by_taint, json!({"phase": "Running", "conditions": status["conditions"]})),
            None
        );
        let unsaid = Cause { reason: None, fails: true, ..by_taint };
        assert_eq!(after(unsaid, json!({"phase": "Pending"})), Some(json!({"phase": "Failed"})));
        assert_eq!(after(unsaid, json!({"phase": "Failed"})), None);
    }
}
