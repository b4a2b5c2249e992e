//! Answers: an object, a list or a refusal, in the form the client accepts.
use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::negotiate::{Accepted, Encoding, Shape};
use crate::api::{self, ApiError, Object};
use crate::storage::{ListPage, Stored};

pub mod table;

/// A response of the server.
pub type Response = http::Response<Body>;

/// As long as one warning may be, so that no client chokes on the header.
const WARNING_MAX: usize = 4 * 1024;

/// As many warnings as an answer carries.
const WARNINGS_MAX: usize = 32;

/// What a verb answers, before it takes the form the client accepts.
pub enum Reply {
    /// An object.
    Object(StatusCode, Served),
    /// A page of a list.
    List(ListPage),
    /// Objects that were made for this answer, all of them.
    Objects(Vec<Object>),
    /// A `Status`, which has one form only.
    Status(StatusCode, Value),
    /// A response that is complete, such as a stream.
    Ready(Response),
}

impl Reply {
    /// An object with the status 200.
    pub fn ok(object: Served) -> Self {
        Self::Object(StatusCode::OK, object)
    }
}

/// An object as the API shows it: its bytes, or its parts.
#[derive(Clone)]
pub enum Served {
    /// As it is stored.
    Stored(Stored),
    /// As it was made for this answer.
    Object(Box<Object>),
}

impl Served {
    /// Its JSON.
    pub fn json(&self) -> Result<Bytes, ApiError> {
        match self {
            Self::Stored(stored) => Ok(stored.json()?),
            Self::Object(object) => encode(object),
        }
    }

    /// Its parts.
    pub fn object(&self) -> Result<Object, ApiError> {
        match self {
            Self::Stored(stored) => Ok(stored.object()?),
            Self::Object(object) => Ok((**object).clone()),
        }
    }
}

impl From<Object> for Served {
    fn from(object: Object) -> Self {
        Self::Object(Box::new(object))
    }
}

/// The response that says `reply` in the form the client accepts.
pub fn render(call: &Call<'_>, accepted: Accepted, reply: Reply) -> Result<Response, ApiError> {
    let (status, json) = match reply {
        Reply::Ready(response) => return Ok(response),
        Reply::Status(status, value) => (status, Bytes::from(value.to_string())),
        Reply::Object(status, served) => (status, object(call, accepted.shape, &served)?),
        Reply::List(page) => (StatusCode::OK, list(call, accepted.shape, page)?),
        Reply::Objects(objects) => (StatusCode::OK, made(call, accepted.shape, &objects)?),
    };
    let pretty = call.query.flag("pretty");
    let mut response = match accepted.encoding {
        Encoding::Json if pretty => bytes(status, "application/json", indented(&json)?),
        Encoding::Json => bytes(status, "application/json", json),
        Encoding::Yaml => bytes(status, "application/yaml", yaml(&json)?),
    };
    for text in call.warnings.iter().take(WARNINGS_MAX) {
        if let Some(value) = warning(text) {
            response.headers_mut().append(WARNING, value);
        }
    }
    Ok(response)
}

/// The response that refuses a request.
pub fn refusal(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response =
        bytes(status, "application/json", Bytes::from(error.to_status().to_string()));
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A complete response.
pub fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// One object in a shape.
pub fn object(call: &Call<'_>, shape: Shape, served: &Served) -> Result<Bytes, ApiError> {
    match shape {
        Shape::Whole => served.json(),
        Shape::PartialMetadata => Ok(Bytes::from(partial_metadata(&served.object()?).to_string())),
        Shape::Table => {
            let object = served.object()?;
            let metadata = json!({"resourceVersion": object.metadata.resource_version});
            Ok(Bytes::from(one_row(call, &object, metadata, true)?.to_string()))
        }
    }
}

/// A table of one row; a watch sends the column definitions with its first event alone.
pub fn one_row(
    call: &Call<'_>,
    object: &Object,
    metadata: Value,
    definitions: bool,
) -> Result<Value, ApiError> {
    let include = table::Include::parse(call.query)?;
    let row = table::row(call.row, object, include, call.server.now())?;
    Ok(table::table(call.row, metadata, definitions, vec![row]))
}

/// The metadata of an object, as an object of its own.
pub fn partial_metadata(object: &Object) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.metadata,
    })
}

