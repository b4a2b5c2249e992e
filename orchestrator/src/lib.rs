//! Podium: Kubernetes for WebAssembly in one small binary.
//!
//! The rooms, and what each may use, stand in `tests/architecture.rs` of
//! this crate, which enforces them.

pub mod admission;
pub mod api;
pub mod apis;
pub mod auth;
pub mod cli;
pub mod client;
pub mod clock;
pub mod controllers;
pub mod metrics;
pub mod node;
pub mod platform;
pub mod proxy;
pub mod scheduler;
pub mod server;
pub mod storage;
pub mod store;
