//! How long the store takes, under the names that Kubernetes gives to etcd's answers.
use std::time::Duration;

use super::{Histogram, Kind, Text};

/// Kubernetes' bounds of `etcd_request_duration_seconds`.
const BOUNDS: [f64; 20] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 15.0,
    20.0, 30.0, 60.0,
];

/// What is asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read one entry.
    Get,
    /// Read a range.
    List,
    /// Write an entry that is not there.
    Create,
    /// Replace an entry.
    Update,
    /// Remove an entry.
    Delete,
}

const OPERATIONS: [&str; 5] = ["get", "list", "create", "update", "delete"];

static TOOK: [Histogram<20>; 5] = [const { Histogram::new(&BOUNDS) }; 5];

/// Counts a request.
pub fn observe(operation: Operation, took: Duration) {
    TOOK[operation as usize].observe(took);
}

pub(super) fn write(text: &mut Text) {
    let help = "How long the store takes, for each operation.";
    let mut family = text.family("etcd_request_duration_seconds", Kind::Histogram, help);
    for (operation, took) in OPERATIONS.iter().zip(&TOOK) {
        family.histogram(&[("operation", operation)], took);
    }
}
