//! Scales whatever has a `scale` so that its Pods use as much as is wished.
//!
//! A pass asks for the scale, the Pods and what they use; [`plan()`] decides; this
//! file acts. What was decided lately is kept in memory, as in Kubernetes: after
//! a restart the present size is the only recommendation there is.

mod calculate;
mod limit;
mod plan;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Resource, discovery};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tracing::info;

use super::Context;
use super::runtime::{Controller, Queue, Requeue, Written};
use crate::client::{
    EventRecorder, Index, Informer, LabelSelector, ObjectKey, refusal, status_code,
};
use crate::clock::Clock;
use limit::History;
use plan::{Condition, Inputs, Plan, Scope, plan};

/// How the autoscaler looks at things.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The time between two passes over one autoscaler (`--horizontal-pod-autoscaler-sync-period`).
    pub sync_period: Duration,
    /// How long the highest recommendation counts before Pods are taken away, where no behavior
    /// says it (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: Duration,
    /// As far from 1 as the ratio of use to target may be before anything is changed, where no
    /// behavior says it (`--horizontal-pod-autoscaler-tolerance`).
    pub tolerance: f64,
    /// How long after its start the CPU use of a Pod may be that of its start
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization: Duration,
    /// How long after its start a Pod that is not ready has never been ready
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub initial_readiness_delay: Duration,
}

impl Default for Settings {
    /// kube-controller-manager's.
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            tolerance: 0.1,
            cpu_initialization: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
        }
    }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
}

struct HorizontalPodAutoscalers {
    client: Client,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// What was decided lately; of autoscalers that there are.
    histories: Mutex<HashMap<ObjectKey, History>>,
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let autoscalers = context.informers.of::<HorizontalPodAutoscaler>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    // Its own writes of the status must not lead to another pass: each would measure anew.
    queue.feed(&autoscalers, |change, add| {
        let spec = |side: &Option<Arc<HorizontalPodAutoscaler>>| {
            side.as_ref().map(|autoscaler| autoscaler.spec.clone())
        };
        if spec(&change.old) != spec(&change.new) {
            add(ObjectKey::clone(&change.key));
        }
    });
    let controller = HorizontalPodAutoscalers {
        client: context.client.clone(),
        autoscalers: autoscalers.clone(),
        pods: pods.clone(),
        events: context.recorder("horizontal-pod-autoscaler", tasks),
        clock: Arc::clone(&context.config.clock),
        settings: context.config.autoscaling.clone(),
        histories: Mutex::default(),
    };
    let synced = async move { tokio::join!(autoscalers.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for HorizontalPodAutoscalers {
    const NAME: &'static str = "horizontalpodautoscaler";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            self.histories.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let status = match self.target(&autoscaler).await {
            Ok((target, scale)) => self.scale(key, &autoscaler, &target, scale).await,
            Err(why) => {
                self.events.warning(autoscaler.object_ref(&()), "FailedGetScale", why.clone());
                let message = format!(
                    "the HPA controller was unable to get the target's current scale: {why}"
                );
                let condition =
                    Condition::new(Scope::AbleToScale, false, "FailedGetScale", message);
                let mut status = autoscaler.status.clone().unwrap_or_default();
                self.set_conditions(&mut status, vec![condition]);
                status
            }
        };
        self.write_status(&autoscaler, status, written).await?;
        Ok(Requeue::After(self.settings.sync_period))
    }
}

impl HorizontalPodAutoscalers {
    /// What is scaled, and its scale.
    async fn target(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
    ) -> Result<(Api<DynamicObject>, Scale), String> {
        let reference = &autoscaler.spec.scale_target_ref;
        let version = reference.api_version.as_deref().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, &reference.kind);
        let resource = self.resource(&gvk).await?;
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let scale = api.get_scale(&reference.name).await.map_err(|error| refusal(&error))?;
        Ok((api, scale))
    }

    /// The resource of a kind, in the version that is named or in the one that is preferred.
    async fn resource(&self, gvk: &GroupVersionKind) -> Result<ApiResource, String> {
        let unknown = || format!("no matches for kind {:?} in group {:?}", gvk.kind, gvk.group);
        if !gvk.version.is_empty()
            && let Ok((resource, _)) = discovery::pinned_kind(&self.client, gvk).await
        {
            return Ok(resource);
        }
        if gvk.group.is_empty() {
            return Err(unknown());
        }
        let group = discovery::group(&self.client, &gvk.group).await.map_err(|_| unknown())?;
        group.recommended_kind(&gvk.kind).map(|(resource, _)| resource).ok_or_else(unknown)
    }

