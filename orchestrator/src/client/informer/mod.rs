//! Shared informers: one list-watch and one copy of each object per kind and process.
//!
//! Whoever looks at a kind reads the same store, so that an event is decoded
//! once and an object held once, however many loops are interested in it.

mod changes;
mod reflector;
mod store;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use changes::{Change, Changes};
pub use store::{Index, Informer};

use reflector::{Full, MetadataOnly, Source};

/// An object of any kind, without its body.
pub type Metadata = PartialObjectMeta<DynamicObject>;

/// A kind that an informer can hold.
pub trait Kind: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Kind for K {}

/// The informers of one process; clones share them.
///
/// An informer starts with the first call that asks for it and runs until
/// [`Informers::shutdown`] or until the last clone is dropped.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    typed: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
    metadata: Mutex<HashMap<ApiResource, Informer<Metadata>>>,
    fields: Mutex<HashMap<TypeId, String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Informers {
    /// Informers that read through `client`; none is started yet.
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner {
            client,
            typed: Mutex::default(),
            metadata: Mutex::default(),
            fields: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Restricts the informer of `K` to objects that `fields` selects.
    ///
    /// Has to be said before the first [`Informers::of`] for `K`: a node agent
    /// on a machine of its own sees only what is bound to it.
    pub fn select<K: Kind>(&self, fields: impl Into<String>) {
        self.0.fields.lock().insert(TypeId::of::<K>(), fields.into());
    }

    /// The informer of `K`, in all namespaces.
    pub fn of<K: Kind<DynamicType = ()>>(&self) -> Informer<K> {
        let mut typed = self.0.typed.lock();
        let running =
            typed.get(&TypeId::of::<K>()).and_then(|any| any.downcast_ref::<Informer<K>>());
        if let Some(informer) = running {
            return informer.clone();
        }
        let fields = self.0.fields.lock().get(&TypeId::of::<K>()).cloned();
        let informer =
            self.start(Full(Api::<K>::all(self.0.client.clone())), K::kind(&()).into(), fields);
        typed.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        informer
    }

    /// The informer of the metadata of a kind that is known by name only.
    pub fn metadata(&self, resource: &ApiResource) -> Informer<Metadata> {
        let mut metadata = self.0.metadata.lock();
        if let Some(informer) = metadata.get(resource) {
            return informer.clone();
        }
        let api = Api::<DynamicObject>::all_with(self.0.client.clone(), resource);
        let informer = self.start(MetadataOnly(api), resource.kind.clone(), None);
        metadata.insert(resource.clone(), informer.clone());
        informer
    }

    /// Stops all informers and waits until they have ended; their stores stay readable.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn start<S: Source>(
        &self,
        source: S,
        kind: String,
        fields: Option<String>,
    ) -> Informer<S::Object> {
        let informer = Informer::new();
        let reflecting = reflector::run(source, kind, fields, informer.clone());
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move { stop.run_until_cancelled(reflecting).await });
        informer
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Debug for Informers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informers").field("running", &self.0.tasks.len()).finish()
    }
}

#[cfg(test)]
mod tests;
