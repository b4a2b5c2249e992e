//! What the store's refusals are to a client.
use crate::api::{ApiError, Resource};
use crate::storage::{OBJECT_MAX, StorageError};

/// The words of a write that came too late; clients retry on them.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// The refusal of a request about the object `name` of `row`.
pub fn storage_error(row: &Resource, name: &str, error: StorageError) -> ApiError {
    let (resource, name) = (row.group_resource(), name.to_owned());
    match error {
        StorageError::NotFound(_) => ApiError::NotFound { resource, name },
        StorageError::AlreadyExists(_) => ApiError::AlreadyExists { resource, name },
        StorageError::Conflict(_) => ApiError::Conflict { resource, name, why: MODIFIED.into() },
        error => error.into(),
    }
}

impl From<StorageError> for ApiError {
    /// The refusal of a request about no object in particular.
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Expired(why) => Self::Expired(why),
            StorageError::InvalidQuery(why) => Self::BadRequest(why),
            error @ StorageError::TooDeep => Self::Unprocessable(error.to_string()),
            StorageError::TooLarge => Self::TooLarge(OBJECT_MAX),
            StorageError::OutOfSpace(why) => Self::OutOfSpace(why),
            error @ StorageError::Future { .. } => Self::Timeout(error.to_string()),
            error => Self::Internal(chain(&error)),
        }
    }
}

/// An error with all its reasons.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(why) = source {
        text.push_str(": ");
        text.push_str(&why.to_string());
        source = why.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_try_again_when_the_disk_is_full() {
        let why = "the disk of /var/podium is full";
        let error = ApiError::from(StorageError::OutOfSpace(why.into()));
        assert_eq!((error.code(), error.reason()), (503, "ServiceUnavailable"));
        assert_eq!(error.retry_after(), Some(1));
        assert_eq!(error.to_string(), why);
    }
}
