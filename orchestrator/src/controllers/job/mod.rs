//! Runs Pods until enough of them have succeeded.
//!
//! [`mod@plan`] decides; [`act`] does it: Pods deleted or created, then the
//! status written, then finalizers removed. A Job goes from active (or
//! `Suspended`) to `SuccessCriteriaMet` or `FailureTarget`, while its Pods are
//! cleared away and counted, to `Complete` or `Failed`.

mod act;
mod ending;
mod manage;
mod member;
mod plan;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::owner::{self, Selects};
use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, pods};
use crate::client::{EventRecorder, Index, Informer, ObjectKey};
use crate::clock::Clock;

pub use act::Error;
pub use ending::{finished, is_finished};

/// This controller, as `spec.managedBy` names it.
const OURS: &str = "kubernetes.io/job-controller";

/// Pods with the finalizer, by the key of the Job that controls them; those
/// that nobody controls by the key of no name in their namespace.
const TRACKED: Index<Pod> = Index {
    name: "tracked",
    values: |pod| tracked_by(pod).iter().map(ToString::to_string).collect(),
};

struct Jobs {
    client: Client,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

fn selector(job: &Job) -> Option<&LabelSelector> {
    job.spec.as_ref()?.selector.as_ref()
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let jobs = context.informers.of::<Job>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    queue.feed_own(&jobs);
    let known = jobs.clone();
    queue.feed(&pods, move |change, add| {
        for pod in change.both() {
            match owner::controller_key(&pod.metadata, "Job") {
                Some(key) => add(key),
                None if owner::controller_of(&pod.metadata).is_none() => {
                    tracked_by(pod).into_iter().for_each(&mut *add);
                    owner::would_adopt(&known, selector, &pod.metadata, add);
                }
                None => {}
            }
        }
    });
    let controller = Jobs {
        client: context.client.clone(),
        jobs: jobs.clone(),
        pods: pods.clone(),
        events: context.recorder("job-controller", tasks),
        clock: Arc::clone(&context.config.clock),
    };
    let synced = async move { tokio::join!(jobs.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

/// The key of the Job that has to count a Pod, if it still has to be counted.
fn tracked_by(pod: &Pod) -> Option<ObjectKey> {
    if !member::is_tracked(pod) {
        return None;
    }
    match owner::controller_of(&pod.metadata) {
        None => Some(ObjectKey::new(pod.metadata.namespace.clone()?, "")),
        Some(_) => owner::controller_key(&pod.metadata, "Job"),
    }
}

/// Whether another controller does all this for a Job.
fn is_managed_elsewhere(job: &Job) -> bool {
    let by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    by.is_some_and(|by| by != OURS)
}

#[async_trait]
impl Controller for Jobs {
    const NAME: &'static str = "job";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let job = self.jobs.get(key);
        self.release_orphans(key, job.as_deref(), written).await?;
        let Some(job) = job.filter(|job| !is_managed_elsewhere(job)) else {
            return Ok(Requeue::OnChange);
        };
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return Ok(Requeue::OnChange);
        };
        if is_finished(&job) {
            // All is counted; should a finalizer be left, it keeps a Pod for nothing.
            let uid = job.metadata.uid.as_deref().unwrap_or_default();
            let mut left = self.pods.by(&Index::CONTROLLER, uid);
            left.retain(|pod| member::is_tracked(pod));
            self.untrack(&left, written).await?;
            return Ok(Requeue::OnChange);
        }
        let selects = Selects::new(selector).map_err(owner::Error::from)?;
        let owned =
            owner::claim_all(&self.client, &*job, &selects, &self.pods, pods::is_active, written)
                .await?;
        let plan = plan::plan(&job, &owned, self.clock.now());
        self.act(&job, plan, written).await
    }
}

impl Jobs {
    /// Lets go of Pods whose Job is gone: nobody will count them, and they must not stay for ever.
    async fn release_orphans(
        &self,
        key: &ObjectKey,
        job: Option<&Job>,
        written: &Written,
    ) -> Result<(), Error> {
        let uid = job.and_then(|job| job.metadata.uid.as_deref());
        let controller = |pod: &Pod| owner::controller_of(&pod.metadata).map(|o| o.uid.clone());
        let mut orphans = self.pods.by(&TRACKED, &key.to_string());
        orphans.retain(|pod| controller(pod).is_none_or(|owner| Some(owner.as_str()) != uid));
        if orphans.is_empty() {
            return Ok(());
        }
        if !key.name.is_empty() {
            // The informer of Jobs may be behind that of Pods.
            let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
            let live = api.get_metadata_opt(&key.name).await;
            let live = live.map_err(|error| Error::Look(Box::new(error)))?;
            let uid = live.and_then(|live| live.metadata.uid);
            orphans.retain(|pod| controller(pod) != uid);
        }
        self.untrack(&orphans, written).await
    }
}