/// The JSON of an object.
pub fn encode(object: &Object) -> Result<Bytes, ApiError> {
    serde_json::to_vec(object)
        .map(Bytes::from)
        .map_err(|error| ApiError::Internal(format!("cannot encode an object: {error}")))
}

fn list(call: &Call<'_>, shape: Shape, page: ListPage) -> Result<Bytes, ApiError> {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.continue_token {
        metadata["continue"] = json!(token);
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let row = call.row;
    match shape {
        Shape::Whole => {
            let items = page.items.into_iter().map(|item| Ok(item.json()?));
            let kind = format!("{}List", row.gvk.kind);
            join(&kind, &row.gvk.api_version(), &metadata, items)
        }
        Shape::PartialMetadata => {
            let items = page.items.into_iter().map(|item| {
                let object = item.object()?;
                Ok(Bytes::from(partial_metadata(&object).to_string()))
            });
            join("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata, items)
        }
        Shape::Table => {
            let include = table::Include::parse(call.query)?;
            let now = call.server.now();
            let rows =
                page.items.into_iter().map(|item| table::row(row, &item.object()?, include, now));
            let rows = rows.collect::<Result<_, ApiError>>()?;
            Ok(Bytes::from(table::table(row, metadata, true, rows).to_string()))
        }
    }
}

/// A list of objects that are not stored, and so have no resourceVersion together.
fn made(call: &Call<'_>, shape: Shape, objects: &[Object]) -> Result<Bytes, ApiError> {
    let (row, metadata) = (call.row, json!({}));
    match shape {
        Shape::Whole => {
            let kind = format!("{}List", row.gvk.kind);
            join(&kind, &row.gvk.api_version(), &metadata, objects.iter().map(encode))
        }
        Shape::PartialMetadata => {
            let items = objects.iter().map(|o| Ok(Bytes::from(partial_metadata(o).to_string())));
            join("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata, items)
        }
        Shape::Table => {
            let include = table::Include::parse(call.query)?;
            let now = call.server.now();
            let rows = objects.iter().map(|object| table::row(row, object, include, now));
            let rows = rows.collect::<Result<_, ApiError>>()?;
            Ok(Bytes::from(table::table(row, metadata, true, rows).to_string()))
        }
    }
}

/// Joins items that are JSON already: decoding them again would cost ten times as much.
fn join(
    kind: &str,
    api_version: &str,
    metadata: &Value,
    items: impl Iterator<Item = Result<Bytes, ApiError>>,
) -> Result<Bytes, ApiError> {
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let size: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut json = Vec::with_capacity(size + 256);
    let head = format!(
        r#"{{"kind":{},"apiVersion":{},"metadata":{metadata},"items":["#,
        json!(kind),
        json!(api_version)
    );
    json.extend_from_slice(head.as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(item);
    }
    json.extend_from_slice(b"]}");
    Ok(Bytes::from(json))
}

fn indented(json: &[u8]) -> Result<Bytes, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(unreadable)?;
    serde_json::to_vec_pretty(&value).map(Bytes::from).map_err(unreadable)
}

fn yaml(json: &[u8]) -> Result<Bytes, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(unreadable)?;
    api::yaml::to_string(&value).map(Bytes::from).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Internal(format!("cannot encode the answer: {error}"))
}

/// A `Warning` header (RFC 7234, code 299: persistent).
fn warning(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 16);
    quoted.push_str("299 - \"");
    for letter in text.chars().filter(|letter| !letter.is_control()).take(WARNING_MAX) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    HeaderValue::try_from(quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let header = warning("unknown field \"spec.x\"\r\nX: y").unwrap();
        assert_eq!(header, r#"299 - "unknown field \"spec.x\"X: y""#);
    }

    #[test]
    fn lists_are_joined_from_bytes() {
        let items = ["{\"a\":1}", "{}"].map(|item| Ok(Bytes::from(item)));
        let json = join("PodList", "v1", &json!({"resourceVersion": "7"}), items.into_iter());
        let value: Value = serde_json::from_slice(&json.unwrap()).unwrap();
        assert_eq!(
            value,
            json!({
                "kind": "PodList", "apiVersion": "v1",
                "metadata": {"resourceVersion": "7"}, "items": [{"a": 1}, {}],
            })
        );
    }
}
