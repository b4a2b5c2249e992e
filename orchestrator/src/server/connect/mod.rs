//! Subresources with behaviour of their own, one file each.
use axum::body::Body;
use http::Method;

use super::call::Call;
use super::output::Reply;
use crate::api::ApiError;

pub mod absent;
mod binding;
mod eviction;
mod finalize;
mod log;
pub mod proxy;
mod resize;
pub mod scale;
mod token;

/// Answers a request for a subresource that the row lists and whose verb it allows.
pub async fn call(call: &mut Call<'_>, method: &Method, body: Body) -> Result<Reply, ApiError> {
    let row = call.row.clone();
    match (row.gvk.group.as_ref(), row.plural.as_ref(), call.path.subresource.as_str()) {
        ("", "pods", "binding") => binding::create(call, body).await,
        ("", "pods", "eviction") => eviction::create(call, body).await,
        ("", "pods", "log") => log::get(call).await,
        ("", "pods", "resize") => resize::call(call, method, body).await,
        ("", "namespaces", "finalize") => finalize::update(call, body).await,
        ("", "serviceaccounts", "token") => token::create(call, body).await,
        _ => Err(ApiError::NoSuchPath),
    }
}
