//! Content on disk, named by its digest.
//!
//! ```text
//! DIR/blobs/sha256/ab/ab34…   content, complete and verified, immutable
//! DIR/uploads/…               content being written, removed when the store is opened
//! ```
//!
//! A blob appears under its name by a rename after its bytes are synced, so a crash leaves either
//! the whole blob or none. The node's image store keeps pulled artifacts in a [`ContentStore`];
//! the registry adds names to one with [`Repositories`].
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::platform;
use crate::reference::{Algorithm, Digest, Hasher};

mod error;
mod repositories;
mod verify;
mod writer;

pub use error::StoreError;
pub use repositories::{
    Collected, ManifestName, Page, PutManifestError, Repositories, StoredManifest,
};
pub use writer::{BlobWriter, Written};

use verify::{Stat, Verified};

/// As large as one blob may be: what a guest of wasm32 can address.
pub const MAX_BLOB_SIZE: u64 = 4 << 30;

/// As large as content read into memory at once may be: manifests are bounded by 4 MiB, and the
/// configurations we read whole are no larger.
pub const MAX_READ_SIZE: u64 = 4 << 20;

/// Content-addressed files in a directory; clones share it.
#[derive(Debug, Clone)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    uploads: PathBuf,
    /// Held while a blob gets its name and while one is removed for its age, so that a blob
    /// committed again at that moment is not lost.
    naming: Mutex<()>,
    verified: Verified,
}

/// A blob found by [`ContentStore::blobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When it was last committed.
    pub committed: SystemTime,
}

