//! What may stand in annotations.
use std::collections::BTreeMap;

use super::{FieldError, FieldErrors, FieldPath, names};

/// As many bytes as the annotations of an object may have, keys included, as in Kubernetes.
const BYTES_MAX: usize = 256 * 1024;

/// Everything that is wrong with annotations that stand at `path`.
pub fn validate(path: &FieldPath, annotations: Option<&BTreeMap<String, String>>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        if let Err(why) = names::qualified(&key.to_lowercase()) {
            errors.push(FieldError::Invalid(path.clone(), key.as_str().into(), why));
        }
        size += key.len() + value.len();
    }
    errors.check(size <= BYTES_MAX, || FieldError::TooLong(path.clone(), BYTES_MAX));
    errors
}
