//! create.
use axum::body::Body;
use http::StatusCode;

use crate::api::ApiError;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::WriteOptions;
use crate::server::write::Changed;
use crate::server::{body, pipeline, write};

/// Stores a new object, or answers it where the resource is computed.
pub async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    if call.row.computed.is_some() {
        return pipeline::compute(call, body).await;
    }
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let wanted = Changed::decoded(write::decoded(call, document)?);
    if wanted.object.metadata.resource_version.as_deref().is_some_and(|version| !version.is_empty())
    {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::BadRequest(why.into()));
    }
    let created = write::create(call, wanted, &options).await?;
    Ok(Reply::Object(StatusCode::CREATED, created))
}
