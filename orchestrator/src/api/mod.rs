//! What all kinds share: the object, the resource table, selectors, field
//! errors, patches, tables, `Status`.
//!
//! Nothing here knows a particular kind, a store or HTTP, so every other room
//! may use it.

mod authorize;
mod field;
mod key;
pub mod names;
mod object;
mod resource;
mod selector;
mod status;

pub use authorize::{Attributes, Authorizer, Decision, User};
pub use field::{FieldError, FieldErrors, FieldPath};
pub use key::{GroupResource, GroupVersionKind, ObjectKey};
pub use object::{DecodeError, Object};
pub use resource::{
    Behaviour, Column, ColumnType, Computed, Operation, Resource, ResourceTable, Scope,
    SelectableField, Strategy, Subresource, TypedScope, Verb,
};
pub use selector::{FieldSelector, LabelSelector, SelectorError};
pub use status::ApiError;
