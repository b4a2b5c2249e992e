//! update: PUT of a whole object.
use axum::body::Body;
use http::StatusCode;

use crate::api::{ApiError, FieldError, FieldErrors, FieldPath};
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::WriteOptions;
use crate::server::write::{self, Changed, Part};
use crate::server::{body, errors};

/// Replaces an object by the one in the body.
pub async fn update(call: &mut Call<'_>, body: Body, part: Part) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(call.query, "UpdateOptions")?;
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let (mut object, oddities) = write::decoded(call, document)?;
    let name = call.path.name.clone();
    match object.metadata.name.as_deref().unwrap_or_default() {
        "" => object.metadata.name = Some(name.clone()),
        other if other != name => {
            return Err(ApiError::BadRequest(format!(
                "the name of the object ({other}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    if version.is_empty() && !call.row.unconditional_update && part == Part::Object {
        let path = FieldPath::new("metadata").child("resourceVersion");
        let why = "must be specified for an update".to_owned();
        let error = FieldError::Invalid(path, serde_json::json!(0), why);
        call.refuse_invalid(&object, FieldErrors(vec![error]))?;
    }
    let outcome = write::update(call, part, &options, |_| {
        let (object, oddities) = (object.clone(), oddities.clone());
        Ok(Changed::decoded((object, oddities)))
    });
    match outcome.await {
        Err(ApiError::NotFound { .. }) if call.row.create_on_update && part == Part::Object => {
            if object.metadata.resource_version.as_deref().is_some_and(|rv| !rv.is_empty()) {
                return Err(call.conflict(&name, errors::MODIFIED));
            }
            let created =
                write::create(call, Changed::decoded((object, oddities)), &options).await?;
            Ok(Reply::Object(StatusCode::CREATED, created))
        }
        outcome => Ok(Reply::ok(outcome?)),
    }
}
