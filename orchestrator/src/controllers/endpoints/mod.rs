//! Lists the Pods behind each Service with a selector in an `Endpoints` object.
//!
//! Nothing in Podium reads it; clients that are older than `EndpointSlice` do.
//! [`plan`] says what it should say; this file writes it.

mod plan;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tracing::debug;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, endpointslice};
use crate::client::{
    EventRecorder, Index, Informer, ObjectKey, is_namespace_terminating, refusal, status_code,
};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object could not be written.
    #[error("cannot write endpoints")]
    Write(#[source] Box<kube::Error>),
    /// The object could not be deleted.
    #[error("cannot delete endpoints")]
    Delete(#[source] Box<kube::Error>),
}

struct EndpointsOfServices {
    client: Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    events: EventRecorder,
}

/// Starts the control loop, whose keys are Services.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let services = context.informers.of::<Service>();
    let pods = context.informers.of::<Pod>();
    let endpoints = context.informers.of::<Endpoints>();
    let queue = Queue::new();
    queue.feed_own(&services);
    queue.feed_own(&endpoints);
    let known = services.clone();
    queue.feed(&pods, move |change, add| {
        if !endpointslice::matters(change) {
            return;
        }
        for service in known.by(&Index::NAMESPACE, &change.key.namespace) {
            if change.both().any(|pod| endpointslice::selects(&service, pod)) {
                let name = service.metadata.name.clone().unwrap_or_default();
                add(ObjectKey::new(change.key.namespace.clone(), name));
            }
        }
    });
    let controller = EndpointsOfServices {
        client: context.client.clone(),
        services: services.clone(),
        pods: pods.clone(),
        endpoints: endpoints.clone(),
        events: context.recorder("endpoint-controller", tasks),
    };
    let synced = async move { tokio::join!(services.synced(), pods.synced(), endpoints.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for EndpointsOfServices {
    const NAME: &'static str = "endpoints";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let before = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            return self.without_service(key, before.as_deref()).await;
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
        let wanted = plan::wanted(&service, &pods, before.as_deref());
        if before.as_deref() != Some(&wanted) {
            debug!(key = %key, pods = pods.len(), "endpoints change");
            self.write(&service, wanted, before.is_some(), written).await?;
        }
        Ok(Requeue::OnChange)
    }
}

impl EndpointsOfServices {
    /// What is left of a Service that is gone goes, too; what never had one stays.
    async fn without_service(
        &self,
        key: &ObjectKey,
        left: Option<&Endpoints>,
    ) -> Result<Requeue, Error> {
        if !left.is_some_and(plan::is_ours) {
            return Ok(Requeue::OnChange);
        }
        let api = Api::<Endpoints>::namespaced(self.client.clone(), &key.namespace);
        match api.delete(&key.name, &DeleteParams::default()).await {
            Ok(_) => Ok(Requeue::OnChange),
            Err(error) if status_code(&error) == Some(404) => Ok(Requeue::OnChange),
            Err(error) => Err(Error::Delete(Box::new(error))),
        }
    }

    async fn write(
        &self,
        service: &Service,
        wanted: Endpoints,
        exists: bool,
        written: &Written,
    ) -> Result<(), Error> {
        let namespace = wanted.metadata.namespace.as_deref().unwrap_or_default();
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Endpoints>::namespaced(self.client.clone(), namespace);
        let answer = if exists {
            api.replace(name, &PostParams::default(), &wanted).await
        } else {
            api.create(&PostParams::default(), &wanted).await
        };
        match answer {
            Ok(endpoints) => {
                written.note(&self.endpoints, &endpoints.metadata);
                Ok(())
            }
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let (reason, word) = if exists {
                    ("FailedToUpdateEndpoint", "update")
                } else {
                    ("FailedToCreateEndpoint", "create")
                };
                if !matches!(status_code(&error), Some(404 | 409)) {
                    let (about, why) = (service.object_ref(&()), refusal(&error));
                    let told =
                        format!("Failed to {word} endpoint for service {namespace}/{name}: {why}");
                    self.events.warning(about, reason, told);
                }
                Err(Error::Write(Box::new(error)))
            }
        }
    }
}
