//! How a query looks at the entries of a resource: where they are, and which
//! of them it selects.
use std::sync::Arc;

use super::{StorageError, Stored, prefix};
use crate::api::{FieldSelector, LabelSelector, Resource};
use crate::store::Entry;

/// What one list or watch sees of a resource.
pub(super) struct Lens {
    /// What the keys of all that it can see begin with.
    pub(super) prefix: String,
    resource: Arc<Resource>,
    base: u64,
    labels: LabelSelector,
    fields: FieldSelector,
    /// What the resource's selectable fields are called.
    names: Vec<String>,
}

impl Lens {
    /// Refuses a selector that names a field the resource does not have.
    pub(super) fn new(
        resource: &Resource,
        base: u64,
        namespace: Option<&str>,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> Result<Self, StorageError> {
        let names = resource.behaviour.selectable_fields();
        for path in fields.paths() {
            let common =
                path == "metadata.name" || path == "metadata.namespace" && resource.namespaced();
            if !common && !names.contains(&path) {
                let why = format!("field label not supported: {path}");
                return Err(StorageError::InvalidQuery(why));
            }
        }
        let names = names.into_iter().map(str::to_owned).collect();
        let prefix = narrowest(resource, namespace, fields);
        let (resource, labels, fields) =
            (Arc::new(resource.clone()), labels.clone(), fields.clone());
        Ok(Self { prefix, resource, base, labels, fields, names })
    }

    /// Whether it selects all that it can see.
    pub(super) fn is_plain(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The object in an entry, if it is selected.
    pub(super) fn select(&self, entry: Entry) -> Result<Option<Stored>, StorageError> {
        let stored = Stored::of(entry, &self.resource, self.base);
        let selected = stored.labelled(&self.labels)?
            && stored.fielded(&self.fields, &self.names, &*self.resource.behaviour)?;
        Ok(selected.then_some(stored))
    }
}

/// A selector of one namespace or one name spares looking at all others.
fn narrowest(resource: &Resource, namespace: Option<&str>, fields: &FieldSelector) -> String {
    let chosen = fields.exact("metadata.namespace").filter(|_| resource.namespaced());
    let namespace = namespace.or(chosen);
    let prefix = prefix(&resource.stored_as, namespace);
    match fields.exact("metadata.name") {
        Some(name) if namespace.is_some() == resource.namespaced() => prefix + name,
        _ => prefix,
    }
}
