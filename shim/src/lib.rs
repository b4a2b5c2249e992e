//! The sandbox runtime of one node.
//!
//! Its face is [`cri::Runtime`], in the CRI's vocabulary, and [`network::Switch`],
//! the pod network in user space. It knows wasmtime and OCI artifacts, and
//! nothing of the Kubernetes API, so that the same runtime can one day stand
//! under a stock kubelet.

pub mod cri;
pub mod network;
pub mod sockets;
