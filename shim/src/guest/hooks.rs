//! How `wasi:http` behaves for our guests: requests go out through the pod
//! network, bodies wait in buffers of our size.
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::network::PodNet;
use crate::sockets::HttpHooks;

/// Pieces of a body that wait for its reader. A usual answer fits, so that its
/// guest ends within the slice that wrote it: 64 KiB in the pieces of 4 KiB
/// that `blocking-write-and-flush` makes.
const BODY_PIECES: usize = 16;

/// Bytes of one piece; with [`BODY_PIECES`] a body holds at most 1 MiB of ours.
const BODY_PIECE: usize = 64 << 10;

/// The hooks of one store.
pub(super) struct Hooks(HttpHooks);

impl Hooks {
    pub(super) fn new(net: PodNet) -> Self {
        Self(HttpHooks::new(net))
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
        self.0.send_request(request, options, done)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        // wasmtime adds one, which it keeps free.
        BODY_PIECES - 1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }
}
