//! Names over content: repositories with their manifests, tags, blobs and referrers.
//!
//! Content lies in the [`ContentStore`]; `index.redb` beside it says who may be asked for what.
//! Each change is one durable transaction, made after the content it names is durable, so a crash
//! never leaves a name without its content. Writers follow one another, which also orders a
//! manifest's check for its blobs against garbage collection.
use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase as _, WriteTransaction};
use tokio::sync::Notify;

use super::{ContentStore, StoreError, blocking};
use crate::manifest::Descriptor;
use crate::reference::{Digest, RepositoryName, Tag};

mod garbage;
mod index;
mod manifests;
mod tables;

pub use garbage::Collected;
pub use manifests::{ManifestName, PutManifestError, StoredManifest};

use index::Index;
use tables::{LINKS, REFERRERS, REPOSITORIES, TAGS};

/// As many rows as a table may have, over all repositories: a bound on the index (about 300 MB)
/// far above what a cluster's own registry is for.
const MAX_ROWS: u64 = 1_000_000;

/// Repositories over a content store; clones share it.
#[derive(Debug, Clone)]
pub struct Repositories {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    content: ContentStore,
    index: Index,
    /// Told when something was deleted, so that its content goes soon.
    deleted: Notify,
}

/// Part of a list, and whether more follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// Whether there are entries after the last of these.
    pub more: bool,
}

impl<T> Page<T> {
    /// Of one entry more than wanted, makes a page that knows whether there is more.
    fn cut(mut entries: Vec<T>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        Self { entries, more }
    }
}

