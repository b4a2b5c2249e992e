//! `scale`: how many replicas an object wishes and has, whatever its kind.
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

use crate::api::{
    ApiError, DecodeError, FieldError, FieldErrors, FieldPath, GroupVersionKind, Object, Resource,
    Subresource, Verb, selector_text,
};
use crate::apis;
use crate::server::body;
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{Reply, Served};
use crate::server::query::WriteOptions;
use crate::server::verbs::{self, APPLY, Patch};
use crate::server::write::{self, Part};

/// Where an object says it; JSON pointers.
struct Pointers {
    spec_replicas: &'static str,
    status_replicas: &'static str,
    label_selector: &'static str,
}

/// The row of what is answered, which is of no resource.
static SCALES: LazyLock<Arc<Resource>> =
    LazyLock::new(|| Arc::new(Resource::of(apis::autoscaling::Scales)));

/// Answers a request for the `scale` of an object; from then on the call is about a Scale.
pub async fn call(
    call: &mut Call<'_>,
    subresource: &Subresource,
    verb: &str,
    body: Body,
) -> Result<Reply, ApiError> {
    let reply = answer(call, subresource, verb, body).await?;
    call.row = &SCALES;
    Ok(reply)
}

async fn answer(
    call: &mut Call<'_>,
    subresource: &Subresource,
    verb: &str,
    body: Body,
) -> Result<Reply, ApiError> {
    let Subresource::Scale { spec_replicas, status_replicas, label_selector } = *subresource else {
        return Err(ApiError::NoSuchPath);
    };
    let pointers = Pointers { spec_replicas, status_replicas, label_selector };
    if verb == Verb::Get.as_str() {
        let stored = call
            .server
            .storage()
            .get(call.row, &call.key())
            .await
            .map_err(|error| storage_error(call.row, &call.path.name, error))?;
        let object = stored.object()?;
        return Ok(Reply::ok(Served::from(scale(&object, &pointers)?)));
    }
    let media_type = body::media_type(call.headers).to_owned();
    let bytes = body::read(body).await?;
    let (options, change) = if verb == Verb::Patch.as_str() {
        let options = WriteOptions::of_patch(call.query, media_type == APPLY)?;
        if media_type == APPLY {
            return apply(call, &bytes, &pointers, &options).await;
        }
        (options, Change::Patch(Patch::decode(&media_type, &bytes)?))
    } else if verb == Verb::Update.as_str() {
        let document = body::decode(&media_type, &bytes)?;
        let wished = Object::from_value(document.value)?;
        (WriteOptions::parse(call.query, "UpdateOptions")?, Change::Put(Box::new(wished)))
    } else {
        return Err(ApiError::MethodNotAllowed);
    };
    let updated = write::update(call, Part::Object, &options, |old| {
        let wished = change.apply(scale(old, &pointers)?)?;
        let mut new = old.clone();
        new.metadata.resource_version.clone_from(&wished.metadata.resource_version);
        set_replicas(&mut new, &pointers, replicas(&wished)?)?;
        Ok(new.into())
    });
    let object = updated.await?.object()?;
    Ok(Reply::ok(Served::from(scale(&object, &pointers)?)))
}

/// Applies a Scale: what it says of replicas is applied to the object itself.
async fn apply(
    call: &mut Call<'_>,
    bytes: &[u8],
    pointers: &Pointers,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    let mut document = verbs::configuration(bytes)?;
    let wished = Object::from_value(document.value)?;
    if wished.kind != "Scale" || wished.api_version != "autoscaling/v1" {
        return Err(ApiError::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: autoscaling/v1",
            wished.api_version
        )));
    }
    let gvk = &call.row.gvk;
    let mut config = Object {
        api_version: gvk.api_version(),
        kind: gvk.kind.to_string(),
        metadata: ObjectMeta {
            resource_version: wished.metadata.resource_version.clone(),
            ..ObjectMeta::default()
        },
        ..Object::default()
    };
    if wished.body.get("spec").is_some_and(|spec| spec.get("replicas").is_some()) {
        set_replicas(&mut config, pointers, replicas(&wished)?)?;
    }
    document.value = config.to_value()?;
    let (status, served) =
        verbs::apply_configuration(call, document, Part::Object, options).await?;
    Ok(Reply::Object(status, Served::from(scale(&served.object()?, pointers)?)))
}

