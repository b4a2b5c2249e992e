//! A program's standard input: open until it is closed, fed by `attach`.
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// Bytes that wait for the guest to read them.
const BUFFER: usize = 64 << 10;

/// One program's standard input.
#[derive(Clone, Default)]
pub struct Stdin(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: BytesMut,
    closed: bool,
    readers: Vec<Waker>,
}

impl State {
    fn wake(&mut self) {
        self.readers.drain(..).for_each(Waker::wake);
    }
}

impl Stdin {
    /// An input at its end.
    pub fn closed() -> Self {
        let stdin = Self::default();
        stdin.close();
        stdin
    }

    /// Offers bytes to the guest; how many were taken, 0 where the guest does
    /// not read or the input is closed.
    pub fn offer(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.lock();
        if state.closed {
            return 0;
        }
        let taken = bytes.len().min(BUFFER - state.waiting.len());
        state.waiting.extend_from_slice(&bytes[..taken]);
        state.wake();
        taken
    }

    /// Ends the input: the guest reads what waits, then the end.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.wake();
    }

    /// Up to `max` bytes; empty where nothing waits, `None` at the end.
    fn take(&self, max: usize) -> Option<Bytes> {
        let mut state = self.0.lock();
        if state.waiting.is_empty() {
            return (!state.closed).then(Bytes::new);
        }
        let taken = max.min(state.waiting.len());
        Some(state.waiting.split_to(taken).freeze())
    }

    fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.closed || state.waiting.has_remaining() {
            return Poll::Ready(());
        }
        if !state.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            state.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

#[async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.take(size).ok_or(StreamError::Closed)
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.take(into.remaining()) {
            Some(bytes) if bytes.is_empty() => {
                std::task::ready!(self.poll_ready(cx));
                self.poll_read(cx, into)
            }
            Some(bytes) => {
                into.put_slice(&bytes);
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_was_offered_is_read_before_the_end() {
        let stdin = Stdin::default();
        let reader = tokio::spawn({
            let mut stdin = stdin.clone();
            async move {
                let mut all = String::new();
                stdin.read_to_string(&mut all).await.unwrap();
                all
            }
        });

        assert_eq!(stdin.offer(b"hello "), 6);
        tokio::task::yield_now().await;
        assert_eq!(stdin.offer(b"guest"), 5);
        stdin.close();

        assert_eq!(reader.await.unwrap(), "hello guest");
        assert_eq!(stdin.offer(b"late"), 0);
    }

    #[test]
    fn a_guest_that_does_not_read_holds_a_bounded_buffer() {
        let stdin = Stdin::default();
        assert_eq!(stdin.offer(&vec![0; 2 * BUFFER]), BUFFER);
        assert_eq!(stdin.offer(b"more"), 0);
    }
}
