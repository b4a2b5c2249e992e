//! Content on its way into the store: hashed while it is written, named only when it is whole.
use std::io::Write as _;

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{ContentStore, StoreError, blocking, digest_file};
use crate::reference::{Algorithm, Digest, Hasher};

/// Bytes gathered before a thread is asked to hash and write them: large enough that the hand-over
/// costs nothing beside them, small enough that a thousand uploads fit in memory.
const BATCH: usize = 512 << 10;

/// Takes the bytes of new content.
///
/// Dropping it before [`BlobWriter::commit`] leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    store: ContentStore,
    limit: u64,
    written: u64,
    pending: Vec<Bytes>,
    pending_len: usize,
    /// Absent while a thread has it, and for good if the future waiting for that thread was dropped.
    sink: Option<Sink>,
}

/// What was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug)]
struct Sink {
    /// Made by the first batch.
    file: Option<NamedTempFile>,
    hasher: Hasher,
}

impl BlobWriter {
    pub(super) fn new(store: ContentStore, limit: u64) -> Self {
        let sink = Sink { file: None, hasher: Hasher::new(Algorithm::Sha256) };
        Self { store, limit, written: 0, pending: Vec::new(), pending_len: 0, sink: Some(sink) }
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether a write was abandoned midway, so that nothing more can be added.
    pub fn is_broken(&self) -> bool {
        self.sink.is_none()
    }

    /// Appends a chunk. If the future is dropped, the writer may be [broken](Self::is_broken).
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        if self.written + chunk.len() as u64 > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.written += chunk.len() as u64;
        self.pending_len += chunk.len();
        self.pending.push(chunk);
        if self.pending_len >= BATCH { self.flush().await } else { Ok(()) }
    }

    /// Makes the content durable and visible under its digest. It must have the digest
    /// `expected`, if one is given; content that is here already is kept.
    pub async fn commit(mut self, expected: Option<&Digest>) -> Result<Written, StoreError> {
        self.flush().await?;
        let Sink { file, hasher } = self.sink.take().ok_or(StoreError::Abandoned)?;
        let (store, size, expected) = (self.store.clone(), self.written, expected.cloned());
        blocking(move || {
            let file = match file {
                Some(file) => file,
                None => temporary(&store)?,
            };
            let mut digest = hasher.finish();
            if let Some(expected) = expected {
                if expected.algorithm() != digest.algorithm() {
                    digest = digest_file(file.path(), expected.algorithm())?;
                }
                if digest != expected {
                    return Err(StoreError::DigestMismatch { expected, actual: digest });
                }
            }
            file.as_file().sync_all().map_err(StoreError::io("sync", file.path()))?;
            store.name(file, &digest)?;
            Ok(Written { digest, size })
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut sink = self.sink.take().ok_or(StoreError::Abandoned)?;
        let batch = std::mem::take(&mut self.pending);
        self.pending_len = 0;
        if !batch.is_empty() {
            let store = self.store.clone();
            sink = blocking(move || sink.take(&store, &batch)).await?;
        }
        self.sink = Some(sink);
        Ok(())
    }
}

impl Sink {
    fn take(mut self, store: &ContentStore, batch: &[Bytes]) -> Result<Self, StoreError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => temporary(store)?,
        };
        for chunk in batch {
            self.hasher.update(chunk);
            file.write_all(chunk).map_err(StoreError::io("write", file.path()))?;
        }
        self.file = Some(file);
        Ok(self)
    }
}

/// A file in the store's own file system, so that naming it is a rename.
fn temporary(store: &ContentStore) -> Result<NamedTempFile, StoreError> {
    let uploads = &store.inner.uploads;
    NamedTempFile::new_in(uploads).map_err(StoreError::io("create a file in", uploads))
}
