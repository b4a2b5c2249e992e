//! How `wasi:http` behaves for our guests: requests go out through the pod
//! network, bodies wait in buffers of our size.
//!
//! A guest may open thousands of bodies that nobody reads, so what their buffers
//! may come to hold counts as its memory from the start. Where its container's
//! limit leaves no room a body gets by with next to no buffer.
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::limits::Reserve;
use crate::sockets::HttpHooks;

/// Pieces of a body that wait for its reader. A usual answer fits, so that its
/// guest ends within the slice that wrote it: 64 KiB in the pieces of 4 KiB
/// that `blocking-write-and-flush` makes.
const BODY_PIECES: usize = 16;

/// Bytes of one piece, as much as most guests write at once.
const BODY_PIECE: usize = 8 << 10;

/// Bytes that the buffer of one body may hold, and that count from when it is made.
pub const BODY_BUFFER: usize = BODY_PIECES * BODY_PIECE;

/// Bytes of one piece of a body without room: with the two pieces that wasmtime keeps at
/// least, as many bodies as an instance may have hold 16 MiB.
const SCANT_PIECE: usize = 2 << 10;

/// The hooks of one store.
pub(super) struct Hooks {
    http: HttpHooks,
    /// What bodies' buffers may hold.
    reserve: Reserve,
    /// Whether there was room for the body that is being made.
    has_room: bool,
}

impl Hooks {
    pub(super) fn new(http: HttpHooks, reserve: Reserve) -> Self {
        Self { http, reserve, has_room: false }
    }

    /// No body is left.
    pub(super) fn forget_bodies(&mut self) {
        self.reserve.give_back();
    }
}

type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        done: Connection,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Connection), Error>> + Send>
    {
        self.http.send_request(request, options, done)
    }

    /// Asked first for each new body.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        self.has_room = self.reserve.try_take(BODY_BUFFER as u64);
        // wasmtime adds one, which it keeps free.
        if self.has_room { BODY_PIECES - 1 } else { 1 }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        if self.has_room { BODY_PIECE } else { SCANT_PIECE }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::{HOST_SHARE, InstanceLimits, MemoryAccount};
    use crate::network::{AttachConfig, Switch};

    #[tokio::test]
    async fn buffers_of_bodies_count_as_memory_and_are_scant_where_there_is_none() {
        let account = Arc::new(MemoryAccount::new(Some(1 << 20)));
        let limits = InstanceLimits::new(account.clone()).unwrap();
        let net = Switch::default().attach(AttachConfig::default()).unwrap();
        let mut hooks = Hooks::new(HttpHooks::new(net, None), limits.reserve());
        let mut held = 0;
        for _ in 0..4096 {
            // One more than is said, as wasmtime does.
            let pieces = hooks.p2_outgoing_body_buffer_chunks() + 1;
            held += pieces * hooks.p2_outgoing_body_chunk_size();
        }
        assert!(held <= 17 << 20, "{held}");
        assert_eq!(account.used(), HOST_SHARE + (7 * BODY_BUFFER) as u64);
        hooks.forget_bodies();
        assert_eq!(account.used(), HOST_SHARE);
        assert_eq!(hooks.p2_outgoing_body_buffer_chunks(), BODY_PIECES - 1);
        drop(hooks);
        assert_eq!(account.used(), HOST_SHARE);
    }
}
