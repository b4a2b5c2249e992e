//! One stored version of an object, and what is known of it.
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;

use super::{StorageError, envelope};
use crate::api::{Behaviour, FieldSelector, LabelSelector, Object, ObjectKey, Resource};
use crate::store::Entry;

/// A stored version of an object; a clone copies pointers.
///
/// It has the fields of its [`Facts`].
#[derive(Clone)]
pub struct Stored {
    /// The resourceVersion: of the write that made this version, or of its deletion.
    pub revision: u64,
    facts: Arc<Facts>,
    entry: Entry,
    /// Set where the served form differs from the stored one.
    served: Option<Arc<dyn Behaviour>>,
}

/// What is known of a version without reading it again; kept with the version,
/// each part found out when it is first asked for.
pub struct Facts {
    /// Namespace and name.
    pub key: ObjectKey,
    labels: OnceLock<Result<Labels, String>>,
    /// In the order of [`Behaviour::selectable_fields`] of the resource it is stored as.
    fields: OnceLock<Result<Fields, String>>,
}

/// Sorted by key.
type Labels = Box<[(Box<str>, Box<str>)]>;
type Fields = Box<[Box<str>]>;

/// As much of metadata as selectors need.
#[derive(Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
}

impl Deref for Stored {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl Stored {
    /// The version that an entry holds, as the resource serves it.
    pub(super) fn of(entry: Entry, resource: &Resource, base: u64) -> Self {
        let facts = entry.derived(|| Facts::of(&entry, resource.namespaced()));
        let served = resource.converted.then(|| resource.behaviour.clone());
        Self { revision: base + entry.revision().0, facts, entry, served }
    }

    /// This version as of another revision, such as that of its deletion.
    pub(super) fn at(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// The whole object as JSON, with its resourceVersion.
    pub fn json(&self) -> Result<Bytes, StorageError> {
        let json = self.open()?.join(self.revision);
        let Some(behaviour) = &self.served else { return Ok(json) };
        let object = Object::from_slice(&json).and_then(|object| behaviour.to_served(object));
        object
            .map_err(|error| error.to_string())
            .and_then(|object| serde_json::to_vec(&object).map_err(|error| error.to_string()))
            .map(Bytes::from)
            .map_err(|why| self.corrupt(why))
    }

    /// The object, with its resourceVersion.
    pub fn object(&self) -> Result<Object, StorageError> {
        let object = Object::from_slice(self.open()?.json).map(|mut object| {
            object.metadata.resource_version = Some(self.resource_version());
            object
        });
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

    /// Whether a selector selects its labels.
    pub(super) fn labelled(&self, selector: &LabelSelector) -> Result<bool, StorageError> {
        if selector.is_empty() {
            return Ok(true);
        }
        let labels = self.facts.labels.get_or_init(|| labels(&self.entry));
        let labels = labels.as_ref().map_err(|why| self.corrupt(why.clone()))?;
        Ok(selector.matches(|key| {
            let place = labels.binary_search_by(|(label, _)| (**label).cmp(key)).ok()?;
            Some(&labels[place].1)
        }))
    }

    /// Whether a selector selects its fields, of which the resource has these.
    pub(super) fn fielded(
        &self,
        selector: &FieldSelector,
        names: &[String],
        behaviour: &dyn Behaviour,
    ) -> Result<bool, StorageError> {
        let own = |path: &str| matches!(path, "metadata.name" | "metadata.namespace");
        let mut found = None;
        let fields: &[Box<str>] = if selector.paths().all(own) {
            &[]
        } else if self.served.is_some() {
            // Of another form than the one the facts are of, and seldom asked for.
            let object = self.object()?;
            let values = behaviour.field_values(&object);
            let values = values.map_err(|error| self.corrupt(error.to_string()))?;
            found.insert(values.into_iter().map(String::into_boxed_str).collect::<Fields>())
        } else {
            let fields = self.facts.fields.get_or_init(|| fields(&self.entry, behaviour));
            fields.as_ref().map_err(|why| self.corrupt(why.clone()))?
        };
        Ok(selector.matches(|path| match path {
            "metadata.name" => &self.key.name,
            "metadata.namespace" => &self.key.namespace,
            path => {
                let place = names.iter().position(|name| name == path);
                place.and_then(|place| fields.get(place)).map_or("", |value| value)
            }
        }))
    }

    fn open(&self) -> Result<envelope::Opened<'_>, StorageError> {
        envelope::open(self.entry.value()).map_err(|why| self.corrupt(why))
    }

    fn corrupt(&self, why: String) -> StorageError {
        StorageError::Corrupt { key: self.entry.key().to_owned(), why }
    }
}

impl Facts {
    fn of(entry: &Entry, namespaced: bool) -> Self {
        let mut parts = entry.key().rsplit('/');
        let name = parts.next().unwrap_or_default();
        let namespace = if namespaced { parts.next().unwrap_or_default() } else { "" };
        let key = ObjectKey::new(namespace, name);
        Self { key, labels: OnceLock::new(), fields: OnceLock::new() }
    }
}

fn labels(entry: &Entry) -> Result<Labels, String> {
    let opened = envelope::open(entry.value())?;
    let mut metadata = serde_json::Deserializer::from_slice(opened.metadata());
    let metadata = Labelled::deserialize(&mut metadata).map_err(|error| error.to_string())?;
    Ok(metadata.labels.unwrap_or_default().into_iter().collect())
}

fn fields(entry: &Entry, behaviour: &dyn Behaviour) -> Result<Fields, String> {
    let opened = envelope::open(entry.value())?;
    let values = behaviour.field_values_of_json(opened.json);
    let values = values.map_err(|error| format!("{error}: {}", error.source))?;
    Ok(values.into_iter().map(String::into_boxed_str).collect())
}
