//! The core group.

mod config_map;
mod namespace;
mod node;
mod secret;
mod service_account;

pub use config_map::ConfigMaps;
pub use namespace::Namespaces;
pub use node::Nodes;
pub use secret::Secrets;
pub use service_account::ServiceAccounts;
