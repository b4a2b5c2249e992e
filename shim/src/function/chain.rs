//! Calls of a Spin application's components to each other, as `NAME.spin.internal`.
//!
//! A call takes a place among those that the container handles at once, as any request does, but
//! does not wait for one: whoever calls holds a place already, and could wait for itself.
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

use async_trait::async_trait;

use super::Inner;
use super::routes::Route;
use crate::network::{Peer, Refused, RefusedReason, Request, Response};
use crate::sockets::Neighbours;

/// Who calls, as Spin's own host has it.
const CALLER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The components of one function. Weak, as the function keeps instances that hold this.
pub(super) struct Chain(pub(super) Weak<Inner>);

#[async_trait]
impl Neighbours for Chain {
    async fn call(&self, component: &str, request: Request) -> Option<Result<Response, Refused>> {
        let inner = self.0.upgrade()?;
        let index = inner.setup.components.iter().position(|known| known.id == component)?;
        let refused = |request, reason| Some(Err(Refused { request, reason }));
        if inner.killed.is_cancelled() {
            return refused(request, RefusedReason::NotListening);
        }
        let Ok(slot) = Arc::clone(&inner.slots).try_acquire_owned() else {
            return refused(request, RefusedReason::Saturated);
        };
        let deadline = inner.deadline();
        let whole = Route::whole(index);
        let peer = Peer { source: CALLER };
        Some(inner.run(index, request, Some((&whole, &peer)), deadline, slot).await)
    }
}
