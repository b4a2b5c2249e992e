//! Keeps as many Pods running as a `ReplicaSet` asks for.
//!
//! [`plan()`] decides; this file acts.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tracing::info;

use super::Context;
use super::owner::{self, Selects};
use super::pods;
use super::runtime::{Controller, Queue, Requeue, Written};
use crate::client::{EventRecorder, Index, Informer, ObjectKey, refusal, status_code};
use crate::clock::Clock;
use plan::{Failure, plan};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its Pods are not known.
    #[error("cannot claim Pods")]
    Claim(#[from] owner::Error),
    /// A Pod could not be written down.
    #[error("cannot encode a Pod")]
    Encode(#[from] serde_json::Error),
    /// Its Pods are not as it wants them.
    #[error(transparent)]
    Pods(#[from] pods::Error),
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
}

struct ReplicaSets {
    client: Client,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

fn selector(set: &ReplicaSet) -> Option<&LabelSelector> {
    set.spec.as_ref().map(|spec| &spec.selector)
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let sets = context.informers.of::<ReplicaSet>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    queue.feed_own(&sets);
    let known = sets.clone();
    queue.feed(&pods, move |change, add| {
        for pod in change.both() {
            match owner::controller_key(&pod.metadata, "ReplicaSet") {
                Some(key) => add(key),
                None if owner::controller_of(&pod.metadata).is_none() => {
                    owner::would_adopt(&known, selector, &pod.metadata, add);
                }
                None => {}
            }
        }
    });
    let controller = ReplicaSets {
        client: context.client.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        events: context.recorder("replicaset-controller", tasks),
        clock: Arc::clone(&context.config.clock),
    };
    let synced = async move { tokio::join!(sets.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for ReplicaSets {
    const NAME: &'static str = "replicaset";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(set) = self.sets.get(key) else {
            return Ok(Requeue::OnChange); // deleted; the garbage collector does the rest
        };
        let Some(spec) = set.spec.as_ref() else { return Ok(Requeue::OnChange) };
        let selects = Selects::new(&spec.selector).map_err(owner::Error::from)?;
        let active = pods::is_active;
        let owned =
            owner::claim_all(&self.client, &*set, &selects, &self.pods, active, written).await?;
        let crowd = self.crowd(&set, &owned);
        let plan = plan(&set, &owned, &crowd, self.clock.now());
        if plan != plan::Plan::default() {
            info!(key = %key, create = plan.create, delete = plan.delete.len(), "scaling");
        }
        let failed = if plan.create > 0 {
            self.create(&set, plan.create, written).await
        } else {
            self.owned(&set, written).delete(&plan.delete).await.map_err(Error::from)
        };
        let failure = failed.as_ref().err().map(failure);
        let (status, recheck) = plan::status(&set, &owned, failure.as_ref(), self.clock.now());
        self.write_status(&set, status, written).await?;
        failed?;
        Ok(recheck.into())
    }
}

impl ReplicaSets {
    /// Counts, per node, the active Pods of the set and of its siblings.
    fn crowd(&self, set: &ReplicaSet, owned: &[Arc<Pod>]) -> HashMap<String, usize> {
        let surplus = owned.len() > usize::try_from(plan::wanted(set)).unwrap_or(0);
        let mut crowd = HashMap::new();
        let Some(parent) = owner::controller_of(&set.metadata).filter(|_| surplus) else {
            return crowd;
        };
        for sibling in self.sets.by(&Index::CONTROLLER, &parent.uid) {
            let uid = sibling.metadata.uid.as_deref().unwrap_or_default();
            let siblings = self.pods.by(&Index::CONTROLLER, uid);
            for pod in siblings.iter().filter(|pod| pods::is_active(pod)) {
                if let Some(node) = pods::node_name(pod) {
                    *crowd.entry(node.to_owned()).or_default() += 1;
                }
            }
        }
        crowd
    }

    async fn create(&self, set: &ReplicaSet, count: usize, written: &Written) -> Result<(), Error> {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let prefix = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
        let body = pods::encode_new(set, template, prefix)?;
        let (_, result) = self.owned(set, written).create(std::iter::repeat_n(body, count)).await;
        Ok(result?)
    }

    fn owned<'a>(
        &'a self,
        owner: &'a ReplicaSet,
        written: &'a Written,
    ) -> pods::Owned<'a, ReplicaSet> {
        let Self { client, pods, events, .. } = self;
        pods::Owned { owner, client, pods, events, written }
    }

    async fn write_status(
        &self,
        set: &ReplicaSet,
        status: k8s_openapi::api::apps::v1::ReplicaSetStatus,
        written: &Written,
    ) -> Result<(), Error> {
        if set.status.as_ref().is_some_and(|before| plan::same_status(before, &status)) {
            return Ok(());
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), namespace);
        let updated = ReplicaSet { status: Some(status), ..set.clone() };
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(set) => {
                written.note(&self.sets, &set.metadata);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Pods(pods::Error::Delete { source, .. }) => {
            Failure { reason: "FailedDelete", message: refusal(source) }
        }
        Error::Pods(pods::Error::Create(source)) => {
            Failure { reason: "FailedCreate", message: refusal(source) }
        }
        other => Failure { reason: "FailedCreate", message: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
