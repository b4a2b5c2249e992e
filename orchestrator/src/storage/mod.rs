//! Objects over the store: the value envelope, selectors, pages and watches.
//!
//! Keys are `/registry/<group or core>/<resource>/[<namespace>/]<name>`. The
//! server moves objects as bytes; what selectors need of an object is parsed
//! once per version and kept beside it.
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{DecodeError, GroupResource, Object, ObjectKey, Resource, SelectorError};
use crate::store::{self, Precondition, Revision, Store};

mod envelope;
mod list;
mod objects;
mod stored;
mod watch;

pub use list::{ListPage, ListQuery, ResourceVersionMatch};
pub use objects::Objects;
pub use stored::Stored;
pub use watch::{WatchEvent, WatchQuery};

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
    /// An object cannot be encoded.
    #[error("cannot encode the object")]
    Encode(#[source] DecodeError),
    /// The backend failed; whether a write is stored is not known.
    #[error("the store failed")]
    Backend(#[source] store::Error),
}

impl From<SelectorError> for StorageError {
    fn from(error: SelectorError) -> Self {
        Self::InvalidQuery(error.to_string())
    }
}

/// The objects of a cluster; clones share the store.
#[derive(Clone)]
pub struct Storage(Arc<dyn Store>);

impl Storage {
    /// The objects in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.0.revision().0
    }

    /// Reads one object.
    pub async fn get(&self, resource: &Resource, key: &ObjectKey) -> Result<Stored, StorageError> {
        match self.0.get(&path(&resource.stored_as, key)).await.map_err(StorageError::Backend)? {
            Some(entry) => Stored::of(entry, resource),
            None => Err(StorageError::NotFound(key.clone())),
        }
    }

    /// Writes a new object.
    pub async fn create(
        &self,
        resource: &Resource,
        object: &Object,
    ) -> Result<Stored, StorageError> {
        let key = object.key();
        let bytes = encode(resource, object)?;
        let path = path(&resource.stored_as, &key);
        let written = self.0.put(&path, bytes, Precondition::Absent, resource.expires_after).await;
        match written {
            Ok(entry) => Stored::of(entry, resource),
            Err(store::Error::Conflict { .. }) => Err(StorageError::AlreadyExists(key)),
            Err(error) => Err(StorageError::Backend(error)),
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
        let bytes = encode(resource, object)?;
        let path = path(&resource.stored_as, key);
        if let Some(present) = self.0.get(&path).await.map_err(StorageError::Backend)?
            && present.revision().0 == at
            && *present.value() == bytes
        {
            return Stored::of(present, resource);
        }
        let only_if = Precondition::Unchanged(Revision(at));
        match self.0.put(&path, bytes, only_if, resource.expires_after).await {
            Ok(entry) => Stored::of(entry, resource),
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
        let path = path(&resource.stored_as, key);
        let event =
            self.0.delete(&path, Revision(at)).await.map_err(|error| refused(error, key))?;
        let last = event.previous.ok_or_else(|| StorageError::NotFound(key.clone()))?;
        Ok(Stored::of(last, resource)?.at(event.revision.0))
    }
}

fn refused(error: store::Error, key: &ObjectKey) -> StorageError {
    match error {
        store::Error::Conflict { actual: None, .. } => StorageError::NotFound(key.clone()),
        store::Error::Conflict { .. } => StorageError::Conflict(key.clone()),
        other => StorageError::Backend(other),
    }
}

fn encode(resource: &Resource, object: &Object) -> Result<Bytes, StorageError> {
    if shares(resource) {
        let stored = resource.behaviour.to_stored(object.clone()).map_err(StorageError::Encode)?;
        return envelope::seal(&stored).map_err(StorageError::Encode);
    }
    envelope::seal(object).map_err(StorageError::Encode)
}

/// Whether the resource serves the objects of another in its own form.
fn shares(resource: &Resource) -> bool {
    resource.stored_as.group != resource.gvk.group || resource.stored_as.resource != resource.plural
}

/// Where the objects of a resource begin.
fn prefix(resource: &GroupResource, namespace: Option<&str>) -> String {
    let group = if resource.group.is_empty() { "core" } else { &resource.group };
    match namespace {
        Some(namespace) => format!("/registry/{group}/{}/{namespace}/", resource.resource),
        None => format!("/registry/{group}/{}/", resource.resource),
    }
}

fn path(resource: &GroupResource, key: &ObjectKey) -> String {
    let namespace = (!key.namespace.is_empty()).then_some(&*key.namespace);
    prefix(resource, namespace) + &key.name
}

#[cfg(test)]
mod tests;
