//! The registry as strangers see it: the distribution specification over raw HTTP, our own client
//! over a listener, the store under `kill -9`, and skopeo and curl where they are installed.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a skipped test says so, and a killed one how far it was")]

mod blobs;
mod client;
mod kill;
mod manifests;
mod support;
mod tools;
