//! Lists the Pods behind each Service with a selector, in `EndpointSlice`s.
//!
//! [`plan()`] decides which endpoints there are, [`arrange`] how they lie in slices.

pub mod arrange;
mod plan;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::task::JoinSet;
use tracing::debug;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, pods};
use crate::client::{Change, Index, Informer, ObjectKey};
use arrange::{Error, Plan, SERVICE};
use plan::plan;
pub use plan::target_port;

struct EndpointSlices {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    slices: Informer<EndpointSlice>,
}

/// Starts the control loop, whose keys are Services.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let services = context.informers.of::<Service>();
    let pods = context.informers.of::<Pod>();
    let slices = context.informers.of::<EndpointSlice>();
    let queue = Queue::new();
    queue.feed_own(&services);
    let known = services.clone();
    queue.feed(&pods, move |change, add| {
        if !matters(change) {
            return;
        }
        for service in known.by(&Index::NAMESPACE, &change.key.namespace) {
            if change.both().any(|pod| selects(&service, pod)) {
                let name = service.metadata.name.clone().unwrap_or_default();
                add(ObjectKey::new(change.key.namespace.clone(), name));
            }
        }
    });
    queue.feed(&slices, |change, add| {
        for slice in change.both().filter(|slice| plan::is_ours(slice)) {
            let labels = slice.metadata.labels.as_ref();
            if let Some(service) = labels.and_then(|labels| labels.get(SERVICE)) {
                add(ObjectKey::new(change.key.namespace.clone(), service.clone()));
            }
        }
    });
    let controller = EndpointSlices {
        client: context.client.clone(),
        services: services.clone(),
        pods: pods.clone(),
        slices: slices.clone(),
    };
    let synced = async move { tokio::join!(services.synced(), pods.synced(), slices.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

/// Whether a change of a Pod can change an endpoint.
pub fn matters(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let address = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    old.metadata.labels != new.metadata.labels
        || old.metadata.deletion_timestamp.is_some() != new.metadata.deletion_timestamp.is_some()
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || address(old) != address(new)
}

/// Whether a Service leads to a Pod.
pub fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = pod.metadata.labels.as_ref();
    selector.filter(|selector| !selector.is_empty()).is_some_and(|selector| {
        selector.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    })
}

#[async_trait]
impl Controller for EndpointSlices {
    const NAME: &'static str = "endpointslice";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(service) = self.services.get(key) else {
            return Ok(Requeue::OnChange); // deleted; the garbage collector does the rest
        };
        let spec = service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.as_ref()).filter(|s| !s.is_empty());
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        let Some(selector) = selector.filter(|_| !external) else {
            return Ok(Requeue::OnChange); // somebody else says where it leads
        };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let pods = self.pods.select(&key.namespace, selector);
        let of_service = [(SERVICE.to_owned(), key.name.clone())].into();
        let mut slices = self.slices.select(&key.namespace, &of_service);
        slices.retain(|slice| plan::is_ours(slice));
        let plan = plan(&service, &pods, &slices);
        if plan != Plan::default() {
            let (create, update, delete) =
                (plan.create.len(), plan.update.len(), plan.delete.len());
            debug!(key = %key, pods = pods.len(), create, update, delete, "endpoints change");
        }
        arrange::write(&self.client, &self.slices, &key.namespace, plan, written).await?;
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests;