enum Change {
    Put(Box<Object>),
    Patch(Patch),
}

impl Change {
    fn apply(&self, old: Object) -> Result<Object, ApiError> {
        match self {
            Self::Put(wished) => Ok((**wished).clone()),
            Self::Patch(patch) => {
                let read_at = old.metadata.resource_version.clone();
                let mut document = old.to_value()?;
                patch.apply(&mut document, &GroupVersionKind::SCALE)?;
                let mut new = Object::from_value(document)?;
                if new.metadata.resource_version == read_at && !patch.names_version() {
                    new.metadata.resource_version = None;
                }
                Ok(new)
            }
        }
    }
}

/// The Scale of an object.
fn scale(object: &Object, pointers: &Pointers) -> Result<Object, DecodeError> {
    let body = Value::Object(object.body.clone());
    let number = |pointer| body.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let selector = body.pointer(pointers.label_selector).map(selector).transpose()?;
    let selector = selector.unwrap_or_default();
    let mut metadata = object.metadata.clone();
    // A Scale shows which object it is of, not what else is known about that.
    metadata.labels = None;
    metadata.annotations = None;
    metadata.owner_references = None;
    metadata.finalizers = None;
    metadata.managed_fields = None;
    metadata.generation = None;
    let mut scale = Object {
        api_version: "autoscaling/v1".into(),
        kind: "Scale".into(),
        metadata,
        ..Object::default()
    };
    scale.body.insert("spec".into(), json!({"replicas": number(pointers.spec_replicas)}));
    let status = json!({"replicas": number(pointers.status_replicas), "selector": selector});
    scale.body.insert("status".into(), status);
    Ok(scale)
}

fn replicas(scale: &Object) -> Result<i64, ApiError> {
    let value = scale.body.get("spec").and_then(|spec| spec.get("replicas"));
    let refuse = |why: &str| ApiError::Invalid {
        group: "autoscaling".into(),
        kind: "Scale".into(),
        name: scale.metadata.name.clone().unwrap_or_default(),
        errors: FieldErrors(vec![FieldError::Invalid(
            FieldPath::new("spec").child("replicas"),
            value.cloned().unwrap_or_default(),
            why.into(),
        )]),
    };
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(value) => match value.as_i64() {
            Some(replicas) if replicas < 0 => Err(refuse("must be greater than or equal to 0")),
            Some(replicas) if replicas <= i64::from(i32::MAX) => Ok(replicas),
            _ => Err(refuse("must be a 32-bit integer")),
        },
    }
}

fn set_replicas(object: &mut Object, pointers: &Pointers, replicas: i64) -> Result<(), ApiError> {
    let (parent, field) = pointers
        .spec_replicas
        .trim_start_matches('/')
        .split_once('/')
        .ok_or_else(|| ApiError::Internal("the scale of this resource has no field".into()))?;
    let parent = object.body.entry(parent).or_insert_with(|| json!({}));
    if let Some(parent) = parent.as_object_mut() {
        parent.insert(field.to_owned(), json!(replicas));
    }
    Ok(())
}

/// A label selector, or the labels of one, as text.
fn selector(value: &Value) -> Result<String, DecodeError> {
    let whole = ["matchLabels", "matchExpressions"].iter().any(|part| value.get(part).is_some());
    let value = if whole { value.clone() } else { json!({"matchLabels": value}) };
    let selector: LabelSelector = serde_json::from_value(value).map_err(|source| DecodeError {
        kind: "Scale".into(),
        path: "status.selector".into(),
        source,
    })?;
    Ok(selector_text(&selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_kubectl_would() {
        let whole = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&whole).unwrap(), "app=web,!old,tier in (a,b)");
        assert_eq!(selector(&json!({"app": "web", "b": "c"})).unwrap(), "app=web,b=c");
        assert_eq!(selector(&json!({})).unwrap(), "");
    }
}
