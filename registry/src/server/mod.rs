//! The distribution server: the OCI distribution specification, version 1.1, over HTTP.
//!
//! Reading is open; writing needs a token ([`access`]). Everything streams: a blob is never held
//! in memory, in neither direction.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use futures::StreamExt as _;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::reference::{Digest, RepositoryName};
use crate::store::Repositories;

mod access;
mod blobs;
mod endpoint;
mod error;
mod listing;
mod manifests;
mod query;
mod range;
mod sessions;
mod uploads;

use endpoint::Endpoint;
use error::Error;
use query::Query;
use sessions::Sessions;

/// How long a client may send nothing while its body is awaited.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Says that this is a registry, as Docker's clients look for it.
const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// Names the digest of what is sent.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Decides who may write.
pub trait Authenticator: Send + Sync + 'static {
    /// Whether this user, with this password, may push and delete.
    fn may_write(&self, user: &str, password: &str) -> bool;
}

/// What every request needs.
#[derive(Clone)]
struct Server {
    store: Repositories,
    sessions: Sessions,
    authenticator: Arc<dyn Authenticator>,
    scheme: Scheme,
}

/// The registry's service, for any listener or for calls in process. `scheme` is what clients
/// reach it by, as it tells them an address of its own.
pub fn router(
    store: Repositories,
    authenticator: Arc<dyn Authenticator>,
    scheme: Scheme,
) -> Router {
    let server = Server { store, sessions: Sessions::default(), authenticator, scheme };
    Router::new().fallback(serve).with_state(server)
}

async fn serve(State(server): State<Server>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut response = match server.dispatch(&parts, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    let status = response.status();
    let headers = response.headers_mut();
    let (name, value) = API_VERSION;
    headers.insert(name, HeaderValue::from_static(value));
    if status == StatusCode::UNAUTHORIZED && !headers.contains_key(header::WWW_AUTHENTICATE) {
        headers.insert(header::WWW_AUTHENTICATE, access::challenge(&parts, &server.scheme));
    }
    let (method, path) = (&parts.method, parts.uri.path());
    tracing::debug!(%method, path, status = status.as_u16(), "registry request");
    response
}

impl Server {
    async fn dispatch(&self, parts: &Parts, body: Body) -> Result<Response<Body>, Error> {
        let (method, headers) = (&parts.method, &parts.headers);
        if access::asks_for_token(parts) {
            return self.token(headers);
        }
        let endpoint = Endpoint::parse(parts.uri.path())?;
        let query = Query::parse(parts.uri.query())?;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let sends_body = *method == Method::GET;
        if !reads || matches!(endpoint, Endpoint::Upload(..)) {
            self.authorize(headers)?;
        }
        match (endpoint, method) {
            (Endpoint::Base, _) if reads => self.base(headers),
            (Endpoint::Catalog, &Method::GET) => self.catalog(&query).await,
            (Endpoint::Tags(name), &Method::GET) => self.tags(&name, &query).await,
            (Endpoint::Referrers(name, subject), &Method::GET) => {
                self.referrers(&name, &subject, &query).await
            }
            (Endpoint::Blob(name, digest), _) if reads => {
                self.get_blob(&name, &digest, headers, sends_body).await
            }
            (Endpoint::Blob(name, digest), &Method::DELETE) => {
                self.delete_blob(&name, &digest).await
            }
            (Endpoint::Manifest(name, wanted), _) if reads => {
                self.get_manifest(&name, wanted, headers, sends_body).await
            }
            (Endpoint::Manifest(name, wanted), &Method::PUT) => {
                self.put_manifest(&name, wanted, headers, body).await
            }
            (Endpoint::Manifest(name, wanted), &Method::DELETE) => {
                self.delete_manifest(&name, wanted).await
            }
            (Endpoint::Uploads(name), &Method::POST) => {
                self.begin_upload(name, &query, headers, body).await
            }
            (Endpoint::Upload(name, id), &Method::GET) => self.upload_status(&name, id),
            (Endpoint::Upload(name, id), &Method::PATCH) => {
                self.continue_upload(&name, id, headers, body).await
            }
            (Endpoint::Upload(name, id), &Method::PUT) => {
                self.finish_upload(&name, id, &query, headers, body).await
            }
            (Endpoint::Upload(name, id), &Method::DELETE) => self.cancel_upload(&name, id),
            _ => Err(Error::Method),
        }
    }
}

/// The next piece of a body, `None` at its end.
async fn next_chunk(body: &mut axum::body::BodyDataStream) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(BODY_TIMEOUT, body.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(_))) | Err(_) => Err(Error::Interrupted),
    }
}

/// A header of a request as text, if it is there and is text.
fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A header value of text that we made ourselves.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("names, digests and numbers are visible ASCII")
}

/// How far an upload is, in the form of its `Range` header.
fn received(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

fn blob_location(repository: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// A response without a body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A response that says where something was made.
fn created(location: &str, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, text(location));
    headers.insert(CONTENT_DIGEST, text(digest.as_str()));
    response
}

fn json(document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(document.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
