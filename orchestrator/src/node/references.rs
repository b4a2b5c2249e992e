//! ConfigMaps and Secrets that Pods refer to.
//!
//! A Pod reads what it refers to when a container starts, and again when it
//! changes; whoever waits for an object is woken when it appears.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;

use crate::client::{Informer, Informers, ObjectKey};

/// What a Pod can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// The objects that one Pod refers to, as far as they exist, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

type Waiting = Mutex<HashMap<(Kind, ObjectKey), Vec<Weak<Notify>>>>;

/// Reads what Pods refer to and wakes them when it changes.
pub(super) struct References {
    client: Client,
    config_maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    waiting: Arc<Waiting>,
}

impl References {
    /// Reads through `informers`, and through `client` what they have not seen yet.
    pub fn new(client: Client, informers: &Informers) -> Self {
        let waiting: Arc<Waiting> = Arc::default();
        let (config_maps, secrets) = (informers.of::<ConfigMap>(), informers.of::<Secret>());
        config_maps.listen({
            let waiting = Arc::downgrade(&waiting);
            move |change| wake(&waiting, Kind::ConfigMap, &change.key)
        });
        secrets.listen({
            let waiting = Arc::downgrade(&waiting);
            move |change| wake(&waiting, Kind::Secret, &change.key)
        });
        Self { client, config_maps, secrets, waiting }
    }

    /// Wakes `pod` from now on when one of `names` changes.
    pub fn subscribe(&self, namespace: &str, names: &BTreeSet<(Kind, String)>, pod: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        for (kind, name) in names {
            let list = waiting.entry((*kind, ObjectKey::new(namespace, name))).or_default();
            list.retain(|known| known.strong_count() > 0);
            if !list.iter().any(|known| known.as_ptr() == Arc::as_ptr(pod)) {
                list.push(Arc::downgrade(pod));
            }
        }
    }

    /// Forgets the subscriptions of `pod`.
    pub fn unsubscribe(
        &self,
        namespace: &str,
        names: &BTreeSet<(Kind, String)>,
        pod: &Arc<Notify>,
    ) {
        let mut waiting = self.waiting.lock();
        for (kind, name) in names {
            let key = (*kind, ObjectKey::new(namespace, name));
            let Some(list) = waiting.get_mut(&key) else { continue };
            list.retain(|known| known.as_ptr() != Arc::as_ptr(pod));
            if list.is_empty() {
                waiting.remove(&key);
            }
        }
    }

    /// Those of `names` that exist.
    pub async fn read(
        &self,
        namespace: &str,
        names: &BTreeSet<(Kind, String)>,
    ) -> Result<Objects, kube::Error> {
        let mut objects = Objects::default();
        for (kind, name) in names {
            let key = ObjectKey::new(namespace, name);
            match kind {
                Kind::ConfigMap => {
                    if let Some(found) = self.one(&self.config_maps, &key).await? {
                        objects.config_maps.insert(name.clone(), found);
                    }
                }
                Kind::Secret => {
                    if let Some(found) = self.one(&self.secrets, &key).await? {
                        objects.secrets.insert(name.clone(), found);
                    }
                }
            }
        }
        Ok(objects)
    }

    /// An informer may be behind: what it has not seen is asked for once.
    async fn one<K>(
        &self,
        informer: &Informer<K>,
        key: &ObjectKey,
    ) -> Result<Option<Arc<K>>, kube::Error>
    where
        K: crate::client::informer::Kind<
                DynamicType = (),
                Scope = k8s_openapi::NamespaceResourceScope,
            >,
    {
        if let Some(known) = informer.get(key) {
            return Ok(Some(known));
        }
        debug!(namespace = key.namespace, name = key.name, "object not known yet");
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        Ok(api.get_opt(&key.name).await?.map(Arc::new))
    }
}

/// Every ConfigMap and Secret that a Pod names.
pub(super) fn of(pod: &Pod) -> BTreeSet<(Kind, String)> {
    let mut names = BTreeSet::new();
    let Some(spec) = &pod.spec else { return names };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    for container in containers {
        for source in container.env_from.iter().flatten() {
            names.extend(source.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
            names.extend(source.secret_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
        }
        for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
            names.extend(from.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
            names.extend(from.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
        }
    }
    spec.volumes.iter().flatten().for_each(|volume| of_volume(volume, &mut names));
    let credentials = spec.image_pull_secrets.iter().flatten();
    names.extend(credentials.map(|secret| (Kind::Secret, secret.name.clone())));
    names
}

fn of_volume(volume: &Volume, names: &mut BTreeSet<(Kind, String)>) {
    names.extend(volume.config_map.iter().map(|source| (Kind::ConfigMap, source.name.clone())));
    let secret = volume.secret.as_ref().and_then(|source| source.secret_name.clone());
    names.extend(secret.map(|name| (Kind::Secret, name)));
    let projected =
        volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for source in projected {
        names.extend(source.config_map.iter().map(|source| (Kind::ConfigMap, source.name.clone())));
        names.extend(source.secret.iter().map(|source| (Kind::Secret, source.name.clone())));
    }
}

fn wake(waiting: &Weak<Waiting>, kind: Kind, key: &ObjectKey) -> ControlFlow<()> {
    let Some(waiting) = waiting.upgrade() else { return ControlFlow::Break(()) };
    let waiting = waiting.lock();
    let pods = waiting.get(&(kind, key.clone())).into_iter().flatten();
    pods.filter_map(Weak::upgrade).for_each(|pod| pod.notify_one());
    ControlFlow::Continue(())
}
