//! The distribution server: the OCI distribution specification, version 1.1, over HTTP.
//!
//! Reading is open; writing needs HTTP basic authentication. Everything streams: a blob is never
//! held in memory, in neither direction. The answer to `/v2/` carries the challenge even though it
//! is 200, so that clients that look there first know how to authenticate when they write.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::reference::{Digest, RepositoryName};
use crate::store::Repositories;

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
}

/// The registry's service, for any listener or for calls in process.
pub fn router(store: Repositories, authenticator: Arc<dyn Authenticator>) -> Router {
    let server = Server { store, sessions: Sessions::default(), authenticator };
    Router::new().fallback(serve).with_state(server)
}

async fn serve(State(server): State<Server>, request: Request) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match server.dispatch(request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    let (name, value) = API_VERSION;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    tracing::debug!(%method, path, status = response.status().as_u16(), "registry request");
    response
}

impl Server {
    async fn dispatch(&self, request: Request) -> Result<Response<Body>, Error> {
        let endpoint = Endpoint::parse(request.uri().path())?;
        let query = Query::parse(request.uri().query())?;
        let (parts, body) = request.into_parts();
        let (method, headers) = (&parts.method, &parts.headers);
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

    /// `/v2/`: says that this is a registry, how to authenticate, and whether given credentials
    /// are good, which is how clients log in.
    fn base(&self, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        if headers.contains_key(header::AUTHORIZATION) {
            self.authorize(headers)?;
        }
        let mut response = json(&serde_json::json!({}));
        let challenge = HeaderValue::from_static(error::CHALLENGE);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        Ok(response)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Error> {
        let (user, password) = basic(headers).ok_or(Error::Unauthorized)?;
        if self.authenticator.may_write(&user, &password) {
            Ok(())
        } else {
            tracing::warn!(user, "registry denied a write");
            Err(Error::Unauthorized)
        }
    }
}

/// User and password of a basic `Authorization` header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
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
