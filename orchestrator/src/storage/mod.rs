//! Objects over the store: the value envelope, selectors, pages and watches.
//!
//! Keys are `/registry/<group or core>/<resource>/[<namespace>/]<name>`. The
//! server moves objects as bytes; what selectors need of an object is parsed
//! once per version and kept beside it.
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{DecodeError, GroupResource, Object, ObjectKey, Resource, SelectorError};
use crate::metrics::store::{Operation, observe};
use crate::store::{self, Entry, Precondition, Revision, Store};

mod envelope;
mod lens;
mod list;
mod metadata;
mod objects;
mod stored;
mod watch;

pub use list::{ListPage, ListQuery, ResourceVersionMatch};
pub use objects::Objects;
pub use stored::{Facts, Stored};
pub use watch::{WatchEvent, WatchQuery};

/// As many levels as an object may nest, which its parser reads again (serde_json's limit of 128).
const LEVELS_MAX: usize = 127;

/// As many bytes as an object may have: twice a body, as who owns its fields stands in it too.
pub const OBJECT_MAX: usize = 6 << 20;

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("{0} is not there")]
    NotFound(ObjectKey),
    /// The name is taken.
    #[error("{0} is there already")]
    AlreadyExists(ObjectKey),
    /// Somebody else wrote first.
    #[error("{0} has been modified")]
    Conflict(ObjectKey),
    /// The history asked for is gone.
    #[error("{0}")]
    Expired(String),
    /// The revision asked for is not reached.
    #[error("Too large resource version: {wanted}, current: {current}")]
    Future {
        /// The revision asked for.
        wanted: u64,
        /// The present one.
        current: u64,
    },
    /// A query makes no sense; the text is for the client.
    #[error("{0}")]
    InvalidQuery(String),
    /// What is stored is not an object: its key and why.
    #[error("the stored object {key} is corrupt: {why}")]
    Corrupt {
        /// Its key in the store.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// An object has more levels than are read again.
    #[error("the object nests deeper than {LEVELS_MAX} levels; make it flatter")]
    TooDeep,
    /// An object has more bytes than are stored.
    #[error("the object is larger than {OBJECT_MAX} bytes; make it smaller")]
    TooLarge,
    /// An object cannot be encoded.
    #[error("cannot encode the object")]
    Encode(#[source] DecodeError),
    /// There is no room for a write, which is not made; the text says where and what to do.
    #[error("{0}")]
    OutOfSpace(String),
    /// The backend failed; a write is not made.
    #[error("the store failed")]
    Backend(#[source] store::Error),
}

impl From<store::Error> for StorageError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Full(..) => Self::OutOfSpace(error.to_string()),
            other => Self::Backend(other),
        }
    }
}

impl From<SelectorError> for StorageError {
    fn from(error: SelectorError) -> Self {
        Self::InvalidQuery(error.to_string())
    }
}

/// The objects of a cluster; clones share the store.
///
/// Every revision that goes in or out is a resourceVersion: a base and the
/// store's own revision, so that clients never see one go backwards when the
/// store is replaced by one that counts anew.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn Store>,
    base: u64,
}

