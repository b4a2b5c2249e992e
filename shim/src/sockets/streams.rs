//! The ends of a pipe as `wasi:io` streams.
use std::future::poll_fn;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::network::pipe::{Reader, Writer};

/// What comes in on a connection.
pub(super) struct Input(pub(super) Reader);

/// What goes out on it.
pub(super) struct Output(pub(super) Writer);

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.poll_ready(context)).await;
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.take_chunk(size).ok_or(StreamError::Closed)
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.poll_ready(context)).await;
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.check_write()? {
            return Err(StreamError::trap("write exceeds what check-write permitted"));
        }
        self.0.put(bytes).map_err(|_| StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.room().map_err(|_| StreamError::Closed)
    }
}
