//! OCI artifacts: how they are named, kept on disk, served to others and fetched from others.
//!
//! A leaf of the house: it knows neither Kubernetes nor a Wasm engine, so that the node's
//! image store, the cluster's own registry and `podium push` share one idea of a digest,
//! a reference and a content store.

pub mod artifact;
pub mod client;
pub mod manifest;
pub mod reference;
pub mod server;
pub mod store;

mod platform;

pub use reference::{Digest, Reference, RepositoryName, Tag};
pub use store::ContentStore;
