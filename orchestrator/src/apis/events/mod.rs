//! The group `events.k8s.io`, and its core namesake.
//!
//! Both serve the same objects. They are stored as core `events`, and
//! [`Events`] renames the fields on the way in and out.

mod columns;
mod core_event;
mod event;
#[cfg(test)]
mod tests;
mod validate;

pub use core_event::CoreEvents;
pub use event::Events;

use std::time::Duration;

/// How long an event lives after its last write, as upstream's `--event-ttl`.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
