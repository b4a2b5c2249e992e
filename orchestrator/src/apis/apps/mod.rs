//! The group `apps`.

mod deployment;
mod replica_set;
mod template;

pub use deployment::Deployments;
pub use replica_set::ReplicaSets;