    /// Brings the scale to what it should be; answers the status.
    async fn scale(
        &self,
        key: &ObjectKey,
        autoscaler: &HorizontalPodAutoscaler,
        target: &Api<DynamicObject>,
        mut scale: Scale,
    ) -> HorizontalPodAutoscalerStatus {
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone());
        let selector = selector.unwrap_or_default();
        let pods = LabelSelector::parse(&selector).map(|selector| {
            let mut pods = self.pods.by(&Index::NAMESPACE, &key.namespace);
            pods.retain(|pod| selector.matches_map(pod.metadata.labels.as_ref()));
            pods
        });
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        let now = self.clock.now();
        let mut history = self.histories.lock().remove(key).unwrap_or_default();
        let inputs = Inputs {
            autoscaler,
            current,
            selector: &selector,
            pods: pods.as_deref().map_err(ToString::to_string),
            used: usage::of_pods(&self.client, &key.namespace, &selector).await,
        };
        let mut plan = plan(&inputs, &mut history, &self.settings, now);
        for (reason, message) in std::mem::take(&mut plan.events) {
            self.events.warning(autoscaler.object_ref(&()), reason, message);
        }
        let mut status = autoscaler.status.clone().unwrap_or_default();
        status.current_replicas = Some(current);
        if let Some(why) = plan.rescale.take() {
            scale.spec.get_or_insert_default().replicas = Some(plan.desired);
            self.rescale(autoscaler, target, &scale, &why, &mut plan).await;
            if plan.rescaled {
                history.scaled(autoscaler.spec.behavior.as_ref(), current, plan.desired, now);
                status.last_scale_time = Some(Time(now));
            }
        }
        if let Some(desired) = plan.settled() {
            status.desired_replicas = desired;
        }
        if let Some(metrics) = plan.metrics {
            status.current_metrics = Some(metrics).filter(|metrics| !metrics.is_empty());
        }
        self.set_conditions(&mut status, plan.conditions);
        self.histories.lock().insert(key.clone(), history);
        status
    }

    async fn rescale(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        target: &Api<DynamicObject>,
        scale: &Scale,
        why: &str,
        plan: &mut Plan,
    ) {
        let (about, desired) = (autoscaler.object_ref(&()), plan.desired);
        let name = &autoscaler.spec.scale_target_ref.name;
        match target.replace_scale(name, &PostParams::default(), scale).await {
            Ok(_) => {
                let key = &autoscaler.metadata.name;
                info!(autoscaler = key, target = name, replicas = desired, why, "rescaled");
                let told = format!("New size: {desired}; reason: {why}");
                self.events.normal(about, "SuccessfulRescale", told);
                let message =
                    format!("the HPA controller was able to update the target scale to {desired}");
                plan.set(Condition::new(Scope::AbleToScale, true, "SucceededRescale", message));
                plan.rescaled = true;
            }
            Err(error) => {
                let error = refusal(&error);
                let told = format!("New size: {desired}; reason: {why}; error: {error}");
                self.events.warning(about, "FailedRescale", told);
                let message =
                    format!("the HPA controller was unable to update the target scale: {error}");
                plan.set(Condition::new(Scope::AbleToScale, false, "FailedUpdateScale", message));
                plan.failed = true;
            }
        }
    }

    /// Sets conditions; the others stay.
    fn set_conditions(&self, status: &mut HorizontalPodAutoscalerStatus, new: Vec<Condition>) {
        let conditions = status.conditions.get_or_insert_default();
        for condition in new {
            let word = if condition.holds { "True" } else { "False" };
            let scope = condition.scope.as_str();
            let at = conditions.iter().position(|known| known.type_ == scope);
            let at = at.unwrap_or_else(|| {
                conditions.push(HorizontalPodAutoscalerCondition {
                    type_: scope.to_owned(),
                    ..HorizontalPodAutoscalerCondition::default()
                });
                conditions.len() - 1
            });
            let known = &mut conditions[at];
            if known.status != word {
                known.last_transition_time = Some(Time(self.clock.now()));
            }
            known.status = word.to_owned();
            known.reason = Some(condition.reason.to_owned());
            known.message = Some(condition.message);
        }
    }

    async fn write_status(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        status: HorizontalPodAutoscalerStatus,
        written: &Written,
    ) -> Result<(), Error> {
        if autoscaler.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), namespace);
        let updated = HorizontalPodAutoscaler { status: Some(status), ..autoscaler.clone() };
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(autoscaler) => {
                written.note(&self.autoscalers, &autoscaler.metadata);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }
}

#[cfg(test)]
mod tests;
