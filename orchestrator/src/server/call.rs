//! One request about a resource, on its way through the pipeline.
use std::sync::Arc;

use http::HeaderMap;

use super::Server;
use super::path::ResourcePath;
use super::query::Query;
use crate::api::{ApiError, FieldErrors, Object, ObjectKey, Resource, User};

/// All that a verb needs to know of its request, but the body.
pub struct Call<'a> {
    /// The server.
    pub server: &'a Server,
    /// The resource.
    pub row: &'a Arc<Resource>,
    /// Who asks.
    pub user: &'a User,
    /// The object or collection.
    pub path: &'a ResourcePath,
    /// The options.
    pub query: &'a Query,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What to warn about, beside the answer.
    pub warnings: Vec<String>,
}

impl Call<'_> {
    /// The object that the path names.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.path.namespace.as_str(), self.path.name.as_str())
    }

    /// 404 for an object of this resource.
    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::NotFound { resource: self.row.group_resource(), name: name.to_owned() }
    }

    /// 409 for an object of this resource.
    pub fn conflict(&self, name: &str, why: impl Into<String>) -> ApiError {
        let resource = self.row.group_resource();
        ApiError::Conflict { resource, name: name.to_owned(), why: why.into() }
    }

    /// 422 for an object of this resource, if anything is wrong with it.
    pub fn refuse_invalid(&self, object: &Object, errors: FieldErrors) -> Result<(), ApiError> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid {
            group: self.row.gvk.group.to_string(),
            kind: self.row.gvk.kind.to_string(),
            name: object.metadata.name.clone().unwrap_or_default(),
            errors,
        })
    }
}
