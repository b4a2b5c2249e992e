//! Keeps the status of each `PodDisruptionBudget`: how many of its Pods may be
//! evicted now. The eviction API reads it and charges it.
//!
//! [`plan()`] decides; this file looks up what the Pods' controllers ask for and writes.

mod plan;
mod scale;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::debug;

use super::runtime::{Controller, Queue, Requeue, Written, drive};
use super::{Context, pods};
use crate::client::{Change, EventRecorder, Index, Informer, ObjectKey, status_code};
use crate::clock::Clock;
use plan::{Expected, Seen, plan};
use scale::Scales;

/// A Pod that was to be disrupted and is still there after so long was not:
/// its condition is taken back (upstream's stalePodDisruptionTimeout).
const STALE: Duration = Duration::from_secs(120);

/// When to look again for a controller that was not found: it may be seen after its Pods.
const LATE: Duration = Duration::from_secs(30);

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
    /// How many Pods there should be is not known; the budget allows nothing until it is.
    #[error("cannot calculate the number of expected pods")]
    Expected(#[source] scale::Error),
    /// The condition of a Pod could not be taken back.
    #[error("cannot write the condition of pod {pod}")]
    Condition {
        /// The Pod.
        pod: ObjectKey,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

struct Disruption {
    client: Client,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

/// Starts the control loops, whose keys are budgets and, for conditions that got stale, Pods.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let budgets = context.informers.of::<PodDisruptionBudget>();
    let pods = context.informers.of::<Pod>();
    let scales = Scales::new(context);
    let queue = Queue::new();
    queue.feed_own(&budgets);
    let known = budgets.clone();
    queue.feed(&pods, move |change, add| {
        if !matters(change) {
            return;
        }
        for budget in known.by(&Index::NAMESPACE, &change.key.namespace) {
            if change.both().any(|pod| selects(&budget, pod)) {
                let name = budget.metadata.name.clone().unwrap_or_default();
                add(ObjectKey::new(change.key.namespace.clone(), name));
            }
        }
    });
    let stale = Queue::new();
    stale.feed(&pods, |change, add| {
        if change.new.as_deref().is_some_and(|pod| plan::disrupted_since(pod).is_some()) {
            add(ObjectKey::clone(&change.key));
        }
    });
    let controller = Disruption {
        client: context.client.clone(),
        budgets: budgets.clone(),
        pods: pods.clone(),
        scales: scales.clone(),
        events: context.recorder("controllermanager", tasks),
        clock: Arc::clone(&context.config.clock),
    };
    let conditions = StaleConditions {
        client: context.client.clone(),
        pods: pods.clone(),
        clock: Arc::clone(&context.config.clock),
    };
    let (entropy, stop) = (context.config.entropy.clone(), context.stop.clone());
    tasks.spawn(async move {
        let synced = async { tokio::join!(budgets.synced(), pods.synced(), scales.synced()) };
        if stop.run_until_cancelled(synced).await.is_some() {
            let budgets = drive(controller, queue, entropy.clone(), stop.clone());
            tokio::join!(budgets, drive(conditions, stale, entropy, stop));
        }
    });
}

/// Whether a change of a Pod can change a budget's status.
fn matters(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    old.metadata.labels != new.metadata.labels
        || old.metadata.owner_references != new.metadata.owner_references
        || old.metadata.deletion_timestamp.is_some() != new.metadata.deletion_timestamp.is_some()
        || pods::is_ready(old) != pods::is_ready(new)
}

/// Whether the budget is about the Pod: an empty selector selects all, none nothing.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    selector(budget).is_some_and(|s| s.matches(&pod.metadata.labels.clone().unwrap_or_default()))
}

fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector: LabelSelector = budget.spec.as_ref()?.selector.clone()?;
    Selector::try_from(selector).ok()
}

