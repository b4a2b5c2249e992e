//! What a handler leaves unread of a request's body.
//!
//! Over HTTP/1.1 the next request comes after it. Left where it is, hyper would
//! close the connection without having said so, and a client that writes its
//! next request meanwhile loses it. A short rest is read and thrown away while
//! the answer goes out; before a long one the answer says `Connection: close`.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use super::{BoxError, Request, Response};

/// Bytes that are read for nothing so that a connection can go on, as many as Go's server reads.
const MAX_LEFTOVER: u64 = 256 << 10;
/// How long the answer waits for the end of a body whose length nobody told.
const END_TIME: Duration = Duration::from_millis(500);
/// How long the rest of a body may take once the answer is on its way.
const REST_TIME: Duration = Duration::from_secs(30);

/// Answers a request by `handle`, so that the next one of its connection is
/// answered as well or told in time that it will not be. `tasks` read what is left.
pub async fn answer<E, H, A>(tasks: &E, request: http::Request<Incoming>, handle: H) -> Response
where
    E: hyper::rt::Executor<BoxFuture<'static, ()>>,
    H: FnOnce(Request) -> A,
    A: Future<Output = Response>,
{
    // HTTP/2 ends one request without the others.
    if request.body().is_end_stream() || request.version() > Version::HTTP_11 {
        return handle(request.map(|body| body.map_err(Into::into).boxed_unsync())).await;
    }
    let (request, leftover) = lend(request);
    let mut response = handle(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    match leftover.fate().await {
        Fate::Over => {}
        Fate::Rest(leftover) => tasks.execute(Box::pin(leftover.finish())),
        Fate::Close => {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// A request's body as its handler and [`Leftover`] share it.
struct Shared {
    incoming: Incoming,
    /// Whether anybody has read any of it, or tried to.
    asked: bool,
    ended: bool,
}

impl Shared {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.asked = true;
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        self.ended |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_over(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }
}

/// The body in its handler's hands.
struct Lent {
    shared: Arc<Mutex<Shared>>,
    /// Dropped with the body.
    _held: oneshot::Sender<()>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.shared.lock().poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.shared.lock().is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.shared.lock().incoming.size_hint()
    }
}

/// What the connection has of the body.
struct Leftover {
    shared: Arc<Mutex<Shared>>,
    /// None once the handler is done with it.
    held: Option<oneshot::Receiver<()>>,
    /// The client sends the body only once it is asked for it (`Expect: 100-continue`).
    expects: bool,
}

/// What becomes of a connection after an answer.
enum Fate {
    /// Nothing of the body is left.
    Over,
    /// It goes on after the rest.
    Rest(Leftover),
    /// It ends.
    Close,
}

fn lend(request: http::Request<Incoming>) -> (Request, Leftover) {
    let (parts, incoming) = request.into_parts();
    let shared = Arc::new(Mutex::new(Shared { incoming, asked: false, ended: false }));
    let (held, released) = oneshot::channel();
    let expects = parts.headers.contains_key(EXPECT);
    let lent = Lent { shared: shared.clone(), _held: held };
    let request = Request::from_parts(parts, lent.boxed_unsync());
    (request, Leftover { shared, held: Some(released), expects })
}

impl Leftover {
    async fn fate(mut self) -> Fate {
        self.held.take_if(|held| held.try_recv() == Err(TryRecvError::Closed));
        let (is_over, asked, left) = {
            let shared = self.shared.lock();
            (shared.is_over(), shared.asked, shared.incoming.size_hint().exact())
        };
        match left {
            _ if is_over => Fate::Over,
            _ if self.expects && !asked => Fate::Close,
            Some(left) if left > MAX_LEFTOVER => Fate::Close,
            None if self.held.is_none() => match timeout(END_TIME, self.read_out()).await {
                Ok(true) => Fate::Over,
                Ok(false) | Err(_) => Fate::Close,
            },
            Some(_) | None => Fate::Rest(self),
        }
    }

    /// Waits until the handler is done with the body, and reads the rest.
    async fn finish(mut self) {
        if let Some(held) = self.held.take() {
            // Nothing is ever sent: an error is the end of the other side.
            drop(held.await);
        }
        match timeout(REST_TIME, self.read_out()).await {
            Ok(true) => {}
            Ok(false) | Err(_) => tracing::debug!("the rest of a request's body is not waited for"),
        }
    }

    /// Whether the end of the body came, or of the connection.
    async fn read_out(&self) -> bool {
        let mut read = 0;
        while read <= MAX_LEFTOVER {
            let frame =
                std::future::poll_fn(|context| self.shared.lock().poll_frame(context)).await;
            match frame {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) | None => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use http_body_util::Full;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

    use super::*;
    use crate::network::{AttachConfig, HttpHandler, Peer, Refused, Stream, Switch};

    /// Answers without a look at the body; asked for `/late`, lets go of it afterwards.
    struct Unread;

    #[async_trait]
    impl HttpHandler for Unread {
        async fn handle(&self, request: Request, _: Peer) -> Result<Response, Refused> {
            if request.uri().path() == "/late" {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    drop(request);
                });
            }
            let body = Full::from("done").map_err(|never| match never {});
            Ok(Response::new(body.boxed_unsync()))
        }
    }

    /// A function's port and a connection to it.
    async fn connected() -> (Switch, impl Sized, BufReader<Stream>) {
        let switch = Switch::default();
        let pod = switch.attach(AttachConfig::default()).unwrap();
        let port = pod.listen_http(80, Arc::new(Unread)).unwrap();
        let stream = switch.dial((pod.ip(), 80).into()).await.unwrap();
        (switch, port, BufReader::new(stream))
    }

    fn sized(path: &str, length: usize) -> String {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
    }

    /// Begins a body of one chunk.
    fn chunked(path: &str, length: usize) -> String {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        format!("{head}{length:x}\r\n")
    }

    /// The head of the next answer, whose body is there as well.
    async fn heard(stream: &mut BufReader<Stream>) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "closed after {head:?}");
        }
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"done", "{head}");
        head
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_a_short_body_that_nobody_read() {
        const LENGTH: usize = 100_000;
        let (_switch, _port, mut stream) = connected().await;
        let words = vec![b'x'; LENGTH];
        for _ in 0..20 {
            for (head, end) in [
                (sized("/", LENGTH), ""),
                (sized("/late", LENGTH), ""),
                (chunked("/", LENGTH), "\r\n0\r\n\r\n"),
                (chunked("/late", LENGTH), "\r\n0\r\n\r\n"),
            ] {
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(&words).await.unwrap();
                stream.write_all(end.as_bytes()).await.unwrap();
                let answer = heard(&mut stream).await;
                assert!(!answer.contains("connection: close"), "{answer}");
            }
        }
    }

    #[tokio::test]
    async fn before_a_long_body_the_answer_says_that_it_is_the_last_and_arrives() {
        const LENGTH: usize = 3 << 20;
        for head in [sized("/", LENGTH), sized("/late", LENGTH), chunked("/", LENGTH)] {
            let (_switch, _port, mut stream) = connected().await;
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; LENGTH]).await.unwrap();
            let answer = heard(&mut stream).await;
            assert!(answer.contains("connection: close"), "{answer}");
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "more than the answer");
        }
    }

    #[tokio::test]
    async fn who_waits_to_be_asked_for_the_body_is_told_that_nobody_will() {
        let (_switch, _port, mut stream) = connected().await;
        let head = sized("/", 5).replace("host: a", "host: a\r\nexpect: 100-continue");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = heard(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}
