//! What is left of a request's body when the request is answered.
//!
//! If a connection of HTTP/1.1 closes under a client that is still sending, the reset may
//! destroy the answer before it is read. So what nobody reads is thrown away for a
//! while. HTTP/2 needs none of it: there a stream ends by itself.
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// As many bytes as are thrown away: a file that somebody took for a manifest fits.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the bodies of one connection go that were not read to their end.
#[derive(Clone)]
pub struct Leftovers(mpsc::Sender<Incoming>);

impl Leftovers {
    /// The leftovers of a connection, and the other end for [`throw_away`].
    pub fn new() -> (Self, mpsc::Receiver<Incoming>) {
        // A connection of HTTP/1.1 has one request at a time.
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// The request, whose body will be caught if it is dropped too early.
    pub fn catch(&self, request: Request<Incoming>) -> Request<Body> {
        let nothing_comes = request.body().is_end_stream();
        if nothing_comes || request.version() > Version::HTTP_11 {
            return request.map(Body::new);
        }
        let waits = request.headers().contains_key(EXPECT);
        let leftovers = self.clone();
        request.map(|body| Body::new(Caught { body: Some(body), waits, leftovers }))
    }
}

/// Reads what is left and forgets it; never ends by itself.
pub async fn throw_away(mut leftovers: mpsc::Receiver<Incoming>) -> Infallible {
    while let Some(body) = leftovers.recv().await {
        if tokio::time::timeout(PATIENCE, drain(body)).await.is_err() {
            tracing::debug!("the rest of a body did not come in time");
        }
    }
    std::future::pending().await
}

async fn drain(mut body: Incoming) {
    let mut bytes = 0;
    while bytes <= BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// A body that goes to the leftovers when it is dropped.
struct Caught {
    /// There until then.
    body: Option<Incoming>,
    /// Whether the client sends nothing before somebody begins to read.
    waits: bool,
    leftovers: Leftovers,
}

impl http_body::Body for Caught {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        if self.waits || self.is_end_stream() {
            return;
        }
        if let Some(body) = self.body.take()
            && self.leftovers.0.try_send(body).is_err()
        {
            tracing::debug!("the rest of a body is not waited for");
        }
    }
}
