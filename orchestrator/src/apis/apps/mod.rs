//! The group `apps`.

mod controller_revision;
mod deployment;
mod replica_set;
pub(super) mod template;

pub use controller_revision::ControllerRevisions;
pub use deployment::Deployments;
pub use replica_set::ReplicaSets;
