//! Binds Pods to nodes: a snapshot, a pure cycle, plugins.
//!
//! One task owns the [`Snapshot`] and the [`Queue`]: it takes in what changed,
//! decides for one Pod after the other, and assumes its own decisions until
//! the API confirms them. Bindings are written beside it, several at once. A
//! Pod that fits nowhere waits until something changes that could help it.

mod binding;
mod cycle;
mod plugins;
mod pod;
mod queue;
mod run;
mod snapshot;

pub use cycle::{Unschedulable, schedule};
pub use pod::PodInfo;
pub use queue::Queue;
pub use run::run;
pub use snapshot::{NodeInfo, Resources, Snapshot};
