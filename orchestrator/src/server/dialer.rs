//! How the server reaches Pods and Services: through whatever `cli` hands in,
//! as the pod network is no network of this machine.
use std::net::SocketAddr;

use async_trait::async_trait;
use axum::body::Body;
use http::Request;

use super::output::Response;

/// Reaches addresses of the cluster.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// Sends a request to a Pod or Service; the error says in words why it did not get there.
    async fn request(&self, to: SocketAddr, request: Request<Body>) -> Result<Response, String>;
}
