//! A store in one file, by redb: each commit is synced before it is answered.
//!
//! The revision stands in a table of its own, so that it never goes
//! backwards, even when the last writes were deletions.
//!
//! Secrets stand in the file in clear, so that file and folder are their owner's alone.
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    StorageError, TableDefinition, TableError,
};

use super::{Embedded, Entry, Revision};
use crate::clock::Clock;
use crate::platform;

mod file;
mod guarded;
mod row;

use file::File;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";

/// Pages that redb may keep: the entries are in memory anyway.
const CACHE_BYTES: usize = 8 << 20;

/// How a store's file is opened, also again after a failure.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

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
    /// An entry in it is not as it was written.
    #[error(
        "the entry {1:?} in {0} is damaged; restore the file from a backup, or remove the whole data directory to begin anew"
    )]
    Entry(PathBuf, String),
    /// It is not what this process has written: a write is lacking, or one is of another.
    #[error(
        "the store {0} was changed by something else; restart podium, which goes on with what the file holds"
    )]
    Changed(PathBuf),
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
    let place = path.to_path_buf();
    let opener = move || redb::Builder::new().set_cache_size(CACHE_BYTES).open(&place);
    start(Box::new(opener), path, clock)
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

fn start(opener: Opener, path: &Path, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
    let database = opened(&opener, path)?;
    let (entries, revision) = match guarded::run(path, || read(&database, path)) {
        Ok(read) => read,
        Err(error) => {
            guarded::close(path, database);
            return Err(error);
        }
    };
    let file = File::new(opener, path, database, revision);
    Embedded::start(entries, revision, Box::new(file), clock).map_err(OpenError::Thread)
}

fn opened(opener: &Opener, path: &Path) -> Result<Database, OpenError> {
    guarded::run(path, || opener().map_err(|error| unusable(path, error)))
}

fn unusable(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse(path.to_path_buf()),
        redb::Error::Io(error) if !damage(&error) => OpenError::File(path.to_path_buf(), error),
        other => OpenError::Damaged(path.to_path_buf(), Box::new(other)),
    }
}

/// Whether the file's content is to blame for an error.
fn damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn read(database: &Database, path: &Path) -> Result<(Vec<Entry>, Revision), OpenError> {
    let revision = revision(database).map_err(|error| unusable(path, error))?;
    let entries = entries(database, path, revision)?;
    Ok((entries, revision))
}

/// The revision of the last write in a file; a new one has no table of them.
fn revision(database: &Database) -> Result<Revision, redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Revision::EMPTY),
        meta => meta?,
    };
    let revision = meta.get(REVISION)?;
    Ok(revision.map_or(Revision::EMPTY, |revision| Revision(revision.value())))
}

fn entries(database: &Database, path: &Path, revision: Revision) -> Result<Vec<Entry>, OpenError> {
    let bad = |error: redb::Error| unusable(path, error);
    let read = database.begin_read().map_err(|error| bad(error.into()))?;
    let table = match read.open_table(ENTRIES) {
        Err(TableError::TableDoesNotExist(_)) if revision == Revision::EMPTY => {
            return Ok(Vec::new());
        }
        table => table.map_err(|error| bad(error.into()))?,
    };
    let mut entries = Vec::new();
    for found in table.iter().map_err(|error| bad(error.into()))? {
        let (key, value) = found.map_err(|error| bad(error.into()))?;
        let entry = row::decode(key.value(), value.value());
        let entry = entry.filter(|entry| entry.revision() <= revision);
        let damaged = || OpenError::Entry(path.to_path_buf(), key.value().to_owned());
        entries.push(entry.ok_or_else(damaged)?);
    }
    if table.len().map_err(|error| bad(error.into()))? != entries.len() as u64 {
        return Err(bad(StorageError::Corrupted("entries are missing".into()).into()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
