//! A store in one file, by redb: each commit is synced before it is answered.
//!
//! A value is kept as its revision, its expiry (milliseconds, 0 for none) and
//! its bytes. The revision stands in a table of its own, so that it never goes
//! backwards, even when the last writes were deletions.
//!
//! Secrets stand in the file in clear, so that file and folder are their owner's alone.
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

use super::sequencer::Journal;
use super::{Embedded, Entry, Event, Revision};
use crate::clock::Clock;
use crate::platform;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";

/// Bytes before the value: revision and expiry.
const HEAD: usize = 16;

/// Pages that redb may keep: the entries are in memory anyway.
const CACHE_BYTES: usize = 8 << 20;

/// Why a store's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be made.
    #[error("cannot make the folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The system does not let it be read or written.
    #[error(
        "cannot open the store {0}; check that this user may write it and that the disk is not full"
    )]
    File(PathBuf, #[source] std::io::Error),
    /// It is not there, though a cluster has kept its objects in it.
    #[error(
        "the store {0} is missing, but a cluster has run in this data directory; restore the file from a backup, or remove the whole data directory to begin anew"
    )]
    Missing(PathBuf),
    /// Another process has it open.
    #[error("{0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// It is not a store, or damaged.
    #[error(
        "cannot read the store {0}; restore it from a backup, or remove the whole data directory to begin anew"
    )]
    Damaged(PathBuf, #[source] Box<redb::Error>),
    /// An entry in it is not one of ours.
    #[error("the entry {1:?} in {0} is damaged; restore the file from a backup")]
    Entry(PathBuf, String),
    /// The system gives no thread.
    #[error("cannot start the store")]
    Thread(#[source] std::io::Error),
}

/// Opens the store in `path`, which must be there.
pub fn open_existing(path: &Path, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing(path.to_path_buf()));
    }
    open(path, clock)
}

/// Opens the store in `path`, making it if it is not there.
pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
    if let Some(folder) = path.parent() {
        platform::create_private_dir(folder)
            .map_err(|source| OpenError::Folder(folder.to_path_buf(), source))?;
    }
    if !path.exists() {
        create(path)?;
    }
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).open(path);
    let database = database.map_err(|error| unusable(path, error))?;
    start(database, path, clock)
}

/// Makes a store beside `path` and moves it there whole: a file without content is then never one
/// that was begun, but one that was lost, and is not taken for a new cluster.
fn create(path: &Path) -> Result<(), OpenError> {
    let file = |source| OpenError::File(path.to_path_buf(), source);
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(file(error)),
        _ => {}
    }
    let created = platform::create_private_file(&fresh).map_err(file)?;
    let database = redb::Builder::new().create_file(created);
    drop(database.map_err(|error| unusable(path, error))?);
    std::fs::rename(&fresh, path).map_err(file)
}

fn unusable(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_path_buf()),
        DatabaseError::Storage(StorageError::Io(error)) if !damage(&error) => {
            OpenError::File(path.to_path_buf(), error)
        }
        other => OpenError::Damaged(path.to_path_buf(), Box::new(other.into())),
    }
}

/// Whether the file's content is to blame for an error.
fn damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn start(database: Database, path: &Path, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
    let (entries, revision) = read(&database, path)?;
    Embedded::start(entries, revision, Box::new(File(database)), clock).map_err(OpenError::Thread)
}

fn read(database: &Database, path: &Path) -> Result<(Vec<Entry>, Revision), OpenError> {
    let damaged = |error: redb::Error| OpenError::Damaged(path.to_path_buf(), Box::new(error));
    let tables = || -> Result<_, redb::Error> {
        // So that a new file has them.
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(META)?;
        write.commit()?;
        let read = database.begin_read()?;
        Ok((read.open_table(ENTRIES)?, read.open_table(META)?))
    };
    let (table, meta) = tables().map_err(damaged)?;
    let mut entries = Vec::new();
    for row in table.iter().map_err(|error| damaged(error.into()))? {
        let (key, value) = row.map_err(|error| damaged(error.into()))?;
        let entry = entry(key.value(), value.value())
            .ok_or_else(|| OpenError::Entry(path.to_path_buf(), key.value().to_owned()))?;
        entries.push(entry);
    }
    let revision = meta.get(REVISION).map_err(|error| damaged(error.into()))?;
    let revision = revision.map_or(Revision::EMPTY, |revision| Revision(revision.value()));
    Ok((entries, revision))
}

fn entry(key: &str, bytes: &[u8]) -> Option<Entry> {
    let (head, value) = bytes.split_at_checked(HEAD)?;
    let revision = u64::from_le_bytes(head[..8].try_into().ok()?);
    let expires = match i64::from_le_bytes(head[8..].try_into().ok()?) {
        0 => None,
        milliseconds => Some(Timestamp::from_millisecond(milliseconds).ok()?),
    };
    Some(Entry::new(key.into(), Bytes::copy_from_slice(value), Revision(revision), expires))
}

/// The file behind a store.
struct File(Database);

impl File {
    fn commit(&self, events: &[Event]) -> Result<(), redb::Error> {
        let mut write = self.0.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut entries = write.open_table(ENTRIES)?;
            let mut bytes = Vec::new();
            for event in events {
                let Some(entry) = &event.entry else {
                    entries.remove(event.key())?;
                    continue;
                };
                bytes.clear();
                bytes.extend_from_slice(&entry.revision().0.to_le_bytes());
                let expires = entry.expires().map_or(0, Timestamp::as_millisecond);
                bytes.extend_from_slice(&expires.to_le_bytes());
                bytes.extend_from_slice(entry.value());
                entries.insert(entry.key(), bytes.as_slice())?;
            }
            if let Some(last) = events.last() {
                write.open_table(META)?.insert(REVISION, last.revision.0)?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl Journal for File {
    fn commit(&mut self, events: &[Event]) -> Result<(), Arc<dyn std::error::Error + Send + Sync>> {
        File::commit(self, events).map_err(|error| Arc::new(error) as _)
    }
}

#[cfg(test)]
mod tests;
