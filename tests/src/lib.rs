//! What behaviour tests and benchmarks share: a whole cluster in a process of
//! its own, and clients that we did not write.
//!
//! Every cluster has a temporary data directory and ports that the operating
//! system picks, so tests run side by side.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

mod cluster;
mod http;
mod tools;
mod waiting;

pub use cluster::{Addresses, Cluster, Options};
pub use http::{Connection, http_get};
pub use tools::{Output, Tool, foreign_guest};
pub use waiting::{WAIT, eventually, eventually_within};

use std::path::PathBuf;

/// A file of the repository, such as `examples/hello/hello.wasm`.
pub fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
