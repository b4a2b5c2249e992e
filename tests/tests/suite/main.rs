//! Behaviour tests over a whole cluster: one program, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod drain;
mod batch;
mod cli_objects;
mod cli_up;
mod cli_watch;
mod api;
mod durability;
mod foreign;
mod images;
mod kubectl;
mod main_job;
mod pods;
mod pods_limits;
mod pods_probes;
mod pods_volumes;
mod metrics;
mod support;
mod traffic;
