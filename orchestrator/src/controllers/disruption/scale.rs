//! How many Pods the controllers of some Pods ask for.
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

use super::super::Context;
use super::super::owner::controller_of;
use crate::client::{Informer, ObjectKey, status_code};

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Pod's controller has no scale.
    #[error("found no controllers for pod {0:?}")]
    NoController(String),
    /// The scale could not be read.
    #[error("cannot read the scale of {kind} {name}")]
    Read {
        /// The controller's kind.
        kind: String,
        /// The controller.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What the controllers of some Pods ask for together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub replicas: i32,
    /// Pods that no controller made.
    pub unmanaged: Vec<String>,
}

/// Looks up scales: those of Deployments and ReplicaSets are at hand, others are asked for.
#[derive(Clone)]
pub(super) struct Scales {
    client: Client,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
}

impl Scales {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            sets: context.informers.of::<ReplicaSet>(),
            deployments: context.informers.of::<Deployment>(),
        }
    }

    pub(super) async fn synced(&self) {
        tokio::join!(self.sets.synced(), self.deployments.synced());
    }

    /// The replicas of every controller of `pods`, each counted once.
    pub(super) async fn sum(&self, pods: &[Arc<Pod>]) -> Result<Sum, Error> {
        let mut sum = Sum::default();
        let mut by_owner: HashMap<&str, (&OwnerReference, &Pod)> = HashMap::new();
        for pod in pods {
            match controller_of(&pod.metadata) {
                Some(owner) => {
                    by_owner.entry(&owner.uid).or_insert((owner, pod));
                }
                None => sum.unmanaged.push(pod.metadata.name.clone().unwrap_or_default()),
            }
        }
        let mut by_controller = HashMap::new();
        for (owner, pod) in by_owner.into_values() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = self.scale(namespace, owner).await?;
            let name = || pod.metadata.name.clone().unwrap_or_default();
            let (uid, replicas) = found.ok_or_else(|| Error::NoController(name()))?;
            by_controller.insert(uid, replicas);
        }
        sum.replicas = by_controller.values().fold(0, |sum: i32, more| sum.saturating_add(*more));
        Ok(sum)
    }

    /// The uid of the controller that decides, and its replicas.
    async fn scale(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<(String, i32)>, Error> {
        if owner.kind != "ReplicaSet" || !owner.api_version.starts_with("apps/") {
            return self.ask(namespace, owner).await;
        }
        let key = ObjectKey::new(namespace, owner.name.clone());
        let Some(set) = self.sets.get(&key) else { return Ok(None) };
        if set.metadata.uid.as_ref() != Some(&owner.uid) {
            return Ok(None);
        }
        let parent = controller_of(&set.metadata);
        let Some(parent) = parent.filter(|parent| parent.kind == "Deployment") else {
            let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
            return Ok(Some((owner.uid.clone(), replicas.unwrap_or(1))));
        };
        let key = ObjectKey::new(namespace, parent.name.clone());
        let deployment = self.deployments.get(&key);
        let deployment = deployment.filter(|d| d.metadata.uid.as_ref() == Some(&parent.uid));
        Ok(deployment.map(|deployment| {
            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            (parent.uid.clone(), replicas.unwrap_or(1))
        }))
    }

    /// The scale subresource, whatever the kind.
    async fn ask(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<(String, i32)>, Error> {
        let (group, version) =
            owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let scale: Scale = match api.get_scale(&owner.name).await {
            Ok(scale) => scale,
            Err(error) if status_code(&error) == Some(404) => return Ok(None),
            Err(source) => {
                let (kind, name) = (owner.kind.clone(), owner.name.clone());
                return Err(Error::Read { kind, name, source: Box::new(source) });
            }
        };
        if scale.metadata.uid.as_ref() != Some(&owner.uid) {
            return Ok(None);
        }
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        Ok(Some((owner.uid.clone(), replicas)))
    }
}
