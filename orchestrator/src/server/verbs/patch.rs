//! patch: JSON, merge and strategic merge patches.
use axum::body::Body;
use json_patch::PatchOperation;
use serde_json::Value;

use super::apply::apply;
use crate::api::document::{LEVELS_MAX, levels, size};
use crate::api::patch::{merge, strategic};
use crate::api::{ApiError, GroupVersionKind, Object, Resource};
use crate::server::body;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::{FieldValidation, WriteOptions};
use crate::server::write::{self, Changed, Oddities, Part};

/// As many operations as a JSON patch may have, as in Kubernetes.
const OPERATIONS_MAX: usize = 10_000;

/// As many bytes as the operations of a JSON patch may copy together, as in Kubernetes.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// Forms of a patch.
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// The form of a configuration to apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// A decoded patch.
#[derive(Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, which merges lists by the keys of their items.
    Strategic(Value),
}

impl Patch {
    /// Decodes the body of a PATCH.
    pub fn decode(media_type: &str, bytes: &[u8]) -> Result<Self, ApiError> {
        let bad = |error: serde_json::Error| {
            ApiError::BadRequest(format!("error decoding patch: {error}"))
        };
        let object = || -> Result<Value, ApiError> {
            let value: Value = serde_json::from_slice(bytes).map_err(bad)?;
            if !value.is_object() {
                return Err(ApiError::BadRequest("error decoding patch: not a JSON object".into()));
            }
            Ok(value)
        };
        match media_type {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(bytes).map_err(bad)?;
                if patch.0.len() > OPERATIONS_MAX {
                    return Err(ApiError::TooLarge(OPERATIONS_MAX));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => object().map(Self::Merge),
            "application/strategic-merge-patch+json" => object().map(Self::Strategic),
            _ => Err(ApiError::UnsupportedMediaType(PATCH_TYPES.into())),
        }
    }

    /// Whether it says which version it is for, unless what it makes says another one.
    pub fn names_version(&self) -> bool {
        match self {
            Self::Json(patch) => patch.0.iter().any(|operation| {
                let path = operation.path().as_str();
                matches!(path, "" | "/metadata" | "/metadata/resourceVersion")
            }),
            Self::Merge(patch) | Self::Strategic(patch) => {
                patch.pointer("/metadata/resourceVersion").is_some_and(|version| !version.is_null())
            }
        }
    }

    /// Applies it to the document of an object. How large and how deep an object may be is the
    /// storage's to say.
    pub fn apply(&self, target: &mut Value, gvk: &GroupVersionKind) -> Result<(), ApiError> {
        match self {
            Self::Json(patch) => apply_operations(target, &patch.0),
            Self::Merge(patch) => {
                merge(target, patch.clone());
                Ok(())
            }
            Self::Strategic(patch) => strategic(target, patch, gvk)
                .map_err(|error| ApiError::BadRequest(error.to_string())),
        }
    }
}

/// Applies the operations of a JSON patch, in order. They alone can copy and nest what is there
/// already, again and again.
fn apply_operations(target: &mut Value, operations: &[PatchOperation]) -> Result<(), ApiError> {
    let mut copied = 0;
    // Never less than there are: counting them anew after each operation would take long.
    let mut deepest = levels(target);
    for (index, operation) in operations.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += target.pointer(copy.from.as_str()).map_or(0, size);
            if copied > COPIED_MAX {
                return Err(ApiError::Unprocessable(format!(
                    "the copy operations up to number {index} copy {copied} bytes, {COPIED_MAX} are allowed; write the values out or split the patch"
                )));
            }
        }
        deepest = deepest.max(reach(operation, deepest));
        json_patch::patch(target, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = index;
            ApiError::Unprocessable(error.to_string())
        })?;
        if deepest > LEVELS_MAX {
            deepest = levels(target);
        }
        if deepest > LEVELS_MAX {
            return Err(ApiError::Unprocessable(format!(
                "the patched object nests deeper than {LEVELS_MAX} levels; make it flatter"
            )));
        }
    }
    Ok(())
}

