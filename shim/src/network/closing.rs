//! A connection that is closed so that its last answer arrives.
//!
//! A socket that is closed while bytes wait in it unread sends a reset, which
//! takes away the answer that its client has not read yet. The end is
//! therefore told first, and what still comes is read for a while.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may go on sending, as in nginx.
const LINGER: Duration = Duration::from_secs(30);
/// How long nothing may come, as in Go's server.
const QUIET: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const CHUNK: usize = 8 << 10;

/// A connection whose shutdown waits for the other side's.
#[derive(Debug)]
pub struct Closing<T> {
    stream: T,
    upgraded: Arc<AtomicBool>,
    /// The other side has said its last.
    ended: bool,
    lingering: Option<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    quiet: Pin<Box<Sleep>>,
    until: Instant,
}

/// Tells a [`Closing`] that its connection goes on in another protocol, which
/// may end one direction before the other.
#[derive(Debug, Clone)]
pub struct Upgraded(Arc<AtomicBool>);

impl Upgraded {
    /// From now on a shutdown ends one direction alone.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T> Closing<T> {
    /// A connection that is open.
    pub fn new(stream: T) -> Self {
        Self { stream, upgraded: Arc::default(), ended: false, lingering: None }
    }

    /// How it learns of an upgrade.
    pub fn upgraded(&self) -> Upgraded {
        Upgraded(self.upgraded.clone())
    }
}

impl<T: AsyncRead + Unpin> Closing<T> {
    /// Ready once nobody sends any more.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            quiet: Box::pin(sleep(QUIET)),
            until: Instant::now() + LINGER,
        });
        loop {
            let mut bytes = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= lingering.until {
                        return Poll::Ready(());
                    }
                    lingering.quiet.as_mut().reset(lingering.until.min(now + QUIET));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(lingering.quiet.as_mut().poll(context));
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Closing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let nothing = buffer.filled().len() == before && buffer.remaining() > 0;
        self.ended |= match &read {
            Poll::Ready(Ok(())) => nothing,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Closing<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if !self.ended && !self.upgraded.load(Ordering::Relaxed) {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_read_until_it_stops_but_not_for_ever() {
        let (mut client, stream) = duplex(16);
        let mut closing = Closing::new(stream);
        let began = Instant::now();
        let closed = tokio::spawn(async move { closing.shutdown().await });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        client.write_all(&[7; 1 << 10]).await.unwrap();
        closed.await.unwrap().unwrap();
        assert_eq!(began.elapsed(), QUIET);
        assert!(client.write_all(b"more").await.is_err());

        let (mut client, stream) = duplex(16);
        let mut closing = Closing::new(stream);
        let began = Instant::now();
        let closed = tokio::spawn(async move { closing.shutdown().await });
        while client.write_all(b"more").await.is_ok() {
            sleep(QUIET / 2).await;
        }
        closed.await.unwrap().unwrap();
        let took = began.elapsed();
        assert!((LINGER..=LINGER + QUIET).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_ended_already_and_who_has_upgraded_is_not_waited_for() {
        let (client, stream) = duplex(16);
        let mut closing = Closing::new(stream);
        drop(client);
        assert_eq!(closing.read(&mut [0; 1]).await.unwrap(), 0);
        let began = Instant::now();
        closing.shutdown().await.unwrap();

        let (mut client, stream) = duplex(16);
        let mut closing = Closing::new(stream);
        closing.upgraded().set();
        closing.shutdown().await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(closing.read_u8().await.unwrap(), b'x');
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
