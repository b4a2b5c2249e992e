//! The core group.

mod config_map;
mod endpoints;
mod namespace;
mod node;
mod pod;
pub mod pod_template;
mod secret;
mod service;
mod service_account;

pub use config_map::ConfigMaps;
pub use endpoints::EndpointsOfServices;
pub use namespace::Namespaces;
pub use node::Nodes;
pub use pod::{Pods, validate_resize};
pub use secret::Secrets;
pub use service::Services;
pub use service_account::ServiceAccounts;
