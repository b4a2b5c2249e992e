//! One stored version of an object.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{StorageError, envelope, shares};
use crate::api::{Behaviour, FieldSelector, LabelSelector, Object, ObjectKey, Resource};
use crate::store::Entry;

/// A stored version of an object; a clone copies pointers.
#[derive(Clone)]
pub struct Stored {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The write that made this version.
    pub revision: u64,
    entry: Entry,
    /// Set where the served form differs from the stored one.
    served: Option<Arc<dyn Behaviour>>,
}

/// What selectors look at, parsed once per version.
pub(super) struct Selectable {
    labels: BTreeMap<String, String>,
    /// In the order of [`Behaviour::selectable_fields`].
    fields: Vec<String>,
}

impl Stored {
    pub(super) fn of(entry: Entry, resource: &Resource) -> Result<Self, StorageError> {
        let mut parts = entry.key().rsplit('/');
        let name = parts.next().unwrap_or_default().to_owned();
        let namespace = if resource.namespaced() { parts.next().unwrap_or_default() } else { "" };
        let key = ObjectKey::new(namespace, name);
        let served = shares(resource).then(|| resource.behaviour.clone());
        Ok(Self { key, revision: entry.revision().0, entry, served })
    }

    /// This version as of another revision, such as that of its deletion.
    pub(super) fn at(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// The whole object as JSON, with its resourceVersion.
    pub fn json(&self) -> Result<Bytes, StorageError> {
        let opened = envelope::open(self.entry.value()).map_err(|why| self.corrupt(why))?;
        let json = opened.join(self.revision);
        let Some(behaviour) = &self.served else { return Ok(json) };
        let object = Object::from_slice(&json).and_then(|object| behaviour.to_served(object));
        let object = object.map_err(|error| self.corrupt(error.to_string()))?;
        serde_json::to_vec(&object)
            .map(Bytes::from)
            .map_err(|error| self.corrupt(error.to_string()))
    }

    /// The object, with its resourceVersion.
    pub fn object(&self) -> Result<Object, StorageError> {
        let opened = envelope::open(self.entry.value()).map_err(|why| self.corrupt(why))?;
        let object = Object::from_slice(&opened.join(self.revision));
        let object = match &self.served {
            Some(behaviour) => object.and_then(|object| behaviour.to_served(object)),
            None => object,
        };
        object.map_err(|error| self.corrupt(format!("{error}: {}", error.source)))
    }

    /// Its resourceVersion.
    pub fn resource_version(&self) -> String {
        self.revision.to_string()
    }

    /// Whether both selectors select it.
    pub(super) fn matches(
        &self,
        resource: &Resource,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> Result<bool, StorageError> {
        if labels.is_empty() && fields.is_empty() {
            return Ok(true);
        }
        let selectable = self.entry.derived(|| self.selectable(resource));
        let selectable = match &*selectable {
            Ok(selectable) => selectable,
            Err(why) => return Err(self.corrupt(why.clone())),
        };
        if !labels.matches(|key| selectable.labels.get(key).map(String::as_str)) {
            return Ok(false);
        }
        let names = resource.behaviour.selectable_fields();
        Ok(fields.matches(|path| match path {
            "metadata.name" => &self.key.name,
            "metadata.namespace" => &self.key.namespace,
            path => {
                let place = names.iter().position(|name| *name == path);
                place.and_then(|place| selectable.fields.get(place)).map_or("", String::as_str)
            }
        }))
    }

    fn selectable(&self, resource: &Resource) -> Result<Selectable, String> {
        let object = self.object().map_err(|error| error.to_string())?;
        let fields = resource.behaviour.field_values(&object).map_err(|error| error.to_string())?;
        Ok(Selectable { labels: object.metadata.labels.unwrap_or_default(), fields })
    }

    fn corrupt(&self, why: String) -> StorageError {
        StorageError::Corrupt { key: self.entry.key().to_owned(), why }
    }
}

/// Refuses a selector that names a field the resource does not have.
pub(super) fn check_fields(
    resource: &Resource,
    fields: &FieldSelector,
) -> Result<(), StorageError> {
    let known = resource.behaviour.selectable_fields();
    for path in fields.paths() {
        let common =
            path == "metadata.name" || path == "metadata.namespace" && resource.namespaced();
        if !common && !known.contains(&path) {
            let why = format!("field label not supported: {path}");
            return Err(StorageError::InvalidQuery(why));
        }
    }
    Ok(())
}