impl ContentStore {
    /// Opens the store in `dir`, which is made if it is missing. What an earlier process was
    /// still writing is removed: one process at a time may have a directory open.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let blobs = dir.as_ref().join("blobs");
        let uploads = dir.as_ref().join("uploads");
        for dir in [&blobs, &uploads] {
            fs::create_dir_all(dir).map_err(StoreError::io("create directory", dir))?;
        }
        for entry in fs::read_dir(&uploads).map_err(StoreError::io("list", &uploads))? {
            let path = entry.map_err(StoreError::io("list", &uploads))?.path();
            fs::remove_file(&path).map_err(StoreError::io("remove stale upload", &path))?;
        }
        let (naming, verified) = (Mutex::default(), Verified::default());
        Ok(Self { inner: Arc::new(Inner { blobs, uploads, naming, verified }) })
    }

    /// Begins new content of at most [`MAX_BLOB_SIZE`] bytes.
    pub fn writer(&self) -> BlobWriter {
        self.writer_of_at_most(MAX_BLOB_SIZE)
    }

    /// Begins new content of at most `limit` bytes.
    pub fn writer_of_at_most(&self, limit: u64) -> BlobWriter {
        BlobWriter::new(self.clone(), limit)
    }

    /// Stores content that is in memory already.
    pub async fn put(&self, content: Bytes) -> Result<Digest, StoreError> {
        let digest = Digest::of(&content);
        self.put_as(&digest, content).await?;
        Ok(digest)
    }

    /// Stores content under the digest it must have.
    pub async fn put_as(&self, digest: &Digest, content: Bytes) -> Result<(), StoreError> {
        let mut writer = self.writer();
        writer.write(content).await?;
        writer.commit(Some(digest)).await?;
        Ok(())
    }

    /// Where a blob is, or would be. The file never changes while it exists.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.inner.blobs.join(digest.algorithm().as_str());
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    /// Whether a blob is here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Bytes of a blob, `None` if it is not here.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }

    /// Opens a blob for reading, with its size in bytes.
    pub async fn open_blob(&self, digest: &Digest) -> Result<(tokio::fs::File, u64), StoreError> {
        let path = self.blob_path(digest);
        let file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound(digest.clone()));
            }
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        let metadata = file.metadata().await.map_err(StoreError::io("look at", &path))?;
        Ok((file, metadata.len()))
    }

    /// Reads a small blob ([`MAX_READ_SIZE`]) whole, and checks it against its name: one that is
    /// not what it says is removed.
    pub async fn read(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let (store, digest) = (self.clone(), digest.clone());
        blocking(move || store.read_blocking(&digest)).await
    }

    /// [`ContentStore::read`] on the calling thread.
    pub fn read_blocking(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let path = self.blob_path(digest);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound(digest.clone()));
            }
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        let seen = stat(&path)?;
        let mut content = Vec::new();
        file.take(MAX_READ_SIZE + 1)
            .read_to_end(&mut content)
            .map_err(StoreError::io("read", &path))?;
        if content.len() as u64 > MAX_READ_SIZE {
            return Err(StoreError::TooLarge { limit: MAX_READ_SIZE });
        }
        if Digest::with(digest.algorithm(), &content) != *digest {
            if let Some(seen) = seen {
                self.discard(digest, seen)?;
            }
            return Err(StoreError::Corrupt { digest: digest.clone(), path });
        }
        Ok(content.into())
    }

    /// Removes a blob; answers whether it was here.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (store, digest) = (self.clone(), digest.clone());
        blocking(move || {
            let _naming = store.inner.naming.lock();
            store.unlink(&digest)
        })
        .await
    }

    /// Every blob, in no order. Blocks on the file system.
    pub fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.inner.blobs.join(algorithm.as_str());
            for shard in list(&dir)? {
                for path in list(&shard)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    // A stranger's file in our directory is not ours to judge.
                    let Ok(digest) = format!("{}:{name}", algorithm.as_str()).parse() else {
                        continue;
                    };
                    if let Some((size, committed)) = stat(&path)? {
                        found.push(Blob { digest, size, committed });
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether a blob was last committed before a time, or is not here at all.
    pub(crate) fn is_older(&self, digest: &Digest, before: SystemTime) -> Result<bool, StoreError> {
        Ok(stat(&self.blob_path(digest))?.is_none_or(|(_, committed)| committed < before))
    }

    /// Removes a blob unless it was committed after `before`; answers whether it is gone.
    pub fn remove_older(&self, digest: &Digest, before: SystemTime) -> Result<bool, StoreError> {
        let _naming = self.inner.naming.lock();
        match stat(&self.blob_path(digest))? {
            Some((_, committed)) if committed < before => self.unlink(digest),
            _ => Ok(false),
        }
    }

    /// Counts a blob as committed now, so that who just heard that it is here may name it before
    /// garbage collection takes it. Answers whether it is here.
    pub async fn renew(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (store, digest) = (self.clone(), digest.clone());
        blocking(move || {
            let _naming = store.inner.naming.lock();
            store.touch(&digest)
        })
        .await
    }

    fn unlink(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path)(error)),
        }
    }

    /// Gives a finished, synced file its name, durably. If the blob is here already and known to
    /// be whole, that one stays and counts as committed now.
    fn name(&self, file: tempfile::NamedTempFile, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let shard = path.parent().expect("a blob's path has a directory");
        self.make_shard(shard)?;
        let naming = self.inner.naming.lock();
        let is_whole = stat(&path)?.is_some_and(|seen| self.inner.verified.holds(digest, seen));
        if !(is_whole && self.touch(digest)?) {
            file.persist(&path).map_err(|e| StoreError::io("name", &path)(e.error))?;
            if let Some(seen) = stat(&path)? {
                self.inner.verified.note(digest, seen);
            }
        }
        drop(naming);
        // Synced even if the blob was there: who named it may not have got that far.
        platform::sync_dir(shard).map_err(StoreError::io("sync", shard))
    }

    /// Gives a blob the present time; answers whether it is here.
    fn touch(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        let before = stat(&path)?;
        if !touch(&path)? {
            return Ok(false);
        }
        if let (Some(before), Some(after)) = (before, stat(&path)?) {
            self.inner.verified.follow(digest, before, after);
        }
        Ok(true)
    }

    fn make_shard(&self, shard: &Path) -> Result<(), StoreError> {
        if shard.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(shard).map_err(StoreError::io("create directory", shard))?;
        let algorithm = shard.parent().expect("a shard lies in its algorithm's directory");
        for dir in [algorithm, &self.inner.blobs] {
            platform::sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        }
        Ok(())
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is never aborted but by the end of the runtime, which ends us too.
            Err(_) => std::future::pending().await,
        },
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    entries.map(|entry| Ok(entry.map_err(StoreError::io("list", dir))?.path())).collect()
}

/// Gives a file the present time; answers whether it is there.
fn touch(path: &Path) -> Result<bool, StoreError> {
    match fs::File::options().write(true).open(path) {
        Ok(file) => {
            file.set_modified(SystemTime::now()).map_err(StoreError::io("touch", path))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("open", path)(error)),
    }
}

fn stat(path: &Path) -> Result<Option<Stat>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => {
            let modified = metadata.modified().map_err(StoreError::io("look at", path))?;
            Ok(Some((metadata.len(), modified)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}

/// The digest of a file.
fn digest_file(path: &Path, algorithm: Algorithm) -> Result<Digest, StoreError> {
    let mut file = fs::File::open(path).map_err(StoreError::io("open", path))?;
    let mut hasher = Hasher::new(algorithm);
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece).map_err(StoreError::io("read", path))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&piece[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
