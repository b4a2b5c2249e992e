//! Behaviour tests over a whole cluster: one program, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod durability;
mod kubectl;
mod main_job;
mod metrics;
mod support;
mod traffic;
