//! Nothing is created in a namespace that is not there or is being deleted,
//! and some namespaces cannot be deleted.
use async_trait::async_trait;

use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, GroupResource, Object, ObjectKey};

/// Namespaces that the cluster itself needs.
const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

/// Reviews are answered, not stored: they need no namespace.
const ANSWERED: &str = "authorization.k8s.io";

/// The rule.
pub struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn handles(&self, request: &Request<'_>) -> bool {
        match request.action {
            Action::Create => request.row.namespaced() && request.row.gvk.group != ANSWERED,
            Action::Update => false,
            Action::Delete => request.is_for("", "namespaces"),
        }
    }

    async fn mutate(
        &self,
        request: &Request<'_>,
        object: &mut Object,
        others: &Others,
    ) -> Result<(), ApiError> {
        if request.action != Action::Create {
            return Ok(());
        }
        let namespace = request.namespace;
        let key = ObjectKey::cluster(namespace);
        let Some(found) = others.get("", "v1", "namespaces", &key).await? else {
            let resource = GroupResource { group: "".into(), resource: "namespaces".into() };
            return Err(ApiError::NotFound { resource, name: namespace.to_owned() });
        };
        if found.metadata.deletion_timestamp.is_none() {
            return Ok(());
        }
        Err(ApiError::NamespaceTerminating {
            resource: request.row.group_resource(),
            name: object.metadata.name.clone().unwrap_or_default(),
            namespace: namespace.to_owned(),
        })
    }

    async fn validate(
        &self,
        request: &Request<'_>,
        _: Option<&Object>,
        _: &Others,
    ) -> Result<(), ApiError> {
        if request.action == Action::Delete && IMMORTAL.contains(&request.name) {
            return Err(request.forbidden(request.name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
