//! Nodes that come, fall silent and go, and what becomes of their Pods: the
//! control loops and the scheduler against the real API server in process.
//!
//! No node runs: the tests say what a node would say. Time is the tests' own.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod eviction;
mod harness;
mod lifecycle;
mod scheduling;
#[path = "../support/mod.rs"]
mod support;
