//! A connection inside the process: two bounded queues of chunks.
//!
//! Chunks are moved, never copied: what one guest wrote is what the other one
//! reads. A queue is bounded by bytes and charges every chunk a little, so that
//! a guest that writes single bytes cannot make the host hold more than it may.
//! The host's end is a [`Stream`], which tokio and hyper can read and write.
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What one direction holds at most, in bytes; the kernel's default for a
/// socket is of this size, and beyond it throughput hardly rises.
pub const CAPACITY: usize = 64 << 10;

/// What a chunk costs on top of its bytes: its handle and its allocation.
const CHUNK_COST: usize = 64;

/// The largest chunk that a [`Stream`] copies at once.
const COPY: usize = 16 << 10;

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// Bytes and chunk costs held.
    charged: usize,
    /// The writer is done: after the chunks comes the end.
    finished: bool,
    /// The reader is gone: whatever is written is lost.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Who waits for the reader to go.
    watcher: Option<Waker>,
}

/// One direction.
type Channel = Arc<Mutex<Queue>>;

/// The end of a direction that chunks come out of; dropping it abandons the direction.
#[derive(Debug)]
pub struct Reader(Channel);

/// The end of a direction that chunks go into; dropping it ends the direction.
#[derive(Debug)]
pub struct Writer(Channel);

/// Ends a direction from a third place, for `shutdown` on a socket whose ends live elsewhere.
#[derive(Debug, Clone)]
pub struct Shutdown {
    read: Channel,
    write: Channel,
}

/// The other side does not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side has closed the connection")]
pub struct Closed;

impl Reader {
    /// Up to `max` bytes; an empty chunk when nothing is there yet, `None` at the end.
    pub fn take_chunk(&self, max: usize) -> Option<Bytes> {
        let mut queue = self.0.lock();
        let Some(first) = queue.chunks.front_mut() else {
            return if queue.finished || queue.abandoned { None } else { Some(Bytes::new()) };
        };
        if max == 0 {
            return Some(Bytes::new());
        }
        let (chunk, cost) = if first.len() <= max {
            (queue.chunks.pop_front().unwrap_or_default(), CHUNK_COST)
        } else {
            (first.split_to(max), 0)
        };
        queue.charged -= chunk.len() + cost;
        // A writer waits only while the queue is full.
        let writer = if queue_is_full(queue.charged) { None } else { queue.writer.take() };
        drop(queue);
        wake(writer);
        Some(chunk)
    }

    /// Ready when [`Reader::take_chunk`] answers a chunk or the end.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.0.lock();
        if queue.finished || queue.abandoned || !queue.chunks.is_empty() {
            return Poll::Ready(());
        }
        remember(&mut queue.reader, context);
        Poll::Pending
    }
}

impl Writer {
    /// Adds a chunk, whatever room there is: ask [`Writer::room`] first.
    pub fn put(&self, chunk: Bytes) -> Result<(), Closed> {
        let mut queue = self.0.lock();
        if queue.finished || queue.abandoned {
            return Err(Closed);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        queue.charged += chunk.len() + CHUNK_COST;
        queue.chunks.push_back(chunk);
        let reader = queue.reader.take();
        drop(queue);
        wake(reader);
        Ok(())
    }

    /// Bytes that fit now.
    pub fn room(&self) -> Result<usize, Closed> {
        let queue = self.0.lock();
        if queue.finished || queue.abandoned {
            return Err(Closed);
        }
        Ok(CAPACITY.saturating_sub(queue.charged))
    }

    /// Ready when there is room or the direction is closed.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.0.lock();
        if queue.finished || queue.abandoned || !queue_is_full(queue.charged) {
            return Poll::Ready(());
        }
        remember(&mut queue.writer, context);
        Poll::Pending
    }

    /// Ends the direction: the reader gets what is queued, then the end.
    pub fn finish(&self) {
        finish(&self.0);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        abandon(&self.0);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shutdown {
    /// Reads no more: what is queued and what comes is lost.
    pub fn read(&self) {
        abandon(&self.read);
    }

    /// Writes no more.
    pub fn write(&self) {
        finish(&self.write);
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    writer: Writer,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream {
    /// A connection from one address to another: the dialler's end and the listener's.
    pub fn pair(from: SocketAddr, to: SocketAddr) -> (Self, Self) {
        let (there, back) = (Channel::default(), Channel::default());
        let dialler = Self {
            reader: Reader(back.clone()),
            writer: Writer(there.clone()),
            local: from,
            peer: to,
        };
        let listener = Self { reader: Reader(there), writer: Writer(back), local: to, peer: from };
        (dialler, listener)
    }

    /// The address of this end.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// A handle that can close either direction.
    pub fn shutdown_handle(&self) -> Shutdown {
        Shutdown { read: self.reader.0.clone(), write: self.writer.0.clone() }
    }

    /// The two directions by themselves.
    pub fn into_split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ready(context));
        if let Some(chunk) = self.take_chunk(buffer.remaining()) {
            buffer.put_slice(&chunk);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(context));
        let room = self.room().map_err(broken_pipe)?;
        let chunk = &bytes[..bytes.len().min(room.clamp(1, COPY))];
        self.put(Bytes::copy_from_slice(chunk)).map_err(broken_pipe)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.finish();
        Poll::Ready(Ok(()))
    }
}

/// Carries bytes between a connection and anything else until both directions
/// have ended, or the far end of the connection is gone.
pub async fn bridge<T>(stream: Stream, other: T) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite,
{
    let watched = Watch(stream.writer.0.clone());
    let (mut reader, mut writer) = stream.into_split();
    let (mut from_other, mut to_other) = tokio::io::split(other);
    let inward = async move {
        let copied = tokio::select! {
            copied = tokio::io::copy(&mut from_other, &mut writer) => copied.map(|_| ()),
            // Nobody reads what `other` would still send.
            () = watched.abandoned() => Ok(()),
        };
        writer.finish();
        copied
    };
    let outward = async move {
        tokio::io::copy(&mut reader, &mut to_other).await?;
        to_other.shutdown().await
    };
    let (inward, outward) = tokio::join!(inward, outward);
    inward.and(outward)
}

/// Sees the reader of a direction go.
struct Watch(Channel);

impl Watch {
    async fn abandoned(&self) {
        poll_fn(|context| {
            let mut queue = self.0.lock();
            if queue.abandoned {
                return Poll::Ready(());
            }
            remember(&mut queue.watcher, context);
            Poll::Pending
        })
        .await;
    }
}

fn queue_is_full(charged: usize) -> bool {
    charged >= CAPACITY
}

fn finish(channel: &Channel) {
    let mut queue = channel.lock();
    queue.finished = true;
    let (reader, writer) = (queue.reader.take(), queue.writer.take());
    drop(queue);
    wake(reader);
    wake(writer);
}

fn abandon(channel: &Channel) {
    let mut queue = channel.lock();
    queue.abandoned = true;
    queue.charged = 0;
    let chunks = std::mem::take(&mut queue.chunks);
    let wakers = [queue.reader.take(), queue.writer.take(), queue.watcher.take()];
    drop(queue);
    drop(chunks);
    wakers.into_iter().for_each(wake);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn remember(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

fn broken_pipe(closed: Closed) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, closed)
}

#[cfg(test)]
mod tests;
