//! A guest's stdout or stderr, on its way to the log.
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::line::{Splitter, Stream};
use super::write::LogFile;

/// One output of one instance; lines of several instances never mix. What has
/// no newline is written when the last handle is dropped.
#[derive(Clone)]
pub struct GuestOutput(Arc<Output>);

struct Output {
    log: Arc<LogFile>,
    stream: Stream,
    splitter: Mutex<Splitter>,
}

impl GuestOutput {
    /// An output that goes to `log`.
    pub fn new(log: Arc<LogFile>, stream: Stream) -> Self {
        Self(Arc::new(Output { log, stream, splitter: Mutex::default() }))
    }

    fn push(&self, bytes: &[u8]) {
        let Output { log, stream, splitter } = &*self.0;
        splitter.lock().push(bytes, |text, whole| log.append(*stream, text, whole));
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let Self { log, stream, splitter } = self;
        splitter.get_mut().finish(|text, whole| log.append(*stream, text, whole));
    }
}

/// Both outputs of one instance.
#[derive(Clone)]
pub struct Outputs {
    /// Standard output.
    pub stdout: GuestOutput,
    /// Standard error.
    pub stderr: GuestOutput,
}

impl Outputs {
    /// Outputs that go to `log`.
    pub fn new(log: &Arc<LogFile>) -> Self {
        Self {
            stdout: GuestOutput::new(log.clone(), Stream::Stdout),
            stderr: GuestOutput::new(log.clone(), Stream::Stderr),
        }
    }

    /// Writes what has no newline yet, as the instance has ended.
    pub fn finish(&self) {
        for output in [&self.stdout, &self.stderr] {
            let Output { log, stream, splitter } = &*output.0;
            splitter.lock().finish(|text, whole| log.append(*stream, text, whole));
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(AsyncOutput { output: self.clone(), roomy: None })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {
        self.0.log.roomy().await;
    }
}

#[async_trait]
impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.log.room())
    }
}

type Roomy = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The same for hosts that speak tokio's traits.
struct AsyncOutput {
    output: GuestOutput,
    roomy: Option<Roomy>,
}

impl AsyncWrite for AsyncOutput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        loop {
            let room = self.output.0.log.room();
            if room > 0 {
                self.roomy = None;
                let now = bytes.len().min(room);
                self.output.push(&bytes[..now]);
                return Poll::Ready(Ok(now));
            }
            let log = self.output.0.log.clone();
            let roomy =
                self.roomy.get_or_insert_with(|| Box::pin(async move { log.roomy().await }));
            ready!(roomy.as_mut().poll(cx));
            self.roomy = None;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
