//! Reading objects, for rooms that may not write any.
use async_trait::async_trait;

use super::{ListQuery, Storage, StorageError};
use crate::api::{Object, ObjectKey, Resource};

/// Reads other objects; what admission and authorization look through.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// One object; none if it is not there.
    async fn get(
        &self,
        resource: &Resource,
        key: &ObjectKey,
    ) -> Result<Option<Object>, StorageError>;

    /// The objects of a namespace, or of all.
    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Object>, StorageError>;
}

#[async_trait]
impl Objects for Storage {
    async fn get(
        &self,
        resource: &Resource,
        key: &ObjectKey,
    ) -> Result<Option<Object>, StorageError> {
        match Storage::get(self, resource, key).await {
            Ok(stored) => stored.object().map(Some),
            Err(StorageError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Object>, StorageError> {
        let query = ListQuery { namespace: namespace.map(str::to_owned), ..ListQuery::default() };
        let page = Storage::list(self, resource, &query).await?;
        page.items.iter().map(super::Stored::object).collect()
    }
}
