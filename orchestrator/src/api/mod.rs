//! What all kinds share: the object, the resource table, selectors, field
//! errors, patches, tables, `Status`.
//!
//! Nothing here knows a particular kind, a store or HTTP, so every other room
//! may use it.

mod age;
pub mod annotations;
mod authorize;
mod computed;
pub mod cron;
pub mod document;
mod field;
mod gateway;
pub mod indexes;
pub mod int_or_string;
mod key;
pub mod managed_fields;
pub mod names;
mod object;
pub mod patch;
pub mod protobuf;
mod quantity;
mod resource;
pub mod resource_requests;
pub mod schema;
mod selector;
mod sidecar;
mod status;
mod taint;
mod version;
pub mod yaml;

pub use age::{age, human_duration, whole_seconds};
pub use authorize::{Attributes, Authorizer, Decision, Owner, Rule, User};
pub use computed::{Computed, Presented};
pub use field::{FieldError, FieldErrors, FieldPath};
pub use gateway::{GATEWAY_CLASS, GATEWAY_CONTROLLER};
pub use key::{GroupResource, GroupVersionKind, ObjectKey};
pub use object::{DecodeError, Object};
pub use quantity::{Quantity, QuantityError};
pub use resource::{
    Behaviour, Column, ColumnType, Operation, Resource, ResourceTable, Scope, SelectableField,
    Strategy, Subresource, TypedScope, Verb,
};
pub use selector::{FieldSelector, LabelSelector, SelectorError, selector_text};
pub use sidecar::{is_sidecar, sidecars};
pub use status::ApiError;
pub use taint::tolerates;
pub use version::{KUBERNETES_VERSION, Version};