impl Repositories {
    /// Opens the registry's state in `dir`, which is made if it is missing. An index that is
    /// missing beside content was lost, and is refused.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let content = ContentStore::open(&dir)?;
        let path = dir.as_ref().join("index.redb");
        let index = Index::open(&path, || Ok(content.blobs()?.is_empty()))?;
        Ok(Self { shared: Arc::new(Shared { content, index, deleted: Notify::new() }) })
    }

    /// The content itself.
    pub fn content(&self) -> &ContentStore {
        &self.shared.content
    }

    /// Lets a repository be asked for a blob that is in the store.
    pub async fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        const DOING: &str = "link a blob";
        let (this, repository, digest) = (self.clone(), repository.clone(), digest.clone());
        blocking(move || {
            this.write(DOING, |transaction| {
                let mut links = transaction.open_table(LINKS).map_err(StoreError::index(DOING))?;
                has_room(&links, "blobs")?;
                let key = (repository.as_str(), digest.as_str());
                links.insert(key, ()).map_err(StoreError::index(DOING))?;
                Ok(())
            })
        })
        .await
    }

    /// Whether a repository may be asked for a blob.
    pub async fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "look for a blob";
        let (repository, digest) = (repository.clone(), digest.clone());
        self.read(DOING, move |transaction| {
            let links = transaction.open_table(LINKS).map_err(StoreError::index(DOING))?;
            let key = (repository.as_str(), digest.as_str());
            Ok(links.get(key).map_err(StoreError::index(DOING))?.is_some())
        })
        .await
    }

    /// Takes a blob from a repository; its content goes when garbage is collected. Answers
    /// whether it was there.
    pub async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "remove a blob";
        let (this, repository, digest) = (self.clone(), repository.clone(), digest.clone());
        blocking(move || {
            this.write(DOING, |transaction| {
                let mut links = transaction.open_table(LINKS).map_err(StoreError::index(DOING))?;
                let key = (repository.as_str(), digest.as_str());
                let removed = links.remove(key).map_err(StoreError::index(DOING))?;
                Ok(removed.is_some())
            })
            .inspect(|removed| this.tell_deleted(*removed))
        })
        .await
    }

    /// The tags of a repository after `last`, in the order of their bytes; `None` if nothing was
    /// ever pushed there.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        last: &str,
        limit: usize,
    ) -> Result<Option<Page<Tag>>, StoreError> {
        const DOING: &str = "list tags";
        let (repository, last) = (repository.clone(), last.to_owned());
        self.read(DOING, move |transaction| {
            if !is_known(transaction, &repository)? {
                return Ok(None);
            }
            let tags = transaction.open_table(TAGS).map_err(StoreError::index(DOING))?;
            let found = tables::page_of(&tags, &repository, &last, limit + 1)
                .map_err(StoreError::index(DOING))?;
            let parse = |tag: String| {
                let key = tag.clone();
                tag.parse().map_err(|e| tables::corrupt((repository.as_str(), &key), e))
            };
            let entries = found.into_iter().map(parse).collect::<Result<Vec<Tag>, _>>()?;
            Ok(Some(Page::cut(entries, limit)))
        })
        .await
    }

    /// The repositories after `last`, in the order of their bytes.
    pub async fn list(&self, last: &str, limit: usize) -> Result<Page<RepositoryName>, StoreError> {
        const DOING: &str = "list repositories";
        let last = last.to_owned();
        self.read(DOING, move |transaction| {
            let table = transaction.open_table(REPOSITORIES).map_err(StoreError::index(DOING))?;
            let rows = table.range(last.as_str()..).map_err(StoreError::index(DOING))?;
            let mut entries = Vec::new();
            for row in rows {
                let (name, _) = row.map_err(StoreError::index(DOING))?;
                let name = name.value();
                if entries.len() > limit {
                    break;
                }
                if name != last {
                    entries.push(name.parse().map_err(|e| tables::corrupt((name, ""), e))?);
                }
            }
            Ok(Page::cut(entries, limit))
        })
        .await
    }

    /// The manifests after `last` that say something about `subject`, only those of one kind of
    /// artifact if it is given.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
        limit: usize,
    ) -> Result<Page<Descriptor>, StoreError> {
        const DOING: &str = "list referrers";
        let (repository, subject) = (repository.clone(), subject.clone());
        let (artifact_type, last) = (artifact_type.map(str::to_owned), last.to_owned());
        self.read(DOING, move |transaction| {
            let table = transaction.open_table(REFERRERS).map_err(StoreError::index(DOING))?;
            let first = (repository.as_str(), subject.as_str(), last.as_str());
            let mut entries = Vec::new();
            for row in table.range(first..).map_err(StoreError::index(DOING))? {
                let (key, value) = row.map_err(StoreError::index(DOING))?;
                let (owner, about, digest) = key.value();
                if (owner, about) != (first.0, first.1) || entries.len() > limit {
                    break;
                }
                let descriptor: Descriptor = serde_json::from_slice(value.value())
                    .map_err(|e| tables::corrupt((owner, digest), e))?;
                let wanted = artifact_type.is_none() || descriptor.artifact_type == artifact_type;
                if digest != last && wanted {
                    entries.push(descriptor);
                }
            }
            Ok(Page::cut(entries, limit))
        })
        .await
    }

    /// Remembers that there may be garbage.
    fn tell_deleted(&self, deleted: bool) {
        if deleted {
            self.shared.deleted.notify_one();
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        blocking(move || {
            this.shared.index.with(|index| {
                let transaction = index.begin_read().map_err(StoreError::index(doing))?;
                work(&transaction)
            })
        })
        .await
    }

    /// Runs `work` as one transaction, which is durable when this returns. Blocks.
    fn write<T, E: From<StoreError>>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared.index.with(|index| {
            let transaction = index.begin_write().map_err(StoreError::index(doing))?;
            let done = work(&transaction)?;
            transaction.commit().map_err(StoreError::index(doing))?;
            Ok(done)
        })
    }
}

fn is_known(transaction: &ReadTransaction, name: &RepositoryName) -> Result<bool, StoreError> {
    let table =
        transaction.open_table(REPOSITORIES).map_err(StoreError::index("look for a repository"))?;
    let found = table.get(name.as_str()).map_err(StoreError::index("look for a repository"))?;
    Ok(found.is_some())
}

fn has_room(
    table: &impl redb::ReadableTableMetadata,
    what: &'static str,
) -> Result<(), StoreError> {
    let rows = table.len().map_err(StoreError::index("count rows"))?;
    if rows >= MAX_ROWS { Err(StoreError::Full { what, limit: MAX_ROWS }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
