//! Durable, ordered, watchable bytes.
//!
//! A [`Store`] knows keys, bytes and revisions. It does not know kinds, JSON
//! or HTTP: `storage` turns objects into entries and entries into objects.
//! Every backend passes the same `conformance` suite, so the rest of the
//! server never asks which one it runs on.
//!
//! [`memory`] and [`redb`] are one [`Embedded`] store: a `History` that
//! readers and watchers use, and one sequencer thread that gives each write
//! its revision. They differ in the journal that the sequencer commits to.
use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

#[cfg(test)]
mod conformance;
mod embedded;
mod history;
pub mod memory;
pub mod redb;
mod sequencer;

pub use embedded::Embedded;

/// A point in the history of the store. An empty store is at 1, as 0 means
/// "any" to Kubernetes' clients; each write has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a store that nothing was written to.
    pub const EMPTY: Self = Self(1);

    /// The revision of the next write.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One version of a stored value; a clone copies a pointer.
#[derive(Clone)]
pub struct Entry(Arc<Version>);

struct Version {
    key: Arc<str>,
    value: Bytes,
    revision: Revision,
    expires: Option<Timestamp>,
    derived: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Entry {
    fn new(key: Arc<str>, value: Bytes, revision: Revision, expires: Option<Timestamp>) -> Self {
        Self(Arc::new(Version { key, value, revision, expires, derived: OnceLock::new() }))
    }

    /// Where it is stored.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// What is stored.
    pub fn value(&self) -> &Bytes {
        &self.0.value
    }

    /// The write that stored it.
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// When the store removes it, if it does.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }

    /// What a reader makes of this version, made once and kept with it. It
    /// must not hold the entry itself, or neither would ever be freed.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl Fn() -> T) -> Arc<T> {
        let kept = self.0.derived.get_or_init(|| Arc::new(make())).clone();
        kept.downcast().unwrap_or_else(|_| Arc::new(make()))
    }

    fn shared_key(&self) -> Arc<str> {
        self.0.key.clone()
    }
}

impl fmt::Debug for Entry {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key(), self.revision(), self.value().len())
    }
}

/// A change to one key; a clone copies pointers.
#[derive(Debug, Clone)]
pub struct Event {
    /// The write that made the change.
    pub revision: Revision,
    /// The new version; none if the key was removed.
    pub entry: Option<Entry>,
    /// The version before; none if the key was free.
    pub previous: Option<Entry>,
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &str {
        self.entry.as_ref().or(self.previous.as_ref()).map_or("", Entry::key)
    }
}

/// What must hold for a value to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent,
    /// The key was last written at this revision.
    Unchanged(Revision),
}

/// Which entries to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    /// What their keys begin with.
    pub prefix: &'a str,
    /// Only keys after this one.
    pub start_after: Option<&'a str>,
    /// At most so many entries.
    pub limit: Option<usize>,
    /// As of this revision; the present one if none.
    pub at: Option<Revision>,
}

/// Entries in the order of their keys.
#[derive(Debug, Clone)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many more the range has after them.
    pub remaining: usize,
    /// The revision they are read at.
    pub revision: Revision,
}

/// Why the store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The precondition does not hold.
    #[error("{key} is not as the write expects it")]
    Conflict {
        /// The contended key.
        key: String,
        /// Its present revision, if it has a value.
        actual: Option<Revision>,
    },
    /// The history up to this revision is gone; list again.
    #[error("the history up to revision {0} is gone")]
    Compacted(Revision),
    /// No write has reached the revision asked for.
    #[error("revision {wanted} is not reached, the store is at {current}")]
    Future {
        /// The revision asked for.
        wanted: Revision,
        /// The present one.
        current: Revision,
    },
    /// The store is shut down.
    #[error("the store is closed")]
    Closed,
    /// There is no room in this folder. The write is not made: what of it may be in the file is seen
    /// by nobody, unless the process dies before the next write takes it back.
    #[error(
        "the disk of {0} is full; free some space there: nothing that was acknowledged is lost, and writes go on as soon as there is room"
    )]
    Full(PathBuf, #[source] Arc<std::io::Error>),
    /// The backend failed; the write is not made.
    #[error("the storage backend failed")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The backend failed for good; the store takes no more writes.
    #[error("the store cannot go on")]
    Lost(#[source] Arc<redb::OpenError>),
}

/// A storage backend.
///
/// Once [`Store::revision`] has answered R, the events up to R are ready in
/// every watch: a watch that then has nothing to yield has yielded them all.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// Reads, as of one revision, the keys of a range.
    async fn list(&self, range: Range<'_>) -> Result<Page, Error>;

    /// Writes one key; the entry is removed `expires_after` this write unless
    /// it is written again.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        only_if: Precondition,
        expires_after: Option<Duration>,
    ) -> Result<Entry, Error>;

    /// Removes one key that was last written at a revision.
    async fn delete(&self, key: &str, at: Revision) -> Result<Event, Error>;

    /// Streams the changes of keys with `prefix` that come after a revision,
    /// in order, each once, without a gap. Who reads too slowly gets
    /// [`Error::Compacted`] as the last item.
    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error>;

    /// Forgets the history up to a revision; the entries stay.
    async fn compact(&self, up_to: Revision) -> Result<(), Error>;

    /// The revision of the last write.
    fn revision(&self) -> Revision;

    /// Why the last write could not be made durable, if it could not.
    fn trouble(&self) -> Option<Error>;
}
