//! Events: one set of objects, served in two groups.
//!
//! They are stored as `v1`; `events.k8s.io/v1` has the same facts under other names.
mod core_event;
mod event;

pub use core_event::CoreEvents;
pub use event::Events;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// How long an Event is kept after its last write: kube-apiserver's --event-ttl.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// As many bytes as a note may have (`events.k8s.io` validation).
const NOTE_MAX: usize = 1024;

/// The first of these times that is set.
fn first_of(time: Option<&Time>, micro: Option<&MicroTime>) -> Option<Timestamp> {
    time.map(|time| time.0).or(micro.map(|micro| micro.0))
}
