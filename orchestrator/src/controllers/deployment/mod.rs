//! Rolls out a Deployment: a replica set per revision, moved over step by step.
//!
//! [`plan()`] decides the next step and [`status`] judges the progress; this file acts.

mod plan;
mod sets;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::info;

use super::owner::{self, Selects};
use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, pods};
use crate::client::{
    EventRecorder, Index, Informer, ObjectKey, is_namespace_terminating, refusal, status_code,
};
use crate::clock::Clock;
use plan::{Plan, plan};
use status::{Happened, Seen};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its replica sets are not known.
    #[error("cannot claim replica sets")]
    Claim(#[from] owner::Error),
    /// A replica set could not be created.
    #[error("cannot create replica set {name}")]
    Create {
        /// The set.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// Another replica set has the name that the new one should get.
    #[error("the name {name} of the new replica set is taken")]
    Collision {
        /// The name.
        name: String,
    },
    /// A replica set could not be written.
    #[error("cannot write replica set {name}")]
    Write {
        /// The set.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// The revision could not be noted.
    #[error("cannot note the revision")]
    Revision(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
}

struct Deployments {
    client: Client,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

fn selector(deployment: &Deployment) -> Option<&LabelSelector> {
    deployment.spec.as_ref().map(|spec| &spec.selector)
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let deployments = context.informers.of::<Deployment>();
    let sets = context.informers.of::<ReplicaSet>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    queue.feed_own(&deployments);
    let known = deployments.clone();
    queue.feed(&sets, move |change, add| {
        for set in change.both() {
            match owner::controller_key(&set.metadata, "Deployment") {
                Some(key) => add(key),
                None if owner::controller_of(&set.metadata).is_none() => {
                    owner::would_adopt(&known, selector, &set.metadata, add);
                }
                None => {}
            }
        }
    });
    let (known, owners) = (deployments.clone(), sets.clone());
    queue.feed(&pods, move |change, add| {
        // Only `Recreate` waits for the end of Pods.
        let gone = change.old.iter().filter(|old| change.new.is_none() || pods::is_active(old));
        for pod in gone {
            let set = owner::controller_key(&pod.metadata, "ReplicaSet");
            let set = set.and_then(|key| owners.get(&key));
            let key = set.and_then(|set| owner::controller_key(&set.metadata, "Deployment"));
            if let Some(key) = key
                && known.get(&key).is_some_and(|deployment| sets::is_recreate(&deployment))
            {
                add(key);
            }
        }
    });
    let controller = Deployments {
        client: context.client.clone(),
        deployments: deployments.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        events: context.recorder("deployment-controller", tasks),
        clock: Arc::clone(&context.config.clock),
    };
    let synced = async move { tokio::join!(deployments.synced(), sets.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for Deployments {
    const NAME: &'static str = "deployment";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(Requeue::OnChange); // deleted; the garbage collector does the rest
        };
        let Some(spec) = deployment.spec.as_ref() else { return Ok(Requeue::OnChange) };
        let selects = Selects::new(&spec.selector).map_err(owner::Error::from)?;
        let all = |_: &ReplicaSet| true;
        let sets = owner::claim_all(&self.client, &*deployment, &selects, &self.sets, all, written)
            .await?;
        let old_pods = sets::is_recreate(&deployment) && self.has_old_pods(&deployment, &sets);
        let plan = plan(&deployment, &sets, old_pods);
        let deployment = self.note_revision(&deployment, &plan, written).await?;

        let outcome = self.apply(&deployment, &plan, &sets, written).await;
        let happened = match &outcome {
            Ok(happened) => happened.clone(),
            Err(Error::Create { name, source }) => {
                Some(Happened::Failed(name.clone(), refusal(source)))
            }
            Err(Error::Collision { .. }) => None,
            Err(_) => return outcome.map(|_| Requeue::OnChange),
        };
        let now = self.clock.now();
        let rolls_out = plan.rolls_out;
        let seen = Seen { deployment: &deployment, sets: &sets, happened, rolls_out, now };
        let mut status = seen.status();
        if matches!(outcome, Err(Error::Collision { .. })) {
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        }
        let recheck = seen.until_deadline(&status);
        self.write_status(&deployment, status, written).await?;
        outcome?;
        Ok(recheck.filter(|_| rolls_out).into())
    }
}

impl Deployments {
    /// Whether Pods of older revisions have not ended yet.
    fn has_old_pods(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
        let new = sets::find_new(deployment, sets);
        let old = sets.iter().enumerate().filter(|(at, _)| Some(*at) != new);
        old.flat_map(|(_, set)| {
            self.pods.by(&Index::CONTROLLER, set.metadata.uid.as_deref().unwrap_or_default())
        })
        .any(|pod| !pods::is_terminal(&pod))
    }

    fn sets_of(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn apply(
        &self,
        deployment: &Deployment,
        plan: &Plan,
        sets: &[Arc<ReplicaSet>],
        written: &Written,
    ) -> Result<Option<Happened>, Error> {
        let mut happened = sets::find_new(deployment, sets)
            .and_then(|at| sets[at].metadata.name.clone())
            .map(Happened::Found);
        if let Some(set) = &plan.create {
            happened = Some(Happened::Created(self.create(deployment, set, written).await?));
        }
        for (set, before) in &plan.write {
            self.write(deployment, set, *before, written).await?;
        }
        for set in &plan.delete {
            self.delete(deployment, set).await?;
        }
        Ok(happened)
    }

    async fn create(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        written: &Written,
    ) -> Result<String, Error> {
        let name = set.metadata.name.clone().unwrap_or_default();
        let failed =
            |name: &str, source| Error::Create { name: name.into(), source: Box::new(source) };
        let api = self.sets_of(deployment);
        match api.create(&PostParams::default(), set).await {
            Ok(created) => written.note(&self.sets, &created.metadata),
            Err(error) if status_code(&error) == Some(409) => {
                // Ours from a pass whose answer was lost, or another template's with the same hash.
                let there = api.get_opt(&name).await.map_err(|error| failed(&name, error))?;
                return match there {
                    Some(there) if sets::is_ours(deployment, &there) => {
                        written.note(&self.sets, &there.metadata);
                        Ok(name)
                    }
                    Some(_) => Err(Error::Collision { name }),
                    None => Err(failed(&name, error)),
                };
            }
            Err(error) if is_namespace_terminating(&error) => return Err(failed(&name, error)),
            Err(error) => {
                let told =
                    format!("Failed to create new replica set {name:?}: {}", refusal(&error));
                self.events.warning(deployment.object_ref(&()), "ReplicaSetCreateError", told);
                return Err(failed(&name, error));
            }
        }
        self.tell_scaling(deployment, &name, 0, sets::size(set));
        Ok(name)
    }

    async fn write(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        before: i32,
        written: &Written,
    ) -> Result<(), Error> {
        let name = set.metadata.name.clone().unwrap_or_default();
        let api = self.sets_of(deployment);
        match api.replace(&name, &PostParams::default(), set).await {
            Ok(updated) => written.note(&self.sets, &updated.metadata),
            Err(source) => return Err(Error::Write { name, source: Box::new(source) }),
        }
        self.tell_scaling(deployment, &name, before, sets::size(set));
        Ok(())
    }

    async fn delete(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<(), Error> {
        let name = set.metadata.name.clone().unwrap_or_default();
        info!(namespace = deployment.metadata.namespace, name, "old revision is deleted");
        let preconditions = Preconditions { uid: set.metadata.uid.clone(), resource_version: None };
        let params =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.sets_of(deployment).delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(source) => Err(Error::Write { name, source: Box::new(source) }),
        }
    }

    fn tell_scaling(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = match to.cmp(&from) {
            std::cmp::Ordering::Greater => "up",
            std::cmp::Ordering::Less => "down",
            std::cmp::Ordering::Equal => return,
        };
        info!(namespace = deployment.metadata.namespace, set, from, to, "replica set scaled");
        let told = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.events.normal(deployment.object_ref(&()), "ScalingReplicaSet", told);
    }

    /// Notes the revision; answers the Deployment as it is then.
    async fn note_revision(
        &self,
        deployment: &Arc<Deployment>,
        plan: &Plan,
        written: &Written,
    ) -> Result<Arc<Deployment>, Error> {
        let Some(revision) = &plan.revision else { return Ok(Arc::clone(deployment)) };
        let meta = &deployment.metadata;
        let patch = json!({"metadata": {
            "resourceVersion": meta.resource_version, "annotations": {sets::REVISION: revision},
        }});
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let api = Api::<Deployment>::namespaced(self.client.clone(), namespace);
        let name = meta.name.as_deref().unwrap_or_default();
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        let patched = patched.map_err(|source| Error::Revision(Box::new(source)))?;
        written.note(&self.deployments, &patched.metadata);
        Ok(Arc::new(patched))
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
        written: &Written,
    ) -> Result<(), Error> {
        if deployment.status.as_ref().is_some_and(|before| status::same(before, &status)) {
            return Ok(());
        }
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Deployment>::namespaced(self.client.clone(), namespace);
        let updated = Deployment { status: Some(status), ..deployment.clone() };
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(updated) => {
                written.note(&self.deployments, &updated.metadata);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }
}

#[cfg(test)]
mod tests;
