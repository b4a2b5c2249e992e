//! The fields of `metadata` that the server fills in or keeps.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::api::{Object, whole_seconds};
use crate::clock::Entropy;

/// As long as a generated name may be, so that it fits where a DNS label is asked for.
const GENERATED_NAME_MAX: usize = 63;

/// Letters that a generated name ends in.
const SUFFIX: usize = 5;

/// Sets what a new object gets from the server.
pub fn created(metadata: &mut ObjectMeta, now: Timestamp, entropy: &Entropy, generation: bool) {
    metadata.uid = Some(entropy.uuid());
    metadata.creation_timestamp = Some(Time(whole_seconds(now)));
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.resource_version = None;
    metadata.self_link = None;
    metadata.generation = generation.then_some(1);
}

/// A name that begins with `prefix`.
pub fn generate_name(prefix: &str, entropy: &Entropy) -> String {
    let mut end = prefix.len().min(GENERATED_NAME_MAX - SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], entropy.suffix(SUFFIX))
}

/// Carries over to a new version of `old` what a client left out or may not change.
pub fn updated(new: &mut Object, old: &Object, has_generation: bool) {
    let (metadata, was) = (&mut new.metadata, &old.metadata);
    let keep = |field: &mut Option<String>, old: &Option<String>| {
        if field.as_ref().is_none_or(String::is_empty) {
            field.clone_from(old);
        }
    };
    keep(&mut metadata.uid, &was.uid);
    keep(&mut metadata.name, &was.name);
    keep(&mut metadata.namespace, &was.namespace);
    keep(&mut metadata.generate_name, &was.generate_name);
    metadata.self_link = None;
    if metadata.creation_timestamp.is_none() {
        metadata.creation_timestamp.clone_from(&was.creation_timestamp);
    }
    if metadata.deletion_timestamp.is_none() {
        metadata.deletion_timestamp.clone_from(&was.deletion_timestamp);
    }
    if metadata.deletion_grace_period_seconds.is_none() {
        metadata.deletion_grace_period_seconds = was.deletion_grace_period_seconds;
    }
    metadata.generation = was.generation;
    if has_generation && !same_wish(new, old) {
        new.metadata.generation = Some(was.generation.unwrap_or(0).saturating_add(1));
    }
}

/// Whether two versions of an object differ in metadata and status alone.
fn same_wish(new: &Object, old: &Object) -> bool {
    let wishes = |object: &Object| object.body.iter().filter(|(name, _)| *name != "status").count();
    wishes(new) == wishes(old)
        && new
            .body
            .iter()
            .filter(|(name, _)| *name != "status")
            .all(|(name, value)| old.body.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn generated_names_fit_into_a_label() {
        let entropy = Entropy::seeded(1);
        assert_eq!(generate_name("web-", &entropy).len(), 9);
        assert_eq!(generate_name(&"a".repeat(100), &entropy).len(), 63);
        assert_eq!(generate_name(&"ä".repeat(40), &entropy).len(), 63);
    }

    #[test]
    fn the_generation_counts_changes_of_the_wish() {
        let old = object(
            json!({"metadata": {"name": "a", "generation": 3}, "spec": {"n": 1}, "status": {}}),
        );
        let generation = |new: serde_json::Value| {
            let mut new = object(new);
            updated(&mut new, &old, true);
            new.metadata.generation
        };
        assert_eq!(generation(json!({"spec": {"n": 1}, "status": {"seen": 1}})), Some(3));
        assert_eq!(generation(json!({"spec": {"n": 2}})), Some(4));
        assert_eq!(generation(json!({"spec": {"n": 1}, "metadata": {"generation": 9}})), Some(3));
    }

    #[test]
    fn an_update_keeps_what_the_client_left_out() {
        let old = object(json!({"metadata": {
            "name": "a", "namespace": "x", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
        }}));
        let mut new = object(json!({"metadata": {"labels": {"b": "c"}}}));
        updated(&mut new, &old, false);
        assert_eq!(new.metadata.uid.as_deref(), Some("1"));
        assert_eq!(new.key(), old.key());
        assert_eq!(new.metadata.creation_timestamp, old.metadata.creation_timestamp);
    }
}
