//! What control loops ask about Pods, and how they create and delete them.
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use kube::api::{DeleteParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde_json::json;

use super::owner;
use super::runtime::Written;
use crate::client::{EventRecorder, Informer, is_namespace_terminating, refusal, status_code};

/// Requests of one pass under way at the same time: enough for the store to
/// commit many together, few enough to leave others their turn.
pub const SIDE_BY_SIDE: usize = 128;
/// Pods of the first batch; each that goes well is followed by one twice as large.
const FIRST_BATCH: usize = 1;

/// Whether a Pod counts: not ended and not on its way out.
pub fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !is_terminal(pod)
}

/// Whether a Pod has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}

/// Whether a Pod is on its way out but has not ended.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod)
}

/// The node a Pod is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// `status.phase`.
pub fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// Whether a Pod is ready to serve.
pub fn is_ready(pod: &Pod) -> bool {
    ready(pod).is_some_and(|condition| condition.status == "True")
}

/// Since when a Pod is ready; absent if it is not or does not say.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = ready(pod).filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// How long until a ready Pod has been so for `min_ready`; zero if it is available.
pub fn until_available(pod: &Pod, min_ready: Duration, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready.is_zero() {
        return Some(Duration::ZERO);
    }
    let for_so_long = Duration::try_from(now.duration_since(ready_since(pod)?)).unwrap_or_default();
    Some(min_ready.saturating_sub(for_so_long))
}

/// The Pod that `owner` creates of a template, encoded once for all that are alike.
pub fn encode_new<O: Resource<DynamicType = ()>>(
    owner: &O,
    template: Option<&PodTemplateSpec>,
    generate_name: String,
) -> Result<Vec<u8>, serde_json::Error> {
    let meta = template.and_then(|template| template.metadata.as_ref());
    serde_json::to_vec(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": ObjectMeta {
            generate_name: Some(generate_name),
            namespace: owner.meta().namespace.clone(),
            labels: meta.and_then(|meta| meta.labels.clone()),
            annotations: meta.and_then(|meta| meta.annotations.clone()),
            finalizers: meta.and_then(|meta| meta.finalizers.clone()),
            owner_references: Some(vec![owner::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        "spec": template.and_then(|template| template.spec.as_ref()),
    }))
}

/// Why the Pods of an owner are not as it wants them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Pod could not be created.
    #[error("cannot create Pod")]
    Create(#[source] Box<kube::Error>),
    /// A Pod could not be deleted.
    #[error("cannot delete Pod {name}")]
    Delete {
        /// The Pod.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// The Pods of one owner, as a pass makes and unmakes them.
pub struct Owned<'a, O> {
    /// Whose they are.
    pub owner: &'a O,
    /// Asks for them.
    pub client: &'a Client,
    /// Shows them.
    pub pods: &'a Informer<Pod>,
    /// Tells the owner what became of them.
    pub events: &'a EventRecorder,
    /// Notes them.
    pub written: &'a Written,
}

impl<O: Resource<DynamicType = ()>> Owned<'_, O> {
    /// Creates a Pod of each [body](encode_new); answers how many, and why no more.
    ///
    /// They are created side by side, but in batches that double, so that a
    /// quota that refuses one is not asked for hundreds.
    pub async fn create(
        &self,
        mut bodies: impl Iterator<Item = Vec<u8>>,
    ) -> (usize, Result<(), Error>) {
        let path = Pod::url_path(&(), self.owner.meta().namespace.as_deref());
        let (mut created, mut batch) = (0, FIRST_BATCH);
        loop {
            let requests: Vec<_> = bodies.by_ref().take(batch).collect();
            if requests.is_empty() {
                return (created, Ok(()));
            }
            let requests = requests.into_iter().map(|body| create(self.client, &path, body));
            let answers: Vec<_> =
                stream::iter(requests).buffer_unordered(SIDE_BY_SIDE).collect().await;
            let mut refused = None;
            for answer in answers {
                match answer {
                    Ok(meta) => {
                        created += 1;
                        self.written.note(self.pods, &meta);
                        let told = format!("Created pod: {}", meta.name.unwrap_or_default());
                        self.events.normal(self.owner.object_ref(&()), "SuccessfulCreate", told);
                    }
                    Err(error) => refused = Some(error),
                }
            }
            if let Some(error) = refused {
                return (created, self.refused(error));
            }
            batch *= 2;
        }
    }

    fn refused(&self, error: kube::Error) -> Result<(), Error> {
        if is_namespace_terminating(&error) {
            return Ok(());
        }
        let told = format!("Error creating: {}", refusal(&error));
        self.events.warning(self.owner.object_ref(&()), "FailedCreate", told);
        Err(Error::Create(Box::new(error)))
    }

    /// Deletes Pods side by side; answers the last refusal.
    pub async fn delete(&self, surplus: &[Arc<Pod>]) -> Result<(), Error> {
        let namespace = self.owner.meta().namespace.as_deref().unwrap_or_default();
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let requests = surplus.iter().cloned().map(|pod| delete(api.clone(), pod));
        let answers: Vec<_> = stream::iter(requests).buffer_unordered(SIDE_BY_SIDE).collect().await;
        let mut result = Ok(());
        for (name, answer) in answers {
            match answer {
                Ok(deleted) => {
                    if let Some(pod) = deleted {
                        self.written.note(self.pods, &pod.metadata);
                    }
                    let told = format!("Deleted pod: {name}");
                    self.events.normal(self.owner.object_ref(&()), "SuccessfulDelete", told);
                }
                Err(error) if status_code(&error) == Some(404) => {}
                Err(error) => {
                    let told = format!("Error deleting: {}", refusal(&error));
                    self.events.warning(self.owner.object_ref(&()), "FailedDelete", told);
                    result = Err(Error::Delete { name, source: Box::new(error) });
                }
            }
        }
        result
    }
}

/// As much of a created Pod as is of interest.
#[derive(Clone, Deserialize)]
struct Created {
    metadata: ObjectMeta,
}

/// Creates a Pod that is [encoded](encode_new); `path` is that of the namespace's Pods.
async fn create(client: &Client, path: &str, body: Vec<u8>) -> Result<ObjectMeta, kube::Error> {
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    Ok(client.request::<Created>(request).await?.metadata)
}

/// Deletes a Pod, no other of its name; answers it if it is still on its way out.
async fn delete(api: Api<Pod>, pod: Arc<Pod>) -> (String, Result<Option<Pod>, kube::Error>) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    let answer = api.delete(&name, &params).await.map(|answer| answer.left());
    (name, answer)
}

fn ready(pod: &Pod) -> Option<&PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")
}
