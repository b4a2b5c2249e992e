//! Writes decisions: a binding, or why there is none, or who has to go.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::client::{ObjectKey, status_code};

/// What a Pod's status is to say of the node that makes room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Nomination {
    /// What it says.
    Stays,
    /// That this one does.
    On(String),
    /// That none does.
    Ends,
}

/// A decision that could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The binding was refused.
    #[error("cannot bind pod {pod} to node {node}")]
    Bind {
        /// The Pod.
        pod: ObjectKey,
        /// The node.
        node: String,
        /// The refusal.
        #[source]
        source: kube::Error,
    },
    /// The condition was refused.
    #[error("cannot write the condition of pod {pod}")]
    Condition {
        /// The Pod.
        pod: ObjectKey,
        /// The refusal.
        #[source]
        source: kube::Error,
    },
    /// A Pod could not be made to go.
    #[error("cannot preempt pod {pod}")]
    Preempt {
        /// The Pod.
        pod: ObjectKey,
        /// The refusal.
        #[source]
        source: kube::Error,
    },
}

/// Binds a Pod to a node.
pub(super) async fn bind(
    client: Client,
    key: ObjectKey,
    uid: String,
    node: &str,
) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let written = PostParams::default();
    match api.create_subresource::<_, Value>("binding", &key.name, &written, &binding).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Bind { pod: key, node: node.to_owned(), source }),
    }
}

/// Says in the Pod's status that it fits nowhere, and where room is being made
/// for it; asks for nothing if it says so already.
pub(super) async fn mark_unschedulable(
    client: Client,
    key: ObjectKey,
    pod: &Pod,
    message: &str,
    nomination: &Nomination,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(patch) = unschedulable(pod, message, nomination, now) else { return Ok(()) };
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(()),
        Err(source) => Err(Error::Condition { pod: key, source }),
    }
}

/// The patch of that; none if the status says it already.
fn unschedulable(
    pod: &Pod,
    message: &str,
    nomination: &Nomination,
    now: Timestamp,
) -> Option<Value> {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let old = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let says = |condition: &PodCondition| {
        condition.status == "False" && condition.message.as_deref() == Some(message)
    };
    let named = status.and_then(|status| status.nominated_node_name.as_deref());
    let named = named.filter(|node| !node.is_empty());
    let wanted = match nomination {
        Nomination::Stays => named,
        Nomination::On(node) => Some(node.as_str()),
        Nomination::Ends => None,
    };
    if old.is_some_and(says) && wanted == named {
        return None;
    }
    let since = old
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    let mut status = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": message, "lastTransitionTime": text(since),
    }]});
    if wanted != named {
        status["nominatedNodeName"] = json!(wanted);
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// Says that no room is being made for a Pod any more.
pub(super) async fn clear_nomination(client: Client, key: ObjectKey) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    let patch = Patch::Merge(json!({"status": {"nominatedNodeName": null}}));
    match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(error) if status_code(&error) == Some(404) => Ok(()),
        Err(source) => Err(Error::Condition { pod: key, source }),
    }
}

/// Deletes a Pod with its grace, after its status says why.
pub(super) async fn evict(
    client: Client,
    key: ObjectKey,
    victim: &Pod,
    now: Timestamp,
) -> Result<(), Error> {
    if victim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let failed = |source| Error::Preempt { pod: key.clone(), source };
    let uid = &victim.metadata.uid;
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastTransitionTime": text(now),
    }]}});
    let patched =
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    match patched {
        Ok(_) => {}
        Err(error) if matches!(status_code(&error), Some(404 | 409)) => return Ok(()),
        Err(source) => return Err(failed(source)),
    }
    let preconditions = Some(Preconditions { uid: uid.clone(), resource_version: None });
    let deletion = DeleteParams { preconditions, ..DeleteParams::default() };
    match api.delete(&key.name, &deletion).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nomination_is_written_and_taken_back_but_not_told_twice() {
        let pod: Pod = serde_json::from_value(json!({"status": {
            "nominatedNodeName": "a",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}],
        }}))
        .unwrap();
        let patch = |message: &str, nomination: Nomination| {
            unschedulable(&pod, message, &nomination, Timestamp::UNIX_EPOCH)
        };
        let on = |node: &str| Nomination::On(node.into());
        assert_eq!(patch("no room", Nomination::Stays), None);
        assert_eq!(patch("no room", on("a")), None);
        assert_eq!(patch("no room", on("b")).unwrap()["status"]["nominatedNodeName"], "b");
        let ends = patch("no room", Nomination::Ends).unwrap();
        assert!(ends["status"].as_object().unwrap()["nominatedNodeName"].is_null());
        let stays = patch("no nodes", Nomination::Stays).unwrap();
        assert_eq!(stays["status"].get("nominatedNodeName"), None);
    }
}
