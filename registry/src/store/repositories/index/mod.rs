//! The file of the index, `index.redb`: opened, and opened again after it failed.
//!
//! Names lie in it alone: one that is lost or damaged cannot be made anew from the content, and
//! is refused rather than begun anew, which would forget every repository in silence. After a
//! failed write redb refuses all work until the file is opened again, so that is done by the next
//! who needs it: a disk that was full for a while costs the registry that while.
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use redb::{Builder, Database, DatabaseError, StorageError};

use super::tables;
use crate::store::StoreError;

/// Pages of the index kept in memory: it is small and read seldom.
const CACHE_BYTES: usize = 2 << 20;

type Open = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// The open index.
pub(super) struct Index {
    open: Open,
    database: RwLock<Option<Database>>,
    /// Whether the database refuses work, or may after a panic.
    broken: AtomicBool,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the index at `path`; it is made if it is missing and `is_new` says that it may be.
    pub(super) fn open(
        path: &Path,
        is_new: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<Self, StoreError> {
        if !path.exists() {
            if !is_new()? {
                return Err(StoreError::IndexMissing(path.to_owned()));
            }
            create(path)?;
        }
        let path = path.to_owned();
        let index = Self::by(Box::new(move || {
            let opened = builder().open(&path);
            opened.map_err(|error| unusable(&path, error))
        }));
        drop(index.opened()?);
        Ok(index)
    }

    fn by(open: Open) -> Self {
        Self { open, database: RwLock::new(None), broken: AtomicBool::new(false) }
    }

    /// Does some work with the database. Blocks.
    pub(super) fn with<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let database = self.opened()?;
        let _noting = NotePanic(&self.broken);
        let done = work(&database);
        // Most failures are refusals of ours; after one of the file, redb begins no write.
        if done.is_err() && database.begin_write().is_err() {
            self.broken.store(true, Ordering::Release);
        }
        done
    }

    fn opened(&self) -> Result<MappedRwLockReadGuard<'_, Database>, StoreError> {
        let is_broken = || self.broken.load(Ordering::Acquire);
        if !is_broken()
            && let Ok(database) = RwLockReadGuard::try_map(self.database.read(), Option::as_ref)
        {
            return Ok(database);
        }
        let mut database = self.database.write();
        if is_broken() {
            tracing::warn!("the registry's index failed, opening it again");
            // Before it is opened again, as it is locked until then.
            *database = None;
        }
        if database.is_none() {
            *database = Some((self.open)()?);
            self.broken.store(false, Ordering::Release);
        }
        let database = RwLockWriteGuard::downgrade(database);
        Ok(RwLockReadGuard::map(database, |database| {
            database.as_ref().expect("it was opened above, and nobody else could write since")
        }))
    }
}

/// Distrusts the database when its user panics: its locks may be poisoned.
struct NotePanic<'a>(&'a AtomicBool);

impl Drop for NotePanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an index beside `path` and moves it there whole: a file without tables is then never one
/// that was begun, but one that was lost.
fn create(path: &Path) -> Result<(), StoreError> {
    let file = |source| StoreError::IndexFile { path: path.to_owned(), source };
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(file(error)),
        _ => {}
    }
    let created = File::options().read(true).write(true).create_new(true).open(&fresh);
    let database = builder().create_file(created.map_err(file)?);
    let database = database.map_err(|error| unusable(path, error))?;
    let tables = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        tables::create(&transaction)?;
        Ok(transaction.commit()?)
    };
    tables().map_err(StoreError::index("create the tables"))?;
    drop(database);
    fs::rename(&fresh, path).map_err(file)
}

fn unusable(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::IndexInUse(path),
        DatabaseError::Storage(StorageError::Io(source)) if !is_damage(&source) => {
            StoreError::IndexFile { path, source }
        }
        other => StoreError::IndexDamaged { path, source: Box::new(other.into()) },
    }
}

/// Whether the file's content is to blame for an error.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests;
