//! The pod network in user space.
//!
//! A [`Switch`] is the network of one node: every Pod has an address on it,
//! every Service a virtual one, and none of them exists in the kernel. A
//! connection between two Pods is an in-process pipe; a request to a function
//! is a call of its [`HttpHandler`], with no bytes in between. Either can be
//! reached as the other: bytes dialled to a function are served as HTTP, and a
//! request to a guest's own socket is written to it. Bytes dialled to a Service
//! of functions outlive each of its Pods: every request finds its own.
//!
//! The types here are free of WIT and of wasmtime, so that any version of
//! `wasi:sockets` can stand on them.
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub mod address;
mod closing;
pub mod datagram;
mod http;
pub mod leftover;
mod listener;
mod names;
mod opening;
mod outside;
pub mod pipe;
mod pod;
mod services;
mod switch;

pub use self::closing::{Closing, Upgraded};
pub use self::listener::{HttpListener, MAX_BACKLOG, TcpListener};
pub use self::names::{DnsTable, Record};
pub use self::opening::Opening;
pub use self::pipe::{Stream, bridge};
pub use self::pod::{AttachConfig, MAX_SOCKETS, PodNet, SocketPermit};
pub use self::services::{Condition, Endpoint, Protocol, ServicePort, ServiceTable};
pub use self::switch::{HOLD, Switch, SwitchConfig};

/// Any error of a body's producer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that travels through the switch.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A request on its way to a function.
pub type Request = ::http::Request<Body>;

/// A function's answer.
pub type Response = ::http::Response<Body>;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The caller's address.
    pub source: SocketAddr,
}

/// A request that the sandbox refused before the guest saw any of it, so that
/// it may be sent elsewhere.
#[derive(Debug)]
pub struct Refused {
    /// The request, untouched.
    pub request: Request,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a sandbox refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// Nothing listens there (any more).
    NotListening,
    /// The concurrency limit and the queue before it are full.
    Saturated,
}

/// Answers the requests of one listening port by a call.
///
/// Guest failures are answers (500, 504), not refusals.
#[async_trait]
pub trait HttpHandler: Send + Sync + 'static {
    /// Answers one request.
    async fn handle(&self, request: Request, peer: Peer) -> Result<Response, Refused>;
}

/// Why a Pod is not on the network, or a port not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is no address left.
    #[error("giving the pod an address")]
    Attach(#[source] address::Exhausted),
    /// Another container of the Pod has the port.
    #[error("port {0} is already in use in this pod")]
    PortInUse(u16),
    /// Every port that is not asked for by number is taken.
    #[error("no free port in this pod")]
    NoPortLeft,
    /// The Pod has left the network.
    #[error("the pod has no network any more")]
    Detached,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there, or its backlog is full.
    #[error("connection to {0} refused")]
    Refused(SocketAddr),
    /// Pods may not go there.
    #[error("connection to {0} denied: it is an address of the host itself or a link-local one")]
    Denied(SocketAddr),
    /// There is no way there.
    #[error("{0} is unreachable from the pod network")]
    Unreachable(SocketAddr),
    /// Nobody answered.
    #[error("connection to {0} timed out")]
    TimedOut(SocketAddr),
    /// The datagram is larger than any network carries.
    #[error("datagram to {0} is too large")]
    TooLarge(SocketAddr),
    /// The Pod has left the network.
    #[error("the pod has no network any more")]
    Detached,
    /// The operating system failed.
    #[error("connecting to {to}")]
    Outside {
        /// Where.
        to: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
