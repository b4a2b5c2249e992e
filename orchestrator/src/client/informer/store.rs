//! The store of one informer, its indexes and its listeners.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::changes::{Change, Changes, Listener};
use crate::api::ObjectKey;

/// A way to find objects by something else than their key.
///
/// The name identifies it: two indexes of one kind with one name are the same.
#[derive(Debug)]
pub struct Index<K> {
    /// Names the index within its kind.
    pub name: &'static str,
    /// The values an object is found by.
    pub values: fn(&K) -> Vec<String>,
}

impl<K: Resource> Index<K> {
    /// By the uid of the owner that controls the object.
    pub const CONTROLLER: Self = Self {
        name: "controller",
        values: |object| {
            let owners = object.meta().owner_references.iter().flatten();
            owners.filter(|o| o.controller == Some(true)).map(|o| o.uid.clone()).collect()
        },
    };

    /// By namespace.
    pub const NAMESPACE: Self = Self {
        name: "namespace",
        values: |object| object.meta().namespace.iter().cloned().collect(),
    };

    /// By namespace, only those that no owner controls.
    pub const ORPHAN: Self = Self {
        name: "orphan",
        values: |object| {
            let meta = object.meta();
            let controlled =
                meta.owner_references.iter().flatten().any(|o| o.controller == Some(true));
            meta.namespace.iter().filter(|_| !controlled).cloned().collect()
        },
    };

    /// By namespace and one label, as [`Informer::select`] looks it up.
    const LABEL: Self = Self {
        name: "label",
        values: |object| {
            let meta = object.meta();
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let labels = meta.labels.iter().flatten();
            labels.map(|(name, value)| label_entry(namespace, name, value)).collect()
        },
    };
}

impl Index<Pod> {
    /// By the node a Pod is bound to.
    pub const NODE: Self = Self {
        name: "node",
        values: |pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect(),
    };
}

/// What is known of one kind; clones share it.
pub struct Informer<K>(Arc<Shared<K>>);

struct Shared<K> {
    store: RwLock<Store<K>>,
    /// Held while a change is told, so that a new listener misses none.
    listeners: Mutex<Vec<Listener<K>>>,
    /// Absent until the first list is complete.
    version: watch::Sender<Option<u64>>,
}

struct Store<K> {
    objects: HashMap<Arc<ObjectKey>, Arc<K>>,
    indexes: Vec<Entries<K>>,
}

struct Entries<K> {
    name: &'static str,
    values: fn(&K) -> Vec<String>,
    keys: HashMap<String, HashSet<Arc<ObjectKey>>>,
}

