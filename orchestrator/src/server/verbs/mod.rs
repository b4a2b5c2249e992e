//! What can be done with any resource.

mod create;
mod delete;
mod options;
mod patch;
mod read;
mod update;
mod watch;

pub use create::create;
pub use delete::{delete, delete_collection};
pub use patch::{Patch, patch};
pub use read::{get, list};
pub use update::update;
pub use watch::watch;

pub use options::list_query;
