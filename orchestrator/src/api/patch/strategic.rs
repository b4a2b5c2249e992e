//! Strategic merge patches: merge patches that know by which key the items of
//! a list are told apart, and directives that delete, replace and reorder.
use serde_json::{Map, Value};

use crate::api::GroupVersionKind;
use crate::api::schema::{self, FieldShape};

/// `$patch`: what to do with the map or list it stands in.
const DIRECTIVE: &str = "$patch";
/// `$retainKeys`: the fields that may stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix of the order in which a merged list shall stand.
const ORDER: &str = "$setElementOrder/";
/// Prefix of the values that leave a list of scalars.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The kind has no schema, as a custom resource.
    #[error("strategic merge patch is not supported for {0}; use a merge patch")]
    NoSchema(String),
    /// A directive that does not exist.
    #[error("invalid value for special {DIRECTIVE}: {0}")]
    Directive(String),
    /// A directive or list whose value has the wrong type.
    #[error("{field} in the patch is not a {expected}")]
    Type {
        /// The field.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An item of a merged list does not say which it is.
    #[error("map: {item} does not contain declared merge key: {key}")]
    MergeKey {
        /// The item.
        item: String,
        /// The missing key.
        key: &'static str,
    },
}

/// Applies `patch` to `target`, an object of kind `gvk`.
pub fn strategic(
    target: &mut Value,
    patch: &Value,
    gvk: &GroupVersionKind,
) -> Result<(), PatchError> {
    let type_name =
        schema::type_name(gvk).ok_or_else(|| PatchError::NoSchema(gvk.kind.to_string()))?;
    let target = object(target);
    merge_map(type_name, target, as_map("patch", patch)?)
}

fn merge_map(
    type_name: &str,
    current: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            let kept = patch.iter().filter(|(name, _)| *name != DIRECTIVE);
            *current = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            return Ok(());
        }
        Some("delete") => {
            current.clear();
            return Ok(());
        }
        Some(other) => return Err(PatchError::Directive(other.to_owned())),
    }
    if let Some(retain) = patch.get(RETAIN_KEYS) {
        let retain = as_list(RETAIN_KEYS, retain)?;
        current.retain(|name, _| retain.iter().any(|kept| kept == name.as_str()));
    }
    let shape = schema::shape(type_name);
    let plain = FieldShape::default();
    for (name, value) in patch {
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            let gone = as_list(name, value)?;
            if let Some(Value::Array(items)) = current.get_mut(field) {
                items.retain(|item| !gone.contains(item));
            }
        } else if !name.starts_with('$') {
            let field = shape.and_then(|shape| shape.get(name.as_str())).unwrap_or(&plain);
            merge_field(name, field, current, value)?;
        }
    }
    // After every list is merged.
    for (name, order) in patch {
        if let Some(field) = name.strip_prefix(ORDER)
            && let Some(Value::Array(items)) = current.get_mut(field)
        {
            let key = shape.and_then(|shape| shape.get(field)?.patch_merge_key);
            reorder(items, as_list(name, order)?, key);
        }
    }
    Ok(())
}

fn merge_field(
    name: &str,
    field: &FieldShape,
    current: &mut Map<String, Value>,
    patch: &Value,
) -> Result<(), PatchError> {
    match patch {
        Value::Null => {
            current.remove(name);
        }
        Value::Object(patch) => {
            let entry = current.entry(name).or_insert(Value::Null);
            merge_map(field.of, object(entry), patch)?;
            if patch.get(DIRECTIVE).is_some_and(|directive| directive == "delete") {
                current.remove(name);
            }
        }
        Value::Array(patch) if field.merges => {
            let entry = current.entry(name).or_insert(Value::Null);
            if !entry.is_array() {
                *entry = Value::Array(Vec::new());
            }
            let Value::Array(items) = entry else { return Ok(()) };
            match field.patch_merge_key {
                Some(key) => merge_list(field.of, key, items, patch)?,
                None => {
                    for item in patch {
                        if !items.contains(item) {
                            items.push(item.clone());
                        }
                    }
                }
            }
        }
        other => {
            current.insert(name.to_owned(), other.clone());
        }
    }
    Ok(())
}

