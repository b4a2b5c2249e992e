//! Writes decisions: a binding, or why there is none.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::client::ObjectKey;

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

/// Says in the Pod's status that it fits nowhere; writes nothing if it says so already.
pub(super) async fn mark_unschedulable(
    client: Client,
    key: ObjectKey,
    pod: &Pod,
    message: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let old = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let says = |condition: &PodCondition| {
        condition.status == "False" && condition.message.as_deref() == Some(message)
    };
    if old.is_some_and(says) {
        return Ok(());
    }
    let since = old
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    let patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": message, "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }]}});
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Condition { pod: key, source }),
    }
}
