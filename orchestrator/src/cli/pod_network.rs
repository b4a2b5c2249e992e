//! The pod network as the API server reaches it.
use std::net::SocketAddr;

use async_trait::async_trait;
use axum::body::Body;
use http_body_util::BodyExt;
use shim::network::{Peer, RefusedReason, Switch};

use crate::server::Dialer;

/// Sends requests through the switch.
pub(super) struct PodNetwork(pub(super) Switch);

#[async_trait]
impl Dialer for PodNetwork {
    async fn request(
        &self,
        to: SocketAddr,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, String> {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let peer = Peer { source: SocketAddr::new(self.0.node_ip(), 0) };
        match self.0.request(to, request, peer).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(refused) => Err(match refused.reason {
                RefusedReason::NotListening => {
                    format!("dial tcp {to}: connect: connection refused")
                }
                RefusedReason::Saturated => format!("dial tcp {to}: every Pod behind it is busy"),
            }),
        }
    }
}
