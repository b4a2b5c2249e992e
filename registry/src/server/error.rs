//! Refusals: the one place that decides status codes and error codes.
//!
//! Codes are those of the distribution specification; bodies are its `{"errors": […]}`.
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::reference::{Digest, ReferenceError};
use crate::store::{PutManifestError, StoreError};

/// What the token endpoint wants to be shown.
const CHALLENGE: &str = "Basic realm=\"podium\"";

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Writing needs credentials, and these are missing or wrong.
    #[error("authentication required")]
    Unauthorized,
    /// The token endpoint was shown wrong credentials.
    #[error("incorrect username or password; the password is a token of the cluster")]
    Credentials,
    /// The path is not one of the specification.
    #[error("no such endpoint")]
    NoEndpoint,
    /// The endpoint does not know the method.
    #[error("the operation is unsupported")]
    Method,
    /// The name of a repository is not one.
    #[error("invalid repository name")]
    Name(#[source] ReferenceError),
    /// Nothing was ever pushed there.
    #[error("repository name not known to registry")]
    NameUnknown,
    /// A digest is missing or not one.
    #[error("provided digest is not valid: {0}")]
    Digest(String),
    /// The blob is not in the repository.
    #[error("blob unknown to registry")]
    BlobUnknown(Digest),
    /// There is no such upload.
    #[error("blob upload unknown to registry")]
    UploadUnknown,
    /// Another request writes to the upload.
    #[error("blob upload is being written by another request")]
    UploadBusy,
    /// The body broke off, or the client was silent for too long.
    #[error("blob upload was interrupted")]
    Interrupted,
    /// A chunk does not begin where the last one ended.
    #[error("blob upload is at {at}, the chunk begins elsewhere")]
    Chunk {
        /// Bytes received so far.
        at: u64,
        /// Where to go on.
        location: String,
    },
    /// A header or parameter makes no sense.
    #[error("invalid {0}")]
    Parameter(&'static str),
    /// Content is not as long as announced.
    #[error("provided length did not match content length")]
    Size,
    /// The requested range lies outside of the blob.
    #[error("the range is not satisfiable")]
    Range {
        /// Bytes of the blob.
        size: u64,
    },
    /// There is no such manifest.
    #[error("manifest unknown")]
    ManifestUnknown,
    /// There is one, but of a media type that the client does not take.
    #[error("manifest unknown: it is {0}, which the Accept header does not allow")]
    NotAcceptable(String),
    /// The tag of a manifest is not one.
    #[error("invalid manifest reference")]
    Tag(#[source] ReferenceError),
    /// More is asked for at once than is served.
    #[error("too many uploads at once")]
    TooManyUploads,
    /// A manifest was not stored.
    #[error("manifest refused")]
    Manifest(#[from] PutManifestError),
    /// The store failed or refused.
    #[error("store failed")]
    Store(#[from] StoreError),
}

impl Error {
    /// Status and code, decided here and nowhere else.
    fn decide(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized | Self::Credentials => (S::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::NoEndpoint => (S::NOT_FOUND, "UNSUPPORTED"),
            Self::Method => (S::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::Name(_) => (S::BAD_REQUEST, "NAME_INVALID"),
            Self::NameUnknown => (S::NOT_FOUND, "NAME_UNKNOWN"),
            Self::Digest(_) => (S::BAD_REQUEST, "DIGEST_INVALID"),
            Self::BlobUnknown(_) => (S::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::UploadUnknown => (S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::UploadBusy => (S::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Self::Interrupted => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::Chunk { .. } => (S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::Range { .. } => (S::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
            Self::Parameter(_) => (S::BAD_REQUEST, "UNSUPPORTED"),
            Self::Size => (S::BAD_REQUEST, "SIZE_INVALID"),
            Self::ManifestUnknown | Self::NotAcceptable(_) => (S::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::Tag(_) => (S::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::TooManyUploads => (S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::Manifest(error) => match error {
                PutManifestError::Invalid(crate::manifest::ManifestError::TooLarge) => {
                    (S::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID")
                }
                PutManifestError::Invalid(_) => (S::BAD_REQUEST, "MANIFEST_INVALID"),
                PutManifestError::DigestMismatch { .. } => (S::BAD_REQUEST, "DIGEST_INVALID"),
                PutManifestError::Incomplete(_) => (S::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
                PutManifestError::Store(error) => decide_store(error),
            },
            Self::Store(error) => decide_store(error),
        }
    }

    /// What a program can use of the refusal.
    fn detail(&self) -> Value {
        match self {
            Self::BlobUnknown(digest) => json!({ "digest": digest }),
            Self::Manifest(PutManifestError::Incomplete(missing)) => {
                missing.iter().map(|digest| json!({ "digest": digest })).collect()
            }
            Self::Manifest(PutManifestError::DigestMismatch { expected, actual })
            | Self::Store(StoreError::DigestMismatch { expected, actual }) => {
                json!({ "expected": expected, "actual": actual })
            }
            // What ails our disk is our own business.
            Self::Store(_) | Self::Manifest(PutManifestError::Store(_)) => Value::Null,
            other => chain(other).map_or(Value::Null, Value::String),
        }
    }

    /// What a person reads.
    fn message(&self) -> String {
        match self {
            Self::Manifest(PutManifestError::Store(error)) | Self::Store(error) => match error {
                StoreError::DigestMismatch { .. }
                | StoreError::TooLarge { .. }
                | StoreError::Full { .. } => error.to_string(),
                _ => "the registry's storage failed".to_owned(),
            },
            Self::Manifest(error) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let (status, code) = self.decide();
        if status.is_server_error() {
            let error: &dyn std::error::Error = &self;
            tracing::error!(error, reason = chain(error), "registry request failed");
        }
        let body = json!({"errors": [
            {"code": code, "message": self.message(), "detail": self.detail()}
        ]});
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Credentials => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Self::Chunk { at, location } => {
                headers.insert(header::RANGE, super::text(&super::received(at)));
                headers.insert(header::LOCATION, super::text(&location));
            }
            Self::Range { size } => {
                headers.insert(header::CONTENT_RANGE, super::text(&format!("bytes */{size}")));
            }
            _ => {}
        }
        response
    }
}

fn decide_store(error: &StoreError) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        StoreError::DigestMismatch { .. } => (S::BAD_REQUEST, "DIGEST_INVALID"),
        StoreError::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        StoreError::Full { .. } => (S::FORBIDDEN, "DENIED"),
        StoreError::NotFound(_) => (S::NOT_FOUND, "BLOB_UNKNOWN"),
        StoreError::Abandoned => (S::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        StoreError::Io { .. }
        | StoreError::Index { .. }
        | StoreError::IndexFile { .. }
        | StoreError::IndexInUse(_)
        | StoreError::IndexMissing(_)
        | StoreError::IndexDamaged { .. }
        | StoreError::CorruptIndex { .. }
        | StoreError::Corrupt { .. } => (S::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    }
}

/// The sources of an error in one line, if it has any.
fn chain(error: &dyn std::error::Error) -> Option<String> {
    let mut source = error.source()?;
    let mut text = source.to_string();
    while let Some(next) = source.source() {
        text = format!("{text}: {next}");
        source = next;
    }
    Some(text)
}
