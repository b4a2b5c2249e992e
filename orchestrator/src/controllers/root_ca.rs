//! Every namespace has a ConfigMap `kube-root-ca.crt`, by which its Pods trust the API server.
use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PostParams;
use kube::core::{ApiResource, ObjectMeta};
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, namespace};
use crate::client::{Informer, Metadata, ObjectKey, status_code};

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ConfigMap could not be read.
    #[error("cannot read the ConfigMap {NAME}")]
    Read(#[source] Box<kube::Error>),
    /// The ConfigMap could not be written.
    #[error("cannot write the ConfigMap {NAME}")]
    Write(#[source] Box<kube::Error>),
}

struct RootCertificates {
    client: Client,
    namespaces: Informer<Namespace>,
    maps: Informer<Metadata>,
    certificate: String,
}

/// Starts the control loop, whose keys are namespaces.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let namespaces = context.informers.of::<Namespace>();
    // Without their data: what the maps of others hold is of no interest.
    let maps = context.informers.metadata(&ApiResource::erase::<ConfigMap>(&()));
    let queue = Queue::new();
    queue.feed_own(&namespaces);
    queue.feed(&maps, |change, add| {
        if change.key.name == NAME {
            add(ObjectKey::cluster(change.key.namespace.clone()));
        }
    });
    let controller = RootCertificates {
        client: context.client.clone(),
        namespaces: namespaces.clone(),
        maps: maps.clone(),
        certificate: context.config.root_ca.clone(),
    };
    let synced = async move { tokio::join!(namespaces.synced(), maps.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

/// The map to write, unless the one that is there is right.
fn plan(there: Option<ConfigMap>, certificate: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(FIELD.to_owned(), certificate.to_owned())]);
    let mut map = match there {
        Some(map) if map.data.as_ref() == Some(&data) => return None,
        Some(map) => map,
        None => {
            let why = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
            let annotation = ("kubernetes.io/description".to_owned(), why.to_owned());
            ConfigMap {
                metadata: ObjectMeta {
                    name: Some(NAME.into()),
                    annotations: Some(BTreeMap::from([annotation])),
                    ..ObjectMeta::default()
                },
                ..ConfigMap::default()
            }
        }
    };
    map.data = Some(data);
    Some(map)
}

#[async_trait]
impl Controller for RootCertificates {
    const NAME: &'static str = "root-ca-certificate-publisher";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        if self.namespaces.get(key).is_none_or(|namespace| namespace::is_terminating(&namespace)) {
            return Ok(Requeue::OnChange);
        }
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &key.name);
        let there = api.get_opt(NAME).await.map_err(|error| Error::Read(Box::new(error)))?;
        let exists = there.is_some();
        let Some(map) = plan(there, &self.certificate) else { return Ok(Requeue::OnChange) };
        let result = if exists {
            api.replace(NAME, &PostParams::default(), &map).await
        } else {
            api.create(&PostParams::default(), &map).await
        };
        match result {
            Ok(map) => written.note(&self.maps, &map.metadata),
            // The namespace went meanwhile.
            Err(error) if status_code(&error) == Some(404) => {}
            Err(error) => return Err(Error::Write(Box::new(error))),
        }
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_written_when_it_is_missing_or_was_changed() {
        let map = plan(None, "PEM").unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("kube-root-ca.crt"));
        assert_eq!(map.data.as_ref().unwrap()["ca.crt"], "PEM");
        assert_eq!(plan(Some(map.clone()), "PEM"), None);
        assert_eq!(plan(Some(map), "OTHER").unwrap().data.unwrap()["ca.crt"], "OTHER");
    }
}
