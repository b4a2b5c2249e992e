//! The pod network in user space.
//!
//! A [`Switch`] is the network of one node: every Pod has an address on it,
//! every Service a virtual one, and none of them exists in the kernel. A
//! connection between two Pods is an in-process pipe; a request to a function
//! is a call of its [`HttpHandler`], with no bytes in between.
//!
//! The types here are free of WIT and of wasmtime, so that any version of
//! `wasi:sockets` can stand on them.
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// Any error of a body's producer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that travels through the switch.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A request on its way to a function.
pub type Request = http::Request<Body>;

/// A function's answer.
pub type Response = http::Response<Body>;

/// Where a request comes from, and the name and port it was sent to.
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
