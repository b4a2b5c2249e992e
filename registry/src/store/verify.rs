//! Content compared with its name, as a disk may give back something else than it was given.
//!
//! What is not what its name says is removed, so that the next push or pull brings it anew. A
//! comparison reads the whole blob; it holds for a minute while the file's size and time stay,
//! so that asking costs one hash a minute and blob, however often and by whom it is done.
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{ContentStore, StoreError, blocking, digest_file, stat};
use crate::reference::Digest;

/// How long a comparison holds: longer than a push takes from its first blob to its manifest,
/// and as long as a disk that forgets without a trace may go unnoticed.
const HOLDS: Duration = Duration::from_secs(60);

/// Comparisons remembered: more than there are blobs in the images that a minute sees.
const MAX_REMEMBERED: usize = 4096;

/// Blobs hashed at once: each takes a core.
const AT_ONCE: usize = 2;

/// Size and time of a file.
pub(super) type Stat = (u64, SystemTime);

/// Which blobs were what their names say lately.
#[derive(Debug)]
pub(super) struct Verified {
    seen: Mutex<HashMap<Digest, Seen>>,
    hashing: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    stat: Stat,
    at: Instant,
}

impl Default for Verified {
    fn default() -> Self {
        Self { seen: Mutex::default(), hashing: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Verified {
    /// Remembers that a file was what its name says.
    pub(super) fn note(&self, digest: &Digest, stat: Stat) {
        self.insert(digest, Seen { stat, at: Instant::now() });
    }

    /// Whether a file was, when it was last compared, and is the same file still.
    pub(super) fn holds(&self, digest: &Digest, stat: Stat) -> bool {
        self.find(digest, stat).is_some()
    }

    /// Goes on holding for a file that was given another time.
    pub(super) fn follow(&self, digest: &Digest, from: Stat, to: Stat) {
        if let Some(seen) = self.find(digest, from) {
            self.insert(digest, Seen { stat: to, ..seen });
        }
    }

    fn forget(&self, digest: &Digest) {
        self.seen.lock().remove(digest);
    }

    fn find(&self, digest: &Digest, stat: Stat) -> Option<Seen> {
        let seen = self.seen.lock();
        seen.get(digest).filter(|seen| seen.stat == stat && seen.at.elapsed() < HOLDS).copied()
    }

    fn insert(&self, digest: &Digest, new: Seen) {
        let mut seen = self.seen.lock();
        if seen.len() >= MAX_REMEMBERED && !seen.contains_key(digest) {
            seen.retain(|_, seen| seen.at.elapsed() < HOLDS);
            if seen.len() >= MAX_REMEMBERED {
                seen.clear();
            }
        }
        seen.insert(digest.clone(), new);
    }
}

impl ContentStore {
    /// Whether a blob is here and is what its name says; one that is not is removed.
    pub async fn is_intact(&self, digest: &Digest) -> Result<bool, StoreError> {
        let seen = stat(&self.blob_path(digest))?;
        if seen.is_none_or(|seen| self.inner.verified.holds(digest, seen)) {
            return Ok(seen.is_some());
        }
        let (store, digest) = (self.clone(), digest.clone());
        let hashing = Arc::clone(&self.inner.verified.hashing);
        let permit = hashing.acquire_owned().await.expect("the semaphore is never closed");
        blocking(move || {
            let _permit = permit;
            store.is_intact_blocking(&digest)
        })
        .await
    }

    /// Has a blob compared anew when it is asked for next, as its bytes were seen to be wrong.
    pub fn distrust(&self, digest: &Digest) {
        self.inner.verified.forget(digest);
    }

    fn is_intact_blocking(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        let Some(seen) = stat(&path)? else { return Ok(false) };
        if self.inner.verified.holds(digest, seen) {
            return Ok(true);
        }
        let found = match digest_file(&path, digest.algorithm()) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            found => found?,
        };
        if found == *digest {
            self.inner.verified.note(digest, seen);
            return Ok(true);
        }
        self.discard(digest, seen)?;
        Ok(false)
    }

    /// Removes a damaged blob, unless another took its place since it was looked at.
    pub(super) fn discard(&self, digest: &Digest, seen: Stat) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let _naming = self.inner.naming.lock();
        if stat(&path)? == Some(seen) {
            self.unlink(digest)?;
            let file = path.display();
            tracing::error!(%digest, %file, "damaged content removed; push or pull it again");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let verified = Verified::default();
        let stat = (1, SystemTime::UNIX_EPOCH);
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..=MAX_REMEMBERED {
            verified.note(&digest(number), stat);
            assert!(verified.seen.lock().len() <= MAX_REMEMBERED);
        }
        assert!(verified.holds(&digest(MAX_REMEMBERED), stat));
        assert!(!verified.holds(&digest(MAX_REMEMBERED), (2, stat.1)));
    }
}
