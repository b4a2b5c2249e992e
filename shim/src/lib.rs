//! The sandbox runtime of one node.
//!
//! Its face is [`cri::Runtime`], in the CRI's vocabulary, and [`network::Switch`],
//! the pod network in user space. It knows wasmtime and OCI artifacts, and
//! nothing of the Kubernetes API, so that the same runtime can one day stand
//! under a stock kubelet.
//!
//! An artifact is pulled ([`images`]) with its files ([`rootfs`]), compiled once ([`engine`]), and started as
//! a [`program`] or called as a [`function`], in slices ([`executor`]) and within
//! limits ([`limits`]); [`runtime`] puts them together as sandboxes and containers.
#![deny(unsafe_code)]

pub mod beneath;
pub mod cri;
pub mod engine;
pub mod executor;
pub mod function;
pub mod guest;
pub mod images;
pub mod limits;
pub mod logs;
pub mod network;
pub mod platform;
pub mod program;
pub mod rootfs;
pub mod runtime;
pub mod sockets;
