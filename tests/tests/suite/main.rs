//! Behaviour tests over a whole cluster: one program, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod batch;
mod cli_objects;
mod cli_up;
mod cli_watch;
mod drain;
mod durability;
mod foreign;
mod images;
mod kubectl;
mod main_job;
mod metrics;
mod pods;
mod pods_limits;
mod pods_probes;
mod pods_volumes;
mod support;
mod traffic;
