//! What can be done with any resource.

mod apply;
mod create;
mod delete;
mod options;
mod patch;
mod read;
mod update;
mod watch;

pub use apply::{apply_configuration, configuration};
pub use create::create;
pub use delete::{delete, delete_collection, delete_with};
pub use patch::{APPLY, Patch, patch, patched};
pub use read::{get, list};
pub use update::update;
pub use watch::watch;

pub use options::list_query;
