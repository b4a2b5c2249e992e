//! Refusals as a client sees them: the one place that decides HTTP status
//! codes and the texts of `Status`.
use serde_json::{Value, json};

use super::{DecodeError, FieldErrors, GroupResource};

/// Why the API server refused a request; `Display` is the `Status` message.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400: the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// 401: no valid credentials.
    #[error("Unauthorized")]
    Unauthorized,
    /// 403: the caller may not do this, or an admission plugin refused. The text is complete.
    #[error("{message}")]
    Forbidden {
        /// The resource.
        resource: GroupResource,
        /// The object; may be empty.
        name: String,
        /// The whole message.
        message: String,
    },
    /// 403: nothing is created any more where all goes.
    #[error(
        "{resource} {name:?} is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
    )]
    NamespaceTerminating {
        /// The resource.
        resource: GroupResource,
        /// The object; may be empty.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// 404: no such object.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// The resource.
        resource: GroupResource,
        /// The object.
        name: String,
    },
    /// 404: no such path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// 405: not a verb of this resource.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406: no answer in a form the client accepts.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(String),
    /// 409: the name is taken.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// The resource.
        resource: GroupResource,
        /// The object.
        name: String,
    },
    /// 409: somebody else wrote first, or a precondition fails.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {why}")]
    Conflict {
        /// The resource.
        resource: GroupResource,
        /// The object.
        name: String,
        /// What stands against it.
        why: String,
    },
    /// 409: others set what a configuration would change.
    #[error("{message}")]
    ApplyConflict {
        /// The whole message.
        message: String,
        /// Who set it and which field it is, each.
        causes: Vec<(String, String)>,
    },
    /// 410: the history asked for is gone; list again.
    #[error("{0}")]
    Expired(String),
    /// 413: the body is larger than this many bytes.
    #[error("Request entity too large: limit is {0}")]
    TooLarge(usize),
    /// 415: the body is in a form the server does not read.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
    /// 422: fields are wrong.
    #[error("{kind}{group} {name:?} is invalid: {errors}", group = dotted(.group))]
    Invalid {
        /// API group of the kind.
        group: String,
        /// The kind.
        kind: String,
        /// The object.
        name: String,
        /// What is wrong.
        errors: FieldErrors,
    },
    /// 422: the server understood, but cannot do it.
    #[error("{0}")]
    Unprocessable(String),
    /// 429: try again after this many seconds.
    #[error("{message}")]
    TooManyRequests {
        /// Why.
        message: String,
        /// Seconds to wait; 0 does not say.
        retry_after: u32,
        /// What stands against it, as a reason and its words.
        cause: Option<(&'static str, String)>,
    },
    /// 500: asked for what cannot be done with the objects as they are, which Kubernetes answers so.
    /// The text is complete.
    #[error("{0}")]
    Unsupported(String),
    /// 500: our fault. The text must not quote a secret.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// 503: not now.
    #[error("{0}")]
    Unavailable(String),
    /// 503: nothing can be written until space is freed; clients try again for a while.
    #[error("{0}")]
    OutOfSpace(String),
    /// 504: it took too long.
    #[error("Timeout: {0}")]
    Timeout(String),
}

impl ApiError {
    /// HTTP status code.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } | Self::NamespaceTerminating { .. } => 403,
            Self::NotFound { .. } | Self::NoSuchPath => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable(_) => 406,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict { .. } => 409,
            Self::Expired(_) => 410,
            Self::TooLarge(_) => 413,
            Self::UnsupportedMediaType(_) => 415,
            Self::Invalid { .. } | Self::Unprocessable(_) => 422,
            Self::TooManyRequests { .. } => 429,
            Self::Internal(_) | Self::Unsupported(_) => 500,
            Self::Unavailable(_) | Self::OutOfSpace(_) => 503,
            Self::Timeout(_) => 504,
        }
    }

    /// `reason` of the `Status`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } | Self::NamespaceTerminating { .. } => "Forbidden",
            Self::NotFound { .. } | Self::NoSuchPath => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable(_) => "NotAcceptable",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict { .. } => "Conflict",
            Self::Expired(_) => "Expired",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::Invalid { .. } | Self::Unprocessable(_) => "Invalid",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Internal(_) => "InternalError",
            Self::Unsupported(_) => "",
            Self::Unavailable(_) | Self::OutOfSpace(_) => "ServiceUnavailable",
            Self::Timeout(_) => "Timeout",
        }
    }

    /// The `Status` object of this refusal.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": self.reason(), "code": self.code(),
        });
        if let Some(status) = status.as_object_mut().filter(|_| self.reason().is_empty()) {
            status.remove("reason");
        }
        let details = self.details();
        // Clients look into the details of what is not found, be they empty.
        let looked_at = matches!(self, Self::NoSuchPath);
        if looked_at || details.as_object().is_some_and(|details| !details.is_empty()) {
            status["details"] = details;
        }
        status
    }

    /// Seconds after which to try again, for the `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_after, .. } if *retry_after > 0 => Some(*retry_after),
            Self::OutOfSpace(_) => Some(1),
            _ => None,
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::Forbidden { resource, name, .. }
            | Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. } => about(resource, name),
            Self::NamespaceTerminating { resource, name, namespace } => {
                let mut details = about(resource, name);
                details["causes"] = json!([{
                    "reason": "NamespaceTerminating", "field": "metadata.namespace",
                    "message": format!("namespace {namespace} is being terminated"),
                }]);
                details
            }
            Self::Invalid { group, kind, name, errors } => {
                let causes: Vec<Value> = errors
                    .0
                    .iter()
                    .map(|error| {
                        json!({
                            "reason": error.reason(), "message": error.detail(),
                            "field": error.path().to_string(),
                        })
                    })
                    .collect();
                let mut details = json!({"name": name, "kind": kind, "causes": causes});
                if !group.is_empty() {
                    details["group"] = json!(group);
                }
                details
            }
            Self::TooManyRequests { retry_after, cause, .. } => {
                let mut details = json!({});
                if *retry_after > 0 {
                    details["retryAfterSeconds"] = json!(retry_after);
                }
                if let Some((reason, message)) = cause {
                    details["causes"] = json!([{"reason": reason, "message": message}]);
                }
                details
            }
            Self::ApplyConflict { causes, .. } => {
                let cause = |(manager, field): &(String, String)| {
                    json!({
                        "reason": "FieldManagerConflict",
                        "message": format!("conflict with {manager}"), "field": field,
                    })
                };
                json!({"causes": causes.iter().map(cause).collect::<Vec<_>>()})
            }
            _ => json!({}),
        }
    }
}

impl From<DecodeError> for ApiError {
    /// The words kubectl and client-go expect for a document that does not fit its kind.
    fn from(error: DecodeError) -> Self {
        let (kind, path, source) = (&error.kind, &error.path, &error.source);
        Self::BadRequest(if kind.is_empty() {
            format!("couldn't get version/kind; json parse error: {source}")
        } else {
            format!("{kind} in version cannot be handled as a {kind}: {path}: {source}")
        })
    }
}

/// The details of a refusal that is about an object.
fn about(resource: &GroupResource, name: &str) -> Value {
    let mut details = json!({"kind": resource.resource});
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    details
}

fn dotted(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(".{group}") }
}
