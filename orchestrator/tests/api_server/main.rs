//! The API server as its clients see it: the in-process router, driven by an
//! unmodified kube client and, for the details of the wire, by plain requests.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod apply;
mod bad_input;
mod bootstrap;
mod create;
mod delete;
mod discovery;
mod harness;
mod output;
mod patch;
mod proxy;
mod services;
mod subresources;
mod tls;
mod update;
mod usage;
mod watch;
