//! The body of a request: read within bounds, decoded from what it says it is.
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::api::{self, ApiError};

mod duplicates;

/// As many bytes as a body may have: what kube-apiserver takes.
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// Forms of a body that holds an object.
const OBJECT_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// A decoded body.
#[derive(Debug, Default)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Paths of fields that stood in it twice.
    pub duplicates: Vec<String>,
}

/// How long a client may take to send its body.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a body of at most [`BODY_MAX`] bytes.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    // Before the first byte, so that a client that waits to be told to go on sends none.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(ApiError::TooLarge(BODY_MAX));
    }
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await;
    let whole = whole.map_err(|_| ApiError::Timeout("the body did not arrive in time".into()))?;
    match whole {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(BODY_MAX)),
        Err(error) => Err(ApiError::BadRequest(format!("unable to read the body: {error}"))),
    }
}

/// The media type of a request's body, without parameters; JSON if it names none.
pub fn media_type(headers: &HeaderMap) -> &str {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match named.and_then(|value| value.split(';').next()).map(str::trim) {
        // The Python client sends none with a POST, curl that of a form.
        None | Some("" | "application/x-www-form-urlencoded") => "application/json",
        Some(media_type) => media_type,
    }
}

/// Decodes an object, or options, of `media_type`.
pub fn decode(media_type: &str, bytes: &[u8]) -> Result<Document, ApiError> {
    match media_type {
        "application/json" => duplicates::from_json(bytes).map_err(|error| {
            ApiError::BadRequest(format!("couldn't get version/kind; json parse error: {error}"))
        }),
        "application/yaml" | "application/x-yaml" => yaml(bytes).map_err(|error| {
            ApiError::BadRequest(format!("error converting YAML to JSON: {error}"))
        }),
        "application/vnd.kubernetes.protobuf" => protobuf(bytes),
        _ => Err(ApiError::UnsupportedMediaType(OBJECT_TYPES.into())),
    }
}

/// Decodes YAML, of which JSON is a part.
pub fn yaml(bytes: &[u8]) -> Result<Document, api::yaml::Error> {
    duplicates::from_yaml(bytes)
}

fn protobuf(bytes: &[u8]) -> Result<Document, ApiError> {
    let value =
        api::protobuf::decode(bytes).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    Ok(Document { value, duplicates: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let body = |bytes: usize| Body::from(vec![b' '; bytes]);
        assert_eq!(read(body(BODY_MAX)).await.unwrap().len(), BODY_MAX);
        assert!(matches!(read(body(BODY_MAX + 1)).await, Err(ApiError::TooLarge(BODY_MAX))));
    }

    #[test]
    fn json_and_yaml_are_read() {
        let json = decode("application/json", br#"{"a": [1]}"#).unwrap().value;
        assert_eq!(json, decode("application/yaml", b"a:\n- 1\n").unwrap().value);
        assert_eq!(json, json!({"a": [1]}));
    }

    #[test]
    fn broken_bodies_are_bad_requests() {
        for (media_type, bytes) in [
            ("application/json", &b"{\"a\": "[..]),
            ("application/yaml", b"a: [1"),
            ("application/vnd.kubernetes.protobuf", b"k8s"),
        ] {
            let error = decode(media_type, bytes).unwrap_err();
            assert_eq!(error.code(), 400, "{error}");
        }
        assert_eq!(decode("application/cbor", b"").unwrap_err().code(), 415);
    }
}
