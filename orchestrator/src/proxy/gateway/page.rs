//! What the gateway itself answers, in plain words.
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use shim::network::Response;

/// A page with a status and a sentence.
pub(super) fn page(status: StatusCode, why: &str) -> Response {
    let text = format!("{status}: {why}\n");
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// A page for a client that should come again in a moment.
pub(super) fn come_again(why: &str) -> Response {
    let mut response = page(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
