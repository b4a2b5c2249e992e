//! A connection until its caller has shown what it speaks.
//!
//! The time that hyper gives a caller for its headers begins once it knows the
//! version of HTTP, for which it reads as long as what comes might be the preface
//! of HTTP/2. One that says nothing would be held for ever.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What a client begins HTTP/2 with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose reading fails unless its HTTP version shows in time.
#[derive(Debug)]
pub struct Opening<T> {
    stream: T,
    /// How much of the preface has come.
    known: usize,
    /// None once the version has shown.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<T> Opening<T> {
    /// Gives a caller this long from now.
    pub fn new(stream: T, limit: Duration) -> Self {
        Self { stream, known: 0, limit: Some(Box::pin(sleep(limit))) }
    }

    /// Takes note of what was read; nothing is the end.
    fn note(&mut self, bytes: &[u8]) {
        let preface = &PREFACE[self.known..];
        self.known += bytes.len();
        let shown = bytes.is_empty() || bytes.len() >= preface.len() || !preface.starts_with(bytes);
        if shown {
            self.limit = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(limit) = &mut self.limit else { return read };
        if read.is_ready() {
            self.note(&buffer.filled()[before..]);
            return read;
        }
        ready!(limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    /// Whether reading fails in time after these words.
    async fn is_closed_after(words: &[&[u8]]) -> bool {
        let (mut caller, stream) = tokio::io::duplex(64);
        let mut opening = Opening::new(stream, LIMIT);
        let mut heard = [0; 64];
        for word in words {
            caller.write_all(word).await.unwrap();
            assert!(opening.read(&mut heard).await.unwrap() > 0);
        }
        match tokio::time::timeout(LIMIT * 4, opening.read(&mut heard)).await {
            Ok(ended) => ended.unwrap_err().kind() == io::ErrorKind::TimedOut,
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn only_a_caller_that_has_not_shown_its_version_is_given_up() {
        assert!(is_closed_after(&[]).await);
        assert!(is_closed_after(&[b"PRI * HT", b"TP/2.0\r\n"]).await);
        assert!(!is_closed_after(&[b"P", b"OST / HTTP/1.1\r\n"]).await);
        assert!(!is_closed_after(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"]).await);
    }
}
