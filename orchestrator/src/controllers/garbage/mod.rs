//! The garbage collector: deletes what no owner is left for.
//!
//! Three ways to delete an owner: in the *background* it goes and its
//! dependents follow; in the *foreground* a finalizer holds it until those
//! that block it are gone; with *orphan* a finalizer holds it until its
//! dependents have forgotten it. [`graph`] decides; this file watches and acts.
//!
//! Every deletion carries the uid and the resourceVersion that it was decided
//! by, so that a graph that is behind can be wrong without doing harm.

mod graph;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::runtime::{Controller, Queue, Requeue, Written, drive};
use super::{Context, owner};
use crate::client::{Change, Informer, Informers, ObjectKey, status_code};
use graph::{Graph, Node, ORPHAN, Propagation, Step};

/// The wait between attempts to discover what there is.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whether an owner exists cannot be said.
    #[error("cannot look for the owner {name}")]
    Ask {
        /// The owner.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object could not be deleted.
    #[error("cannot delete {name}")]
    Delete {
        /// The object.
        name: ObjectKey,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object's owners or finalizers could not be changed.
    #[error("cannot change {name}")]
    Change {
        /// The object.
        name: ObjectKey,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A kind whose objects are watched.
#[derive(Debug, Clone)]
struct Kind {
    resource: Arc<ApiResource>,
    namespaced: bool,
}

struct GarbageCollector {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    kinds: HashMap<(String, String), Kind>,
    queue: Arc<Queue>,
}

/// Starts the control loop, whose keys are uids.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let context = context.clone();
    tasks.spawn(async move {
        let Context { client, informers, config, stop } = context;
        let queue = Queue::new();
        let graph = Arc::new(Mutex::new(Graph::default()));
        let watching = async {
            let kinds = discover(&client).await;
            let synced = kinds.iter().map(|kind| watch(&informers, kind, &graph, &queue));
            join_all(synced.collect::<Vec<_>>()).await;
            kinds
        };
        let Some(kinds) = stop.run_until_cancelled(watching).await else { return };
        let kinds = kinds
            .into_iter()
            .map(|kind| ((kind.resource.api_version.clone(), kind.resource.kind.clone()), kind));
        let kinds = kinds.collect();
        let collector = GarbageCollector { client, graph, kinds, queue: Arc::clone(&queue) };
        drive(collector, queue, config.entropy, stop).await;
    });
}

/// The kinds whose objects can own or be owned; tried until the server answers.
async fn discover(client: &Client) -> Vec<Kind> {
    let discovery = loop {
        match Discovery::new(client.clone()).run().await {
            Ok(discovery) => break discovery,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot discover resources");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let all = discovery.groups().flat_map(|group| group.recommended_resources());
    let collectable = all.filter(|(resource, can)| {
        // Events expire, and nobody owns them.
        resource.plural != "events"
            && [verbs::LIST, verbs::WATCH, verbs::DELETE]
                .into_iter()
                .all(|verb| can.supports_operation(verb))
    });
    collectable
        .map(|(resource, can)| Kind {
            namespaced: can.scope == Scope::Namespaced,
            resource: Arc::new(resource),
        })
        .collect()
}

/// Feeds the graph with one kind; the future ends when all its objects are in.
///
/// Kinds that other loops read whole are taken from their informers, the
/// others without their bodies.
fn watch(
    informers: &Informers,
    kind: &Kind,
    graph: &Arc<Mutex<Graph>>,
    queue: &Arc<Queue>,
) -> BoxFuture<'static, ()> {
    let resource = &kind.resource;
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => feed(informers.of::<Pod>(), resource, graph, queue),
        ("", "services") => feed(informers.of::<Service>(), resource, graph, queue),
        ("apps", "deployments") => feed(informers.of::<Deployment>(), resource, graph, queue),
        ("apps", "replicasets") => feed(informers.of::<ReplicaSet>(), resource, graph, queue),
        ("discovery.k8s.io", "endpointslices") => {
            feed(informers.of::<EndpointSlice>(), resource, graph, queue)
        }
        _ => feed(informers.metadata(resource), resource, graph, queue),
    }
}

fn feed<K: Resource + Send + Sync + 'static>(
    informer: Informer<K>,
    resource: &Arc<ApiResource>,
    graph: &Arc<Mutex<Graph>>,
    queue: &Arc<Queue>,
) -> BoxFuture<'static, ()> {
    let (resource, graph) = (Arc::clone(resource), Arc::clone(graph));
    let queue = Arc::downgrade(queue);
    informer.listen(move |change| {
        let Some(queue) = queue.upgrade() else { return ControlFlow::Break(()) };
        for uid in observe(&mut graph.lock(), &resource, change) {
            queue.add(Arc::new(ObjectKey::cluster(uid)));
        }
        ControlFlow::Continue(())
    });
    Box::pin(async move { informer.synced().await })
}

