//! `namespaces/finalize`: the finalizers in a namespace's spec, which only this changes.
use axum::body::Body;
use serde_json::{Value, json};

use crate::api::{ApiError, Object};
use crate::server::body;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::WriteOptions;
use crate::server::write::{self, Part};

/// Sets the finalizers; a namespace that is being deleted goes with its last one.
pub async fn update(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(call.query, "UpdateOptions")?;
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let wished = write::object(call, document.value)?;
    let finalizers = wished.body.get("spec").and_then(|spec| spec.get("finalizers")).cloned();
    let updated = write::update(call, Part::Unchecked, &options, |old| {
        let mut new = with_finalizers(old.clone(), finalizers.clone());
        new.metadata.resource_version.clone_from(&wished.metadata.resource_version);
        Ok(new.into())
    });
    Ok(Reply::ok(updated.await?))
}

fn with_finalizers(mut namespace: Object, finalizers: Option<Value>) -> Object {
    let spec = namespace.body.entry("spec").or_insert_with(|| json!({}));
    if let Some(spec) = spec.as_object_mut() {
        match finalizers {
            Some(finalizers) if finalizers.as_array().is_some_and(|list| !list.is_empty()) => {
                spec.insert("finalizers".into(), finalizers);
            }
            _ => {
                spec.remove("finalizers");
            }
        }
    }
    namespace
}
