//! Binds Pods to nodes: a snapshot, a pure cycle, plugins.
//!
//! One task owns the [`Snapshot`] and the [`Queue`]: it takes in what changed,
//! decides for one Pod after the other, and assumes its own decisions until
//! the API confirms them. Bindings are written beside it, several at once. A
//! Pod that fits nowhere may take the place of Pods of lower priority
//! ([`mod@preempt`]); otherwise it waits until something changes that could help it.

mod binding;
mod config;
mod cycle;
mod plugins;
mod pod;
mod preempt;
mod queue;
mod reason;
mod run;
mod snapshot;
mod terms;

pub use config::{Config, Strategy};
pub use cycle::{Unschedulable, schedule};
pub use pod::{HostPort, PodInfo};
pub use preempt::{Budget, NoRoom, Preemption, preempt};
pub use queue::Queue;
pub use reason::{Plugins, Reason};
pub use run::run;
pub use snapshot::{NodeInfo, Snapshot};
pub use terms::{Constraint, PodTerms, Term};