#[async_trait]
impl Controller for Disruption {
    const NAME: &'static str = "disruption";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Requeue::OnChange) };
        let selector = selector(&budget);
        let mut pods = self.pods.by(&Index::NAMESPACE, &key.namespace);
        pods.retain(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            selector.as_ref().is_some_and(|selector| selector.matches(&labels))
        });
        if pods.is_empty() {
            let about = budget.object_ref(&());
            self.events.normal(about, "NoPods", "No matching pods found");
        }
        let (expected, failure) = match self.expected(&budget, &pods).await {
            Ok(expected) => (expected, None),
            Err(error) => (Expected::Unknown(error.to_string()), Some(error)),
        };
        let now = self.clock.now();
        let plan = plan(&Seen { budget: &budget, pods: &pods, expected: &expected, now });
        for pod in &plan.not_deleted {
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            let told = format!(
                "Pod was expected by PDB {}/{name} to be deleted but it wasn't",
                key.namespace
            );
            self.events.warning(pod.object_ref(&()), "NotDeleted", told);
        }
        if let Some(status) = plan.status {
            let mut new = PodDisruptionBudget::clone(&budget);
            new.status = Some(status);
            let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), &key.namespace);
            let answer = api.replace_status(&key.name, &PostParams::default(), &new).await;
            match answer {
                Ok(stored) => written.note(&self.budgets, &stored.metadata),
                Err(error) if status_code(&error) == Some(404) => return Ok(Requeue::OnChange),
                Err(error) => return Err(Error::Status(Box::new(error))),
            }
        }
        failure.map_or(Ok(plan.recheck.into()), unknown)
    }
}

impl Disruption {
    /// How many Pods there should be, where the budget depends on it.
    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Expected, scale::Error> {
        if !plan::asks_controllers(budget) {
            return Ok(Expected::Pods(i32::try_from(pods.len()).unwrap_or(i32::MAX)));
        }
        let about = budget.object_ref(&());
        match self.scales.sum(pods).await {
            Ok(sum) => {
                if !sum.unmanaged.is_empty() {
                    self.events.warning(about, "UnmanagedPods", plan::unmanaged(budget));
                }
                Ok(Expected::Pods(sum.replicas))
            }
            Err(error) => {
                let told = format!("Failed to calculate the number of expected pods: {error}");
                self.events.warning(about, "CalculateExpectedPodCountFailed", told);
                Err(error)
            }
        }
    }
}

/// What follows where nobody knows how many Pods there should be. Pods without a controller are
/// no failure of ours: the budget's status and an event have told it.
fn unknown(why: scale::Error) -> Result<Requeue, Error> {
    if matches!(why, scale::Error::NoController(_)) {
        debug!(error = &why as &dyn std::error::Error, "expected pods are not known");
        return Ok(Requeue::After(LATE));
    }
    Err(Error::Expected(why))
}

/// Takes back the condition `DisruptionTarget` of Pods that stayed.
struct StaleConditions {
    client: Client,
    pods: Informer<Pod>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Controller for StaleConditions {
    const NAME: &'static str = "stale-pod-disruption";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(pod) = self.pods.get(key) else { return Ok(Requeue::OnChange) };
        let now = self.clock.now();
        let Some(since) = plan::disrupted_since(&pod) else { return Ok(Requeue::OnChange) };
        let left = STALE.saturating_sub(elapsed(since, now));
        if !left.is_zero() {
            return Ok(Requeue::After(left));
        }
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
                "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let patched =
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        match patched {
            Ok(pod) => written.note(&self.pods, &pod.metadata),
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => {}
            Err(source) => {
                return Err(Error::Condition { pod: key.clone(), source: Box::new(source) });
            }
        }
        Ok(Requeue::OnChange)
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_without_a_controller_are_looked_at_again_and_no_failure() {
        let lonely = scale::Error::NoController("web-1".into());
        assert_eq!(unknown(lonely).unwrap(), Requeue::After(LATE));
        let source = Box::new(kube::Error::LinesCodecMaxLineLengthExceeded);
        let unread = scale::Error::Read { kind: "Job".into(), name: "a".into(), source };
        assert!(unknown(unread).is_err());
    }
}
