//! What Podium counts of itself, for Prometheus.
//!
//! Own code, as it is small and the two crates there are do not fit:
//! `prometheus-client` writes OpenMetrics alone, whose counters have other names
//! than those Kubernetes serves to whoever asks for plain text, and both find a
//! sample by hashing its labels under a lock. Here a sample is an atomic in a
//! struct, found by its field; labels are made when somebody reads them.
//!
//! A process has one set of the counters of its parts, as it has one `/metrics`;
//! [`components`] lists them.

mod process;
pub mod scheduler;
pub mod store;
mod text;
mod value;
pub mod workqueue;

pub use text::{Family, Kind, Text};
pub use value::{Counter, Gauge, Histogram};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes what the parts of this process count, but for the API server and the node.
pub fn components(text: &mut Text) {
    process::write(text);
    store::write(text);
    workqueue::write(text);
    scheduler::write(text);
}

/// Writes what is true of the process alone.
pub fn process(text: &mut Text) {
    process::write(text);
}