impl Storage {
    /// The objects in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::with_base(store, 0)
    }

    /// The objects in a `store` that took over at the resourceVersion `base`.
    pub fn with_base(store: Arc<dyn Store>, base: u64) -> Self {
        Self { store, base }
    }

    /// The resourceVersion of the last write.
    pub fn revision(&self) -> u64 {
        self.base + self.store.revision().0
    }

    /// Why the last write could not be made, if it could not.
    pub fn trouble(&self) -> Option<StorageError> {
        self.store.trouble().map(StorageError::from)
    }

    /// Reads one object.
    pub async fn get(&self, resource: &Resource, key: &ObjectKey) -> Result<Stored, StorageError> {
        let missing = || StorageError::NotFound(key.clone());
        let path = path(resource, key).ok_or_else(missing)?;
        let entry = timed(Operation::Get, self.store.get(&path)).await;
        let entry = entry.map_err(StorageError::from)?;
        entry.map(|entry| self.stored(entry, resource)).ok_or_else(missing)
    }

    /// Writes a new object.
    pub async fn create(
        &self,
        resource: &Resource,
        object: &Object,
    ) -> Result<Stored, StorageError> {
        let key = object.key();
        let path = path(resource, &key).ok_or_else(|| {
            StorageError::InvalidQuery(format!("{} cannot be called {key:?}", resource.plural))
        })?;
        let bytes = encode(resource, object)?;
        if bytes.len() > OBJECT_MAX {
            return Err(StorageError::TooLarge);
        }
        let expires = resource.expires_after;
        let written = self.store.put(&path, bytes, Precondition::Absent, expires);
        match timed(Operation::Create, written).await {
            Ok(entry) => Ok(self.stored(entry, resource)),
            Err(store::Error::Conflict { .. }) => Err(StorageError::AlreadyExists(key)),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces an object that was last written at revision `at`. Writes nothing if nothing changes.
    pub async fn update(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        at: u64,
        object: &Object,
    ) -> Result<Stored, StorageError> {
        let path = path(resource, key).ok_or_else(|| StorageError::NotFound(key.clone()))?;
        let bytes = encode(resource, object)?;
        let at = self.at(at);
        let present = self.store.get(&path).await.map_err(StorageError::from)?;
        // What is larger already can still be marked and made smaller.
        let size = present.as_ref().map_or(0, |present| present.value().len());
        if bytes.len() > OBJECT_MAX.max(size) {
            return Err(StorageError::TooLarge);
        }
        if let Some(present) = present
            && present.revision() == at
            && *present.value() == bytes
        {
            return Ok(self.stored(present, resource));
        }
        let only_if = Precondition::Unchanged(at);
        let written = self.store.put(&path, bytes, only_if, resource.expires_after);
        match timed(Operation::Update, written).await {
            Ok(entry) => Ok(self.stored(entry, resource)),
            Err(error) => Err(refused(error, key)),
        }
    }

    /// Removes an object that was last written at revision `at`; answers its last state, with the revision of the deletion.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        at: u64,
    ) -> Result<Stored, StorageError> {
        let missing = || StorageError::NotFound(key.clone());
        let path = path(resource, key).ok_or_else(missing)?;
        let event = timed(Operation::Delete, self.store.delete(&path, self.at(at))).await;
        let event = event.map_err(|error| refused(error, key))?;
        let last = event.previous.ok_or_else(missing)?;
        Ok(self.stored(last, resource).at(self.base + event.revision.0))
    }

    fn stored(&self, entry: Entry, resource: &Resource) -> Stored {
        Stored::of(entry, resource, self.base)
    }

    /// The store's revision of a resourceVersion; one from before the base is gone, as 0 is.
    fn at(&self, resource_version: u64) -> Revision {
        Revision(resource_version.saturating_sub(self.base))
    }

    fn refused_query(&self, error: store::Error) -> StorageError {
        match error {
            store::Error::Future { wanted, current } => {
                let (wanted, current) = (self.base + wanted.0, self.base + current.0);
                StorageError::Future { wanted, current }
            }
            other => other.into(),
        }
    }
}

/// Counts how long the store takes.
async fn timed<T>(operation: Operation, answer: impl Future<Output = T>) -> T {
    let began = tokio::time::Instant::now();
    let answer = answer.await;
    observe(operation, began.elapsed());
    answer
}

fn refused(error: store::Error, key: &ObjectKey) -> StorageError {
    match error {
        store::Error::Conflict { actual: None, .. } => StorageError::NotFound(key.clone()),
        store::Error::Conflict { .. } => StorageError::Conflict(key.clone()),
        other => other.into(),
    }
}

fn encode(resource: &Resource, object: &Object) -> Result<Bytes, StorageError> {
    let sealed = if resource.converted {
        let stored = resource.behaviour.to_stored(object.clone()).map_err(StorageError::Encode)?;
        envelope::seal(&stored)
    } else {
        envelope::seal(object)
    };
    let sealed = sealed.map_err(StorageError::Encode)?;
    if envelope::levels(&sealed) > LEVELS_MAX {
        return Err(StorageError::TooDeep);
    }
    Ok(sealed)
}

/// Where the objects of a resource begin.
fn prefix(resource: &GroupResource, namespace: Option<&str>) -> String {
    let group = if resource.group.is_empty() { "core" } else { &resource.group };
    match namespace {
        Some(namespace) => format!("/registry/{group}/{}/{namespace}/", resource.resource),
        None => format!("/registry/{group}/{}/", resource.resource),
    }
}

/// Where an object is; none if nothing can be called so, as its key would be another's.
fn path(resource: &Resource, key: &ObjectKey) -> Option<String> {
    let ObjectKey { namespace, name } = key;
    let fits = resource.namespaced() != namespace.is_empty() && !name.is_empty();
    if !fits || namespace.contains('/') || name.contains('/') {
        return None;
    }
    let namespace = resource.namespaced().then_some(namespace.as_str());
    Some(prefix(&resource.stored_as, namespace) + name)
}

#[cfg(test)]
mod tests;