/// The deepest level that an operation may fill in a document of so many levels.
fn reach(operation: &PatchOperation, deepest: usize) -> usize {
    let above = |pointer: &str| pointer.matches('/').count();
    let moved = |from: &str| deepest.saturating_sub(above(from));
    match operation {
        PatchOperation::Add(add) => above(add.path.as_str()) + levels(&add.value),
        PatchOperation::Replace(replace) => above(replace.path.as_str()) + levels(&replace.value),
        PatchOperation::Copy(copy) => above(copy.path.as_str()) + moved(copy.from.as_str()),
        PatchOperation::Move(mov) => above(mov.path.as_str()) + moved(mov.from.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

/// What a patch makes of the object `name`; the result says a resourceVersion only if the patch does.
pub fn patched(
    row: &Resource,
    name: &str,
    patch: &Patch,
    old: &Object,
    oddities: &mut Oddities,
) -> Result<Object, ApiError> {
    let mut document = old.to_value()?;
    patch.apply(&mut document, &row.gvk)?;
    let mut new = Object::from_value_reporting(document, &mut |path| oddities.unknown.push(path))
        .map_err(|error| write::undecodable(row, error))?;
    if new.kind != row.gvk.kind || new.api_version != row.gvk.api_version() {
        return Err(ApiError::BadRequest(format!(
            "the patch would make a {} in {} of a {}",
            new.kind, new.api_version, row.gvk.kind
        )));
    }
    let named = new.metadata.name.as_deref().unwrap_or_default();
    if named != name {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    if new.metadata.resource_version == old.metadata.resource_version && !patch.names_version() {
        // The version it was read at is no wish of the client's: a conflict is retried.
        new.metadata.resource_version = None;
    }
    Ok(new)
}

/// What a refusal shows, as Kubernetes does: a strategic patch in Go's notation, of others what
/// they make of the object.
fn shown(patch: &Patch, row: &Resource, old: &Object) -> Result<String, ApiError> {
    if let Patch::Strategic(patch) = patch {
        return Ok(in_go(patch));
    }
    let mut document = old.to_value()?;
    patch.apply(&mut document, &row.gvk)?;
    Ok(document.to_string())
}

/// A value as Go prints it.
fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(in_go).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", in_go(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Changes parts of an object.
pub async fn patch(call: &mut Call<'_>, body: Body, part: Part) -> Result<Reply, ApiError> {
    let media_type = body::media_type(call.headers).to_owned();
    let options = WriteOptions::of_patch(call.query, media_type == APPLY)?;
    let bytes = body::read(body).await?;
    if media_type == APPLY {
        return apply(call, &bytes, part, &options).await;
    }
    let patch = Patch::decode(&media_type, &bytes)?;
    let strict = options.field_validation == FieldValidation::Strict;
    let (row, name) = (call.row.clone(), call.path.name.as_str());
    let outcome = write::update(call, part, &options, |old| {
        let mut oddities = Oddities::default();
        let object = patched(&row, name, &patch, old, &mut oddities)?;
        let patch = if strict { Some(shown(&patch, &row, old)?) } else { None };
        Ok(Changed { object, oddities, patch, applied: false })
    });
    Ok(Reply::ok(outcome.await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_form_is_refused_with_those_that_are_known() {
        let error = Patch::decode("application/apply-patch+cbor", b"{}").unwrap_err();
        assert_eq!(error.code(), 415);
        assert!(error.to_string().contains(PATCH_TYPES), "{error}");
    }

    #[test]
    fn a_strategic_patch_is_shown_as_go_has_it() {
        let patch = json!({"b": {"x": [1, "two", null]}, "a": true});
        assert_eq!(in_go(&patch), "map[a:true b:map[x:[1 two <nil>]]]");
    }

    #[test]
    fn a_json_patch_that_does_not_apply_is_unprocessable() {
        let patch = br#"[{"op": "test", "path": "/data/a", "value": "2"}]"#;
        let patch = Patch::decode("application/json-patch+json", patch).unwrap();
        let gvk = GroupVersionKind { group: "".into(), version: "v1".into(), kind: "X".into() };
        let error = patch.apply(&mut json!({"data": {"a": "1"}}), &gvk).unwrap_err();
        assert_eq!(error.code(), 422);
    }

    fn applied(patch: &Value, mut target: Value) -> Result<Value, ApiError> {
        let patch = Patch::decode("application/json-patch+json", patch.to_string().as_bytes())?;
        let gvk = GroupVersionKind { group: "".into(), version: "v1".into(), kind: "X".into() };
        patch.apply(&mut target, &gvk).map(|()| target)
    }

    #[test]
    fn copies_do_not_double_without_end() {
        let double = |times: usize| {
            let copy =
                |n: usize| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")});
            (0..times).map(copy).collect::<Value>()
        };
        let target = json!({"data": {"a": "x".repeat(1_000)}});
        assert!(applied(&double(8), target.clone()).is_ok());
        let error = applied(&double(30), target).unwrap_err();
        assert_eq!(error.code(), 422, "{error}");
        assert!(error.to_string().contains("are allowed"), "{error}");
    }

    #[test]
    fn an_object_does_not_nest_without_end() {
        let sink = |times: usize| {
            let sink = |_| {
                [
                    json!({"op": "add", "path": "/new", "value": {}}),
                    json!({"op": "move", "from": "/data", "path": "/new/a"}),
                    json!({"op": "move", "from": "/new", "path": "/data"}),
                ]
            };
            (0..times).flat_map(sink).collect::<Value>()
        };
        assert!(applied(&sink(50), json!({"data": {}})).is_ok());
        let error = applied(&sink(3_000), json!({"data": {}})).unwrap_err();
        assert!(error.code() == 422 && error.to_string().contains("levels"), "{error}");
    }

    #[test]
    fn the_operation_that_fails_is_numbered() {
        let add = json!({"op": "add", "path": "/a", "value": 1});
        let error = applied(&json!([add, {"op": "remove", "path": "/b"}]), json!({})).unwrap_err();
        assert!(error.to_string().contains("'/1'"), "{error}");
    }

    #[test]
    fn a_json_patch_names_the_version_it_sets() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "resourceVersion": "7"},
        });
        let row = Resource::of(crate::apis::core::ConfigMaps);
        let version = |patch: Value| {
            let patch = Patch::decode("application/json-patch+json", patch.to_string().as_bytes());
            let old = Object::from_value(object.clone()).unwrap();
            let new = patched(&row, "c", &patch.unwrap(), &old, &mut Oddities::default());
            new.unwrap().metadata.resource_version
        };
        let metadata = |version: &str| json!({"name": "c", "resourceVersion": version});
        let replace =
            |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
        assert_eq!(version(json!([{"op": "add", "path": "/data", "value": {}}])), None);
        for named in ["6", "7"] {
            let whole =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(named)});
            for patch in [
                replace("/metadata/resourceVersion", json!(named)),
                replace("/metadata", metadata(named)),
                replace("", whole),
            ] {
                assert_eq!(version(patch.clone()).as_deref(), Some(named), "{patch}");
            }
        }
        assert_eq!(version(replace("/metadata", json!({"name": "c"}))), None);
    }
}
