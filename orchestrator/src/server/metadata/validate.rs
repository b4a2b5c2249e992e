//! What may stand in `metadata`, in the words of `k8s.io/apimachinery/pkg/api/validation`.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::{FOREGROUND, ORPHAN};
use crate::api::{self, FieldError, FieldErrors, FieldPath, Resource, names};

/// Finalizers of Kubernetes itself, which need no domain.
const STANDARD_FINALIZERS: &[&str] = &[FOREGROUND, ORPHAN, "kubernetes"];

/// Everything that is wrong with the metadata of an object of `row`.
pub fn validate(metadata: &ObjectMeta, row: &Resource) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("metadata");
    validate_names(metadata, row, &path, &mut errors);
    if metadata.generation.is_some_and(|generation| generation < 0) {
        let value = json!(metadata.generation);
        let why = "must be greater than or equal to 0".to_owned();
        errors.push(FieldError::Invalid(path.child("generation"), value, why));
    }
    for (key, value) in metadata.labels.iter().flatten() {
        invalid(&mut errors, path.child("labels"), key, names::qualified(key));
        invalid(&mut errors, path.child("labels"), value, names::label_value(value));
    }
    let annotations = path.child("annotations");
    errors.extend(api::annotations::validate(&annotations, metadata.annotations.as_ref()));
    owners(metadata, &path.child("ownerReferences"), &mut errors);
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let path = path.child("finalizers");
    for finalizer in finalizers {
        invalid(&mut errors, path.clone(), finalizer, names::qualified(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    errors.check(!(has(ORPHAN) && has(FOREGROUND)), || {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        FieldError::Invalid(path, json!(finalizers), why)
    });
    errors
}

/// Everything that an update of `old` to `new` may not do to metadata.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("metadata");
    if old.deletion_timestamp.is_some() {
        new_finalizers(new, old, &path, &mut errors);
    }
    let mut same = |name: &str, same: bool, value: Value| {
        errors.check(same, || FieldError::immutable(path.child(name), value));
    };
    same("name", new.name == old.name, json!(new.name));
    same("namespace", new.namespace == old.namespace, json!(new.namespace));
    same("uid", new.uid == old.uid, json!(new.uid));
    let created = new.creation_timestamp == old.creation_timestamp;
    same("creationTimestamp", created, json!(new.creation_timestamp));
    let deleted = new.deletion_timestamp == old.deletion_timestamp;
    same("deletionTimestamp", deleted, json!(new.deletion_timestamp));
    let grace = new.deletion_grace_period_seconds == old.deletion_grace_period_seconds;
    same("deletionGracePeriodSeconds", grace, json!(new.deletion_grace_period_seconds));
    errors
}

/// What is allowed in metadata, but probably not meant.
pub fn warnings(metadata: &ObjectMeta) -> Vec<String> {
    let finalizers = metadata.finalizers.iter().flatten();
    finalizers
        .filter(|name| !name.contains('/') && !STANDARD_FINALIZERS.contains(&name.as_str()))
        .map(|name| {
            format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
            )
        })
        .collect()
}

fn validate_names(
    metadata: &ObjectMeta,
    row: &Resource,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    if let Some(prefix) = metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty()) {
        // A prefix may end in a dash that what is generated follows.
        let masked = prefix.strip_suffix('-').map(|head| format!("{head}a"));
        let checked = row.behaviour.validate_name(masked.as_deref().unwrap_or(prefix));
        invalid(errors, path.child("generateName"), prefix, checked);
    }
    match metadata.name.as_deref().unwrap_or_default() {
        "" => {
            let why = "name or generateName is required".to_owned();
            errors.push(FieldError::Required(path.child("name"), why));
        }
        name => invalid(errors, path.child("name"), name, row.behaviour.validate_name(name)),
    }
    match metadata.namespace.as_deref().unwrap_or_default() {
        "" if row.namespaced() => {
            errors.push(FieldError::Required(path.child("namespace"), String::new()));
        }
        "" => {}
        namespace if row.namespaced() => {
            invalid(errors, path.child("namespace"), namespace, names::dns_label(namespace));
        }
        _ => {
            let why = "not allowed on this type".to_owned();
            errors.push(FieldError::Forbidden(path.child("namespace"), why));
        }
    }
}

fn owners(metadata: &ObjectMeta, path: &FieldPath, errors: &mut FieldErrors) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in metadata.owner_references.iter().flatten() {
        let mut filled = |name: &str, value: &str| {
            errors.check(!value.is_empty(), || {
                FieldError::Invalid(path.child(name), value.into(), "must not be empty".into())
            });
        };
        filled("apiVersion", &owner.api_version);
        filled("kind", &owner.kind);
        filled("name", &owner.name);
        filled("uid", &owner.uid);
        if owner.controller != Some(true) {
            continue;
        }
        if let Some(first) = controller {
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                first.name, owner.name
            );
            let value = json!(metadata.owner_references);
            errors.push(FieldError::Invalid(path.clone(), value, why));
        }
        controller = Some(owner);
    }
}

fn new_finalizers(new: &ObjectMeta, old: &ObjectMeta, path: &FieldPath, errors: &mut FieldErrors) {
    let had = old.finalizers.as_deref().unwrap_or_default();
    let added = new.finalizers.iter().flatten().filter(|name| !had.contains(name));
    let added: Vec<String> = added.map(|name| format!("{name:?}")).collect();
    errors.check(added.is_empty(), || {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        FieldError::Forbidden(path.child("finalizers"), why)
    });
}

fn invalid(errors: &mut FieldErrors, path: FieldPath, value: &str, checked: Result<(), String>) {
    if let Err(why) = checked {
        errors.push(FieldError::Invalid(path, value.into(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_an_update_may_not_change_is_named() {
        let old = metadata(json!({"name": "a", "uid": "1", "namespace": "x"}));
        let new = metadata(json!({"name": "a", "uid": "2", "namespace": "x"}));
        assert_eq!(
            validate_update(&new, &old).to_string(),
            r#"metadata.uid: Invalid value: "2": field is immutable"#
        );
        assert!(validate_update(&old, &old).is_empty());
    }

    #[test]
    fn an_object_that_is_being_deleted_gets_no_new_finalizers() {
        let at = "2026-11-21T04:00:00Z";
        let old = metadata(json!({"deletionTimestamp": at, "finalizers": ["a.b/c"]}));
        let new = metadata(json!({"deletionTimestamp": at, "finalizers": ["a.b/c", "a.b/d"]}));
        assert_eq!(
            validate_update(&new, &old).to_string(),
            r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.b/d"}"#
        );
        let fewer = metadata(json!({"deletionTimestamp": at, "finalizers": []}));
        assert!(validate_update(&fewer, &old).is_empty());
    }

    #[test]
    fn finalizers_without_a_domain_are_warned_about() {
        let given = metadata(json!({"finalizers": ["mine", "orphan", "podium.dev/x"]}));
        let warnings = warnings(&given);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with(r#"metadata.finalizers: "mine": prefer"#), "{warnings:?}");
    }
}
