//! Plugins that must look at other objects before a write is accepted.
//!
//! One file each, one explicit list in [`Chain::new`]. They read through
//! [`Objects`], never through a client, and decide nothing a kind could decide
//! by itself.
use std::sync::Arc;

use async_trait::async_trait;

use crate::api::{ApiError, Object, ObjectKey, Resource, ResourceTable, User};
use crate::storage::Objects;

mod default_ingress_class;
mod default_tolerations;
mod image_imports;
mod namespace_lifecycle;
mod priority;
mod runtime_class;
mod service_account;
mod spec;

pub use image_imports::{Images, KnownImages};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stores a new object.
    Create,
    /// Replaces one.
    Update,
    /// Removes one.
    Delete,
}

/// The write being admitted.
pub struct Request<'a> {
    /// What it does.
    pub action: Action,
    /// The resource.
    pub row: &'a Resource,
    /// The namespace; empty for cluster scope.
    pub namespace: &'a str,
    /// The object; empty for a create.
    pub name: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Who writes.
    pub user: &'a User,
    /// The object as it was, unless it is new.
    pub old: Option<&'a Object>,
    /// Whether nothing is stored.
    pub dry_run: bool,
}

impl Request<'_> {
    /// Whether the write is about this resource itself.
    pub fn is_for(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.row.gvk.group == group && self.row.plural == plural
    }

    /// 403 in Kubernetes' words: `pods "x" is forbidden: why`.
    pub fn forbidden(&self, name: &str, why: impl std::fmt::Display) -> ApiError {
        let resource = self.row.group_resource();
        let message = format!("{resource} {name:?} is forbidden: {why}");
        ApiError::Forbidden { resource, name: name.to_owned(), message }
    }
}

/// Other objects, found by the names of their resources.
pub struct Others {
    objects: Arc<dyn Objects>,
    table: ResourceTable,
}

impl Others {
    /// The object, if there is one.
    pub async fn get(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        key: &ObjectKey,
    ) -> Result<Option<Object>, ApiError> {
        let Some(row) = self.table.get(group, version, plural) else { return Ok(None) };
        let found = self.objects.get(row, key).await.map_err(|error| {
            ApiError::Internal(format!("cannot look up {plural} {key}: {error}"))
        })?;
        Ok(found)
    }

    /// The objects of a namespace, or of all.
    pub async fn list(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Object>, ApiError> {
        let Some(row) = self.table.get(group, version, plural) else { return Ok(Vec::new()) };
        let found = self.objects.list(row, namespace).await;
        found.map_err(|error| ApiError::Internal(format!("cannot list {plural}: {error}")))
    }
}

/// One rule about writes.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Whether it has something to say about a write.
    fn handles(&self, request: &Request<'_>) -> bool;

    /// Changes the object to be stored.
    async fn mutate(&self, _: &Request<'_>, _: &mut Object, _: &Others) -> Result<(), ApiError> {
        Ok(())
    }

    /// Refuses the write; there is no object in a deletion.
    async fn validate(
        &self,
        _: &Request<'_>,
        _: Option<&Object>,
        _: &Others,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The plugins, in the order in which they are asked.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    others: Others,
}

impl Chain {
    /// Every plugin, reading through `objects`.
    pub fn new(objects: Arc<dyn Objects>, table: ResourceTable, images: KnownImages) -> Self {
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(priority::Priority),
            Box::new(runtime_class::RuntimeClass),
            Box::new(default_ingress_class::DefaultIngressClass),
            Box::new(default_tolerations::DefaultTolerationSeconds),
            Box::new(image_imports::ImageImports(images)),
        ];
        Self { plugins, others: Others { objects, table } }
    }

    /// Lets each plugin change the object to be stored.
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Object) -> Result<(), ApiError> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(request)) {
            plugin.mutate(request, object, &self.others).await?;
        }
        Ok(())
    }

    /// Lets each plugin refuse the write.
    pub async fn validate(
        &self,
        request: &Request<'_>,
        object: Option<&Object>,
    ) -> Result<(), ApiError> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(request)) {
            plugin.validate(request, object, &self.others).await?;
        }
        Ok(())
    }
}
