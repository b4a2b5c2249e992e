//! patch: JSON, merge and strategic merge patches.
use axum::body::Body;
use serde_json::Value;

use super::apply::apply;
use crate::api::patch::{merge, strategic};
use crate::api::{ApiError, GroupVersionKind, Object, Resource};
use crate::server::body;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::{FieldValidation, WriteOptions};
use crate::server::write::{self, Changed, Oddities, Part};

/// As many operations as a JSON patch may have, as in Kubernetes.
const OPERATIONS_MAX: usize = 10_000;

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

    /// Applies it to the document of an object.
    pub fn apply(&self, target: &mut Value, gvk: &GroupVersionKind) -> Result<(), ApiError> {
        match self {
            Self::Json(patch) => json_patch::patch(target, patch)
                .map_err(|error| ApiError::Unprocessable(error.to_string())),
            Self::Merge(patch) => {
                merge(target, patch.clone());
                Ok(())
            }
            Self::Strategic(patch) => strategic(target, patch, gvk)
                .map_err(|error| ApiError::BadRequest(error.to_string())),
        }
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
    if !names_version(patch) {
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

/// Whether a patch says which version it is for.
fn names_version(patch: &Patch) -> bool {
    match patch {
        Patch::Json(patch) => {
            patch.0.iter().any(|operation| *operation.path() == *"/metadata/resourceVersion")
        }
        Patch::Merge(patch) | Patch::Strategic(patch) => {
            patch.pointer("/metadata/resourceVersion").is_some_and(|version| !version.is_null())
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
}