fn merge_list(
    type_name: &str,
    key: &'static str,
    items: &mut Vec<Value>,
    patch: &[Value],
) -> Result<(), PatchError> {
    let directive = |item: &Value, word: &str| item.get(DIRECTIVE).is_some_and(|d| d == word);
    if patch.iter().any(|item| directive(item, "replace")) {
        *items = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).cloned().collect();
        return Ok(());
    }
    for item in patch {
        let map = as_map("an item of a list", item)?;
        let value =
            map.get(key).ok_or_else(|| PatchError::MergeKey { item: item.to_string(), key })?;
        if directive(item, "delete") {
            items.retain(|present| present.get(key) != Some(value));
            continue;
        }
        match items.iter_mut().find(|present| present.get(key) == Some(value)) {
            Some(present) => merge_map(type_name, object(present), map)?,
            None => {
                let mut added = Map::new();
                merge_map(type_name, &mut added, map)?;
                items.push(Value::Object(added));
            }
        }
    }
    Ok(())
}

/// Puts `items` into the wished order; one that the order does not name stays
/// behind the one it stood behind.
fn reorder(items: &mut Vec<Value>, order: &[Value], key: Option<&str>) {
    let identity = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let wished: Vec<Value> = order.iter().map(identity).collect();
    let mut behind = 0;
    let mut placed: Vec<(usize, Value)> = items
        .drain(..)
        .map(|item| {
            let own = identity(&item);
            if let Some(position) = wished.iter().position(|wish| *wish == own) {
                behind = position + 1;
            }
            (behind, item)
        })
        .collect();
    // Stable, so items behind the same one keep their order.
    placed.sort_by_key(|(place, _)| *place);
    items.extend(placed.into_iter().map(|(_, item)| item));
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

fn as_map<'a>(field: &str, value: &'a Value) -> Result<&'a Map<String, Value>, PatchError> {
    value.as_object().ok_or_else(|| PatchError::Type { field: field.to_owned(), expected: "map" })
}

fn as_list<'a>(field: &str, value: &'a Value) -> Result<&'a [Value], PatchError> {
    let list = value.as_array().map(Vec::as_slice);
    list.ok_or_else(|| PatchError::Type { field: field.to_owned(), expected: "list" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> GroupVersionKind {
        GroupVersionKind { group: "".into(), version: "v1".into(), kind: "Pod".into() }
    }

    fn patched(mut target: Value, patch: &Value) -> Value {
        strategic(&mut target, patch, &pod()).unwrap();
        target
    }

    #[test]
    fn lists_with_a_key_are_merged_item_by_item() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "c:1"}]}});
        let expected = json!({"spec": {"containers": [
            {"name": "a", "image": "a:2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]}});
        assert_eq!(patched(pod, &patch), expected);
    }

    #[test]
    fn directives_delete_replace_and_reorder() {
        let pod = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "nodeSelector": {"k": "v"}},
        });
        let patch = json!({
            "metadata": {"labels": {"a": null}, "$deleteFromPrimitiveList/finalizers": ["x"]},
            "spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "b", "$patch": "delete"}],
                "nodeSelector": {"$patch": "replace", "n": "w"},
            },
        });
        let expected = json!({
            "metadata": {"labels": {"b": "2"}, "finalizers": ["y"]},
            "spec": {"containers": [{"name": "c"}, {"name": "a"}], "nodeSelector": {"n": "w"}},
        });
        assert_eq!(patched(pod, &patch), expected);
    }

    #[test]
    fn lists_without_a_key_are_replaced_and_sets_are_joined() {
        let pod = json!({"metadata": {"finalizers": ["x"]}, "spec": {"containers": [{"name": "a", "args": ["1"]}]}});
        let patch = json!({"metadata": {"finalizers": ["x", "y"]}, "spec": {"containers": [{"name": "a", "args": ["2", "3"]}]}});
        let expected = json!({"metadata": {"finalizers": ["x", "y"]}, "spec": {"containers": [{"name": "a", "args": ["2", "3"]}]}});
        assert_eq!(patched(pod, &patch), expected);
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let mut target = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        let deployment = GroupVersionKind {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
        };
        strategic(&mut target, &patch, &deployment).unwrap();
        assert_eq!(target, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |patch: Value| strategic(&mut json!({}), &patch, &pod()).unwrap_err();
        assert!(matches!(refused(json!([])), PatchError::Type { .. }));
        assert!(matches!(
            refused(json!({"spec": {"$patch": "explode"}})),
            PatchError::Directive(_)
        ));
        let no_key = refused(json!({"spec": {"containers": [{"image": "a"}]}}));
        assert!(
            no_key.to_string().contains("does not contain declared merge key: name"),
            "{no_key}"
        );
    }
}
