//! Garbage collection: content that no manifest needs goes, once it is old enough.
//!
//! A push sends its blobs before the manifest that needs them, so content without a manifest may
//! be half of a push. It is kept until its last commit is `age` ago; committing content again
//! makes it young. Names are forgotten in one transaction before any file is removed, so a crash
//! in between leaves files without names, which the next collection finds.
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use redb::{ReadableTable as _, WriteTransaction};

use super::Repositories;
use super::tables::{self, LINKS, MANIFESTS, ManifestRow, REPOSITORIES};
use crate::reference::Digest;
use crate::store::{Blob, StoreError, blocking};

/// How old content without a manifest must be before it goes: no push of artifacts of our size
/// takes longer between its first blob and its manifest.
const AGE: Duration = Duration::from_secs(3600);

/// How often garbage is looked for that became old meanwhile.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// How long a deletion waits for others, so that a hundred are followed by one collection.
const SETTLE: Duration = Duration::from_secs(5);

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Repositories {
    /// Removes the content that no manifest needs and that was committed longer than `age` ago.
    /// Pushes may go on meanwhile, if none takes longer than `age`.
    pub async fn collect_garbage(&self, age: Duration) -> Result<Collected, StoreError> {
        let this = self.clone();
        blocking(move || this.collect(age)).await
    }

    /// Collects garbage for as long as it is polled: soon after something was deleted, and now
    /// and then.
    pub async fn collect_forever(&self) {
        loop {
            match self.collect_garbage(AGE).await {
                Ok(Collected { blobs: 0, .. }) => {}
                Ok(Collected { blobs, bytes }) => {
                    tracing::info!(blobs, bytes, "registry removed garbage");
                }
                Err(error) => tracing::warn!(%error, "registry cannot collect garbage"),
            }
            tokio::select! {
                () = self.shared.deleted.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn collect(&self, age: Duration) -> Result<Collected, StoreError> {
        let Some(before) = SystemTime::now().checked_sub(age) else {
            return Ok(Collected::default());
        };
        let blobs = self.content().blobs()?;
        let kept = self.write("collect garbage", |transaction| {
            forget(transaction, &|digest| self.content().is_older(digest, before))
        })?;
        let mut collected = Collected::default();
        for Blob { digest, size, .. } in &blobs {
            if !kept.contains(digest.as_str()) && self.content().remove_older(digest, before)? {
                collected.blobs += 1;
                collected.bytes += size;
            }
        }
        Ok(collected)
    }
}

/// Forgets the old links that no manifest of their repository needs, and repositories that are
/// empty; answers the digests that are still named.
///
/// Age is looked up here, not before: a push commits its blob before it links it, so that one
/// which links in an earlier transaction is seen to be young.
fn forget(
    transaction: &WriteTransaction,
    is_old: &dyn Fn(&Digest) -> Result<bool, StoreError>,
) -> Result<HashSet<String>, StoreError> {
    const DOING: &str = "collect garbage";
    let manifests = transaction.open_table(MANIFESTS).map_err(StoreError::index(DOING))?;
    let mut kept = HashSet::new();
    let mut needed = HashSet::new();
    let mut living = HashSet::new();
    for row in manifests.iter().map_err(StoreError::index(DOING))? {
        let (key, value) = row.map_err(StoreError::index(DOING))?;
        let (repository, digest) = key.value();
        living.insert(repository.to_owned());
        kept.insert(digest.to_owned());
        for blob in ManifestRow::decode(key.value(), value.value())?.blobs {
            kept.insert(blob.as_str().to_owned());
            needed.insert((repository.to_owned(), String::from(blob)));
        }
    }
    let mut links = transaction.open_table(LINKS).map_err(StoreError::index(DOING))?;
    let mut stale = Vec::new();
    for row in links.iter().map_err(StoreError::index(DOING))? {
        let (key, _) = row.map_err(StoreError::index(DOING))?;
        let (repository, digest) = key.value();
        let owned = (repository.to_owned(), digest.to_owned());
        let parsed = digest.parse().map_err(|e| tables::corrupt(key.value(), e))?;
        if !needed.contains(&owned) && is_old(&parsed)? {
            stale.push(owned);
        } else {
            kept.insert(owned.1);
            living.insert(owned.0);
        }
    }
    for (repository, digest) in &stale {
        let key = (repository.as_str(), digest.as_str());
        links.remove(key).map_err(StoreError::index(DOING))?;
    }
    let mut repositories =
        transaction.open_table(REPOSITORIES).map_err(StoreError::index(DOING))?;
    repositories.retain(|name, ()| living.contains(name)).map_err(StoreError::index(DOING))?;
    Ok(kept)
}
