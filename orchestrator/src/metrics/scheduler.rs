//! The scheduler's decisions, under kube-scheduler's names.
use std::time::Duration;

use super::{Gauge, Histogram, Kind, Text};

/// kube-scheduler's bounds of an attempt: 1 ms, doubled 14 times.
const ATTEMPT: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384,
];

/// kube-scheduler's bounds of a Pod's whole way: 10 ms, doubled 19 times.
const POD: [f64; 20] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36, 1310.72, 2621.44, 5242.88,
];

const PROFILE: (&str, &str) = ("profile", "default-scheduler");

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// A node was found.
    Scheduled,
    /// The Pod fits nowhere now.
    Unschedulable,
    /// Its binding failed.
    Error,
}

const RESULTS: [&str; 3] = ["scheduled", "unschedulable", "error"];

/// Where Pods wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// To be tried now.
    Active,
    /// Until their backoff is over.
    Backoff,
    /// Until something changes.
    Unschedulable,
}

const QUEUES: [&str; 3] = ["active", "backoff", "unschedulable"];

static ATTEMPTS: [Histogram<15>; 3] = [const { Histogram::new(&ATTEMPT) }; 3];
static PODS: Histogram<20> = Histogram::new(&POD);
static PENDING: [Gauge; 3] = [const { Gauge::new() }; 3];

/// An attempt that took so long.
pub fn attempted(result: Attempt, took: Duration) {
    ATTEMPTS[result as usize].observe(took);
}

/// A Pod was bound so long after it was first seen.
pub fn bound(after: Duration) {
    PODS.observe(after);
}

/// So many Pods wait in a queue.
pub fn pending(queue: Waiting, pods: usize) {
    PENDING[queue as usize].set(i64::try_from(pods).unwrap_or(i64::MAX));
}

pub(super) fn write(text: &mut Text) {
    let help = "Attempts to find a node for a Pod, by how they ended.";
    let mut family = text.family("scheduler_schedule_attempts_total", Kind::Counter, help);
    for (result, took) in RESULTS.iter().zip(&ATTEMPTS) {
        family.sample(&[PROFILE, ("result", result)], took.count());
    }
    let help = "How long attempts take, binding included, in seconds.";
    let name = "scheduler_scheduling_attempt_duration_seconds";
    let mut family = text.family(name, Kind::Histogram, help);
    for (result, took) in RESULTS.iter().zip(&ATTEMPTS) {
        family.histogram(&[PROFILE, ("result", result)], took);
    }
    let help = "How long after it was first seen a Pod is bound, in seconds.";
    text.family("scheduler_pod_scheduling_sli_duration_seconds", Kind::Histogram, help)
        .histogram(&[], &PODS);
    let help = "Pods that wait, by what they wait for.";
    let mut family = text.family("scheduler_pending_pods", Kind::Gauge, help);
    for (queue, pods) in QUEUES.iter().zip(&PENDING) {
        family.sample(&[("queue", queue)], pods.get());
    }
}
