//! `metadata.managedFields`: who set which fields of an object.
//!
//! [`track`] keeps the books on creates, updates and patches; [`apply()`] is
//! server-side apply, which merges a manager's configuration into an object,
//! takes out what that manager no longer wants and refuses to overwrite what
//! others set. An object without managers is not tracked until somebody applies
//! to it, as in Kubernetes.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

mod apply;
mod managers;
mod set;
#[cfg(test)]
mod tests;
mod typed;

pub use apply::{Applied, ApplyError, Conflict, apply};
pub use managers::{of_user_agent, validate, validate_name};
pub use set::{FieldSet, FieldsError};
pub use typed::TypedError;

use super::{GroupVersionKind, Object, schema};
use managers::{Managers, Operation};
use typed::{Node, compare};

/// Who writes, and what.
#[derive(Debug, Clone)]
pub struct Author {
    /// The field manager.
    pub manager: String,
    /// The kind that is written.
    pub gvk: GroupVersionKind,
    /// The subresource; empty for the object itself.
    pub subresource: String,
    /// What this write does not change, whatever it says.
    pub ignored: Ignored,
    /// When.
    pub now: Timestamp,
}

/// Top-level fields that a write leaves as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// None.
    Nothing,
    /// The status.
    Status,
    /// All but metadata and the status.
    AllButStatus,
}

impl Ignored {
    fn is(self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Status => name == "status",
            Self::AllButStatus => !matches!(name, "apiVersion" | "kind" | "metadata" | "status"),
        }
    }
}

impl Author {
    fn root(&self) -> Node {
        Node::root(schema::type_name(&self.gvk))
    }

    fn drop_ignored(&self, set: &mut FieldSet) {
        let name = |element: &str| element.trim_start_matches("f:").to_owned();
        set.children.retain(|element, _| !self.ignored.is(&name(element)));
    }
}

/// What nobody owns, as it says which object this is or as only the server sets it.
const NOBODYS: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
];

/// Takes out of a set what nobody owns.
fn strip(set: &mut FieldSet) {
    for path in NOBODYS {
        set.cut(path);
    }
    if let Some(metadata) = set.children.get_mut("f:metadata") {
        metadata.member = false;
    }
}

/// Notes in `new`, a version of `old` that is not stored yet, who made it what it is.
///
/// Managers that `new` brings along replace the old ones, except through a
/// subresource; one empty manager clears them.
pub fn track(author: &Author, old: Option<&Object>, new: &mut Object) {
    let given = new.metadata.managed_fields.take().filter(|_| author.subresource.is_empty());
    let live = old.and_then(|old| old.metadata.managed_fields.clone()).unwrap_or_default();
    let given = given.filter(|given| !given.is_empty() && *given != live);
    let mut managers = match given {
        Some(given) if managers::is_reset(&given) => Managers::default(),
        // What a client does not understand it may send garbled: the old ones stand.
        Some(given) => match Managers::of(&given) {
            Ok(managers) if !managers.is_empty() => managers,
            _ => Managers::of(&live).unwrap_or_default(),
        },
        None => {
            if old.is_some() && (live.is_empty() || unchanged(old, new)) {
                new.metadata.managed_fields = Some(live).filter(|live| !live.is_empty());
                return;
            }
            Managers::of(&live).unwrap_or_default()
        }
    };
    if old.is_none() || !managers.is_empty() {
        note(author, old, new, &mut managers);
    }
    new.metadata.managed_fields = managers.to_entries();
}

/// Takes back the times in `new` if they are all in which it differs from `old`: that is no change.
pub fn settle(new: &mut Object, old: &Object) {
    let (was, is) = (&old.metadata.managed_fields, &new.metadata.managed_fields);
    let (Some(was), Some(is)) = (was, is) else { return };
    let timeless = |entry: &ManagedFieldsEntry| ManagedFieldsEntry { time: None, ..entry.clone() };
    let same =
        was.len() == is.len() && was.iter().zip(is).all(|(was, is)| timeless(was) == timeless(is));
    if same && was != is && unchanged(Some(old), new) {
        new.metadata.managed_fields.clone_from(&old.metadata.managed_fields);
    }
}

/// Whether two versions differ in nothing that a manager could own.
fn unchanged(old: Option<&Object>, new: &Object) -> bool {
    let Some(old) = old else { return false };
    let (was, is) = (&old.metadata, &new.metadata);
    old.body == new.body
        && was.labels == is.labels
        && was.annotations == is.annotations
        && was.finalizers == is.finalizers
        && was.owner_references == is.owner_references
}

fn note(author: &Author, old: Option<&Object>, new: &Object, managers: &mut Managers) {
    let root = author.root();
    let old = old.map_or_else(empty, document);
    let mut found = compare(root, &old, &document(new));
    author.drop_ignored(&mut found.changed);
    author.drop_ignored(&mut found.removed);
    strip(&mut found.changed);
    managers.lose(&found.changed, &found.removed);
    managers.gain(author, Operation::Update, found.changed);
    managers.cap();
}

fn empty() -> Value {
    serde_json::json!({"metadata": {}})
}

/// What of an object can be owned.
fn document(object: &Object) -> Value {
    let was = &object.metadata;
    let metadata = ObjectMeta {
        labels: was.labels.clone(),
        annotations: was.annotations.clone(),
        finalizers: was.finalizers.clone(),
        owner_references: was.owner_references.clone(),
        generate_name: was.generate_name.clone(),
        ..ObjectMeta::default()
    };
    let mut document = object.body.clone();
    // Metadata of text and lists always has a JSON form.
    let metadata = serde_json::to_value(metadata).unwrap_or_default();
    document.insert("metadata".into(), metadata);
    Value::Object(document)
}