/// Takes a change into the graph; answers whom to look at because of it.
fn observe<K: Resource>(
    graph: &mut Graph,
    resource: &Arc<ApiResource>,
    change: &Change<K>,
) -> Vec<String> {
    let uid = |object: &Arc<K>| object.meta().uid.clone();
    let (old, new) = (change.old.as_ref().and_then(uid), change.new.as_ref().and_then(uid));
    let mut looks = Vec::new();
    if let Some(old) = &old
        && new.as_ref() != Some(old)
    {
        looks = graph.remove(old);
    }
    if let (Some(uid), Some(object)) = (new, &change.new) {
        looks.extend(graph.put(&uid, Node::new(resource, &change.key, object.meta())));
    }
    looks
}

#[async_trait]
impl Controller for GarbageCollector {
    const NAME: &'static str = "garbage-collector";
    /// As kube-controller-manager's `--concurrent-gc-syncs`.
    const WORKERS: usize = 20;
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, _: &Written) -> Result<Requeue, Error> {
        let uid = key.name.as_str();
        let mut present = HashSet::new();
        loop {
            let (node, step) = {
                let graph = self.graph.lock();
                let Some(node) = graph.get(uid).cloned() else { return Ok(Requeue::OnChange) };
                (node, graph.plan(uid, &present))
            };
            match step {
                Step::Nothing => {}
                Step::Ask(owners) => {
                    for owner in owners {
                        if self.exists(&owner, &node).await? {
                            present.insert(owner.uid);
                        } else {
                            self.graph.lock().note_gone(&owner.uid);
                        }
                    }
                    continue;
                }
                Step::Delete(propagation) => self.delete(uid, &node, propagation).await?,
                Step::Keep(owners) => {
                    self.change(&node, json!({"ownerReferences": owners})).await?;
                }
                Step::Descend(dependents) => {
                    for dependent in dependents {
                        self.queue.add(Arc::new(ObjectKey::cluster(dependent)));
                    }
                }
                Step::Release(finalizer) => self.release(&node, finalizer).await?,
                Step::Abandon(dependents) => {
                    for dependent in dependents {
                        self.abandon(uid, &dependent).await?;
                    }
                    self.release(&node, ORPHAN).await?;
                }
            }
            return Ok(Requeue::OnChange);
        }
    }
}

impl GarbageCollector {
    /// Whether the owner that an object names exists.
    async fn exists(&self, owner: &OwnerReference, dependent: &Node) -> Result<bool, Error> {
        let Some(kind) = self.kinds.get(&(owner.api_version.clone(), owner.kind.clone())) else {
            // A kind that is not served, perhaps not yet: nothing is deleted on a guess.
            debug!(api_version = owner.api_version, kind = owner.kind, "owner of unknown kind");
            return Ok(true);
        };
        let namespace = if kind.namespaced { dependent.key.namespace.as_str() } else { "" };
        if kind.namespaced && namespace.is_empty() {
            return Ok(true); // a cluster-scoped object cannot name a namespaced owner
        }
        let found = self.api(&kind.resource, namespace).get_metadata_opt(&owner.name).await;
        let found = found
            .map_err(|source| Error::Ask { name: owner.name.clone(), source: Box::new(source) })?;
        Ok(found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid)))
    }

    async fn delete(&self, uid: &str, node: &Node, propagation: Propagation) -> Result<(), Error> {
        debug!(kind = node.resource.kind, key = %node.key, ?propagation, "object has no owner left");
        let policy = match propagation {
            Propagation::Background => PropagationPolicy::Background,
            Propagation::Foreground => PropagationPolicy::Foreground,
            Propagation::Orphan => PropagationPolicy::Orphan,
        };
        let preconditions =
            Preconditions { uid: Some(uid.to_owned()), resource_version: node.version.clone() };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.api(&node.resource, &node.key.namespace).delete(&node.key.name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(source) => {
                Err(Error::Delete { name: ObjectKey::clone(&node.key), source: Box::new(source) })
            }
        }
    }

    /// Lets a dependent forget its owner.
    async fn abandon(&self, owner: &str, dependent: &str) -> Result<(), Error> {
        let Some(node) = self.graph.lock().get(dependent).cloned() else { return Ok(()) };
        let mut owners = node.owners.clone();
        owners.retain(|other| other.uid != owner);
        if owners.len() == node.owners.len() {
            return Ok(());
        }
        self.change(&node, json!({"ownerReferences": owner::list_or_absent(&owners)})).await
    }

    async fn release(&self, node: &Node, finalizer: &str) -> Result<(), Error> {
        let mut finalizers = node.finalizers.clone();
        finalizers.retain(|name| name != finalizer);
        debug!(kind = node.resource.kind, key = %node.key, finalizer, "finalizer is done");
        self.change(node, json!({"finalizers": owner::list_or_absent(&finalizers)})).await
    }

    /// Changes metadata, if the object is still the one that the graph knows.
    async fn change(&self, node: &Node, mut metadata: Value) -> Result<(), Error> {
        if let Some(version) = &node.version {
            metadata["resourceVersion"] = json!(version);
        }
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let api = self.api(&node.resource, &node.key.namespace);
        match api.patch_metadata(&node.key.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(source) => {
                Err(Error::Change { name: ObjectKey::clone(&node.key), source: Box::new(source) })
            }
        }
    }

    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, resource)
        }
    }
}

#[cfg(test)]
mod tests;
