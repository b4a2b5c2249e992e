//! What listens on a port: a function, called per request, or a guest's socket.
//!
//! An HTTP port goes Open → Closed → Drained. Closed, it refuses every new
//! request, so that the caller takes another endpoint, while the requests it
//! has taken go on; drained, the last of them has sent its body.
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::pod::PodNet;
use super::{Body, BoxError, HttpHandler, Peer, Refused, RefusedReason, Request, Response, Stream};

/// Connections that wait to be accepted by a guest; more are refused (Linux' `somaxconn` is 4096).
pub const MAX_BACKLOG: usize = 1024;
/// Connections served as bytes at once on one HTTP port; more are refused.
const MAX_CONNECTIONS: usize = 1024;

/// Who gets what comes to an address.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    /// Whether only the Pod itself may connect: the guest bound the loopback address.
    pub(super) local_only: bool,
    pub(super) accepts: Accepts,
}

/// How it is handed over.
#[derive(Debug, Clone)]
pub(super) enum Accepts {
    /// By a call.
    Requests(Arc<HttpPort>),
    /// As a connection.
    Connections(mpsc::Sender<Stream>),
}

/// A function's port.
pub(super) struct HttpPort {
    handler: Arc<dyn HttpHandler>,
    closed: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
    /// Tells the connections served as bytes to finish.
    pub(super) closing: CancellationToken,
    pub(super) connections: Arc<Semaphore>,
}

impl std::fmt::Debug for HttpPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpPort")
            .field("closed", &self.closed)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl HttpPort {
    pub(super) fn new(handler: Arc<dyn HttpHandler>) -> Self {
        Self {
            handler,
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            closing: CancellationToken::new(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// Hands a request to the function, unless the port is closed.
    pub(super) async fn call(
        self: &Arc<Self>,
        request: Request,
        peer: Peer,
    ) -> Result<Response, Refused> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let taken = InFlight(self.clone());
        // After the count has risen, so that `drained` either sees it or we see the closing.
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refused { request, reason: RefusedReason::NotListening });
        }
        let response = self.handler.handle(request, peer).await?;
        if http_body::Body::is_end_stream(response.body()) {
            return Ok(response);
        }
        Ok(response.map(|body| Counted { body, _taken: taken }.boxed_unsync()))
    }

    fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        self.closing.cancel();
        first
    }

    async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A request that the function has taken and whose answer is not sent in full.
struct InFlight(Arc<HttpPort>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// A body that counts as in flight until it is gone.
struct Counted {
    body: Body,
    _taken: InFlight,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A function's open port; closes when dropped.
#[derive(Debug)]
pub struct HttpListener {
    pub(super) pod: PodNet,
    pub(super) port: u16,
    pub(super) http: Arc<HttpPort>,
}

impl HttpListener {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(self.pod.ip(), self.port)
    }

    /// Waits until no Service sends new requests to its Pod.
    pub async fn unrouted(&self) {
        self.pod.unrouted().await;
    }

    /// Refuses new requests from now on; those taken go on.
    pub fn close(&self) {
        if self.http.close() {
            self.pod.forget_listener(self.port);
        }
    }

    /// Waits until no request is being answered; ends only after [`HttpListener::close`]
    /// if requests keep coming.
    pub async fn drained(&self) {
        self.http.drained().await;
    }

    /// Requests taken whose answers are not sent in full.
    pub fn in_flight(&self) -> usize {
        self.http.in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.close();
    }
}

/// A guest's listening socket; closes when dropped, and resets what was not accepted.
#[derive(Debug)]
pub struct TcpListener {
    pub(super) pod: PodNet,
    pub(super) local: SocketAddr,
    pub(super) backlog: mpsc::Receiver<Stream>,
}

impl TcpListener {
    /// The address that the guest asked for, which may be its loopback.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection, if one waits.
    pub fn try_accept(&mut self) -> Option<Stream> {
        self.backlog.try_recv().ok()
    }

    /// Waits for a connection; `None` when the Pod has left the network.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.backlog.recv().await
    }

    /// Waits for a connection, to be polled; `None` when the Pod has left the network.
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Option<Stream>> {
        self.backlog.poll_recv(context)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.pod.forget_listener(self.local.port());
    }
}