impl<K: Resource> Informer<K> {
    /// An informer that nothing fills yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            store: RwLock::new(Store { objects: HashMap::new(), indexes: Vec::new() }),
            listeners: Mutex::default(),
            version: watch::Sender::new(None),
        }))
    }

    /// The object with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.store.read().objects.get(key).cloned()
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.store.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects that `index` files under `value`, in no order.
    ///
    /// The first call builds the index; it is kept up from then on.
    pub fn by(&self, index: &Index<K>, value: &str) -> Vec<Arc<K>> {
        {
            let store = self.0.store.read();
            if let Some(entries) = store.index(index.name) {
                return store.filed(entries, value);
            }
        }
        let mut store = self.0.store.write();
        store.build(index);
        store.index(index.name).map(|entries| store.filed(entries, value)).unwrap_or_default()
    }

    /// The objects of a namespace that have all of `labels`, in no order.
    ///
    /// No labels select nothing, as in a Service without a selector.
    pub fn select(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<K>> {
        let Some((name, value)) = labels.iter().next() else { return Vec::new() };
        let mut objects = self.by(&Index::LABEL, &label_entry(namespace, name, value));
        if labels.len() > 1 {
            objects.retain(|object| {
                let has = object.meta().labels.as_ref();
                labels.iter().all(|(name, value)| has.and_then(|l| l.get(name)) == Some(value))
            });
        }
        objects
    }

    /// Calls `listener` for every object there is and for every change after.
    ///
    /// It runs on the informer's own task: it must be quick, must not block
    /// and must not listen to the same informer again.
    pub fn listen(&self, listener: impl Fn(&Change<K>) -> ControlFlow<()> + Send + Sync + 'static) {
        self.add(Box::new(listener));
    }

    /// The keys of all objects there are, and of those that change after.
    pub fn subscribe(&self) -> Changes {
        let (changes, listener) = Changes::new();
        self.add(listener);
        changes
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        self.reached(0).await;
    }

    /// The highest resourceVersion seen; absent until the first list is complete.
    pub fn version(&self) -> Option<u64> {
        *self.0.version.borrow()
    }

    /// Waits until the store has everything up to this resourceVersion and listeners know of it.
    pub async fn reached(&self, version: u64) {
        let mut seen = self.0.version.subscribe();
        let reached = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= version)).await;
        reached.expect("the sender lives in this informer");
    }

    fn add(&self, listener: Listener<K>) {
        let mut listeners = self.0.listeners.lock();
        let objects: Vec<_> = {
            let store = self.0.store.read();
            store.objects.iter().map(|(key, object)| (key.clone(), object.clone())).collect()
        };
        for (key, object) in objects {
            if listener(&Change { key, old: None, new: Some(object) }).is_break() {
                return;
            }
        }
        listeners.push(listener);
    }

    /// Takes in an object that came or changed.
    pub(crate) fn apply(&self, object: K) {
        let change = self.0.store.write().put(object);
        self.tell(&change);
    }

    /// Forgets an object; `last` is what it was like at its end.
    pub(crate) fn remove(&self, last: K) {
        let key = key_of(&last);
        let Some(change) = self.0.store.write().take(&key) else { return };
        self.tell(&change);
    }

    /// Takes in a complete list.
    pub(crate) fn replace(&self, objects: Vec<K>) {
        let kept: HashSet<ObjectKey> = objects.iter().map(key_of).collect();
        let gone: Vec<_> = {
            let store = self.0.store.read();
            store.objects.keys().filter(|key| !kept.contains(&***key)).cloned().collect()
        };
        for key in gone {
            let change = self.0.store.write().take(&key);
            if let Some(change) = change {
                self.tell(&change);
            }
        }
        for object in objects {
            let known = self.get(&key_of(&object));
            if known.is_none_or(|k| k.meta().resource_version != object.meta().resource_version) {
                self.apply(object);
            }
        }
    }

    /// Notes that everything up to `version` has been taken in.
    pub(crate) fn reach(&self, version: &str) {
        // Kubernetes since 1.35 promises that resource versions compare as numbers (KEP-5504);
        // with a server that breaks it the store is synced, but never ahead.
        let version = version.parse::<u64>().unwrap_or(0);
        self.0.version.send_if_modified(|seen| {
            let further = seen.is_none_or(|seen| seen < version);
            if further {
                *seen = Some(version);
            }
            further
        });
    }

    fn tell(&self, change: &Change<K>) {
        self.0.listeners.lock().retain(|listener| listener(change).is_continue());
    }
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Resource> Debug for Informer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer")
            .field("len", &self.len())
            .field("version", &self.version())
            .finish()
    }
}

impl<K: Resource> Store<K> {
    fn put(&mut self, object: K) -> Change<K> {
        let key = key_of(&object);
        let known = self.objects.get_key_value(&key).map(|(key, _)| Arc::clone(key));
        let key = known.unwrap_or_else(|| Arc::new(key));
        let new = Arc::new(object);
        let old = self.objects.insert(Arc::clone(&key), Arc::clone(&new));
        for entries in &mut self.indexes {
            entries.refile(&key, old.as_deref(), Some(&new));
        }
        Change { key, old, new: Some(new) }
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Change<K>> {
        let (key, old) = self.objects.remove_entry(key)?;
        for entries in &mut self.indexes {
            entries.refile(&key, Some(&old), None);
        }
        Some(Change { key, old: Some(old), new: None })
    }

    fn index(&self, name: &'static str) -> Option<&Entries<K>> {
        self.indexes.iter().find(|entries| entries.name == name)
    }

    fn build(&mut self, index: &Index<K>) {
        if self.index(index.name).is_some() {
            return;
        }
        let mut entries = Entries { name: index.name, values: index.values, keys: HashMap::new() };
        for (key, object) in &self.objects {
            entries.refile(key, None, Some(object));
        }
        self.indexes.push(entries);
    }

    fn filed(&self, entries: &Entries<K>, value: &str) -> Vec<Arc<K>> {
        let keys = entries.keys.get(value).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }
}

impl<K> Entries<K> {
    fn refile(&mut self, key: &Arc<ObjectKey>, old: Option<&K>, new: Option<&K>) {
        let before = old.map(self.values).unwrap_or_default();
        let after = new.map(self.values).unwrap_or_default();
        if before == after {
            return;
        }
        for value in before {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
        for value in after {
            self.keys.entry(value).or_default().insert(Arc::clone(key));
        }
    }
}

fn key_of<K: Resource>(object: &K) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn label_entry(namespace: &str, name: &str, value: &str) -> String {
    // Neither part can contain a slash or an equals sign where it would confuse.
    format!("{namespace}/{name}={value}")
}
