//! watch: a stream of JSON documents, one per change, that ends by itself.
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::options::watch_query;
use crate::api::ApiError;
use crate::server::call::Call;
use crate::server::follow::Follow;
use crate::server::negotiate::Shape;
use crate::server::output::table::Include;
use crate::server::output::{Reply, Response};
use crate::storage::StorageError;

/// The least time after which a watch ends that names none, as kube-apiserver has it;
/// it ends up to as much later, so that clients do not all come back at once.
const LEAST_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Follows the changes of the objects that match.
pub async fn watch(call: &Call<'_>, shape: Shape) -> Result<Reply, ApiError> {
    let query = watch_query(call)?;
    let server = call.server;
    let timeout = match call.query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => LEAST_TIMEOUT.mul_f64(1.0 + server.entropy().fraction()),
    };
    let include = Include::parse(call.query)?;
    let events = match server.storage().watch(call.row, &query).await {
        Ok(events) => events,
        // Clients start over on an event that says so, but try the same again on a refusal.
        Err(error @ StorageError::Expired(_)) => stream::iter([Err(error)]).boxed(),
        Err(error) => return Err(error.into()),
    };
    let mut follow = Follow::new(call.row.clone(), server.clone(), shape, include);
    let stop = server.stopping();
    let lines = events
        .map(move |event| follow.line(event))
        .take_until(async move {
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = stop.cancelled() => {}
            }
        })
        .map(Ok::<Bytes, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(lines));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(Reply::Ready(response))
}
