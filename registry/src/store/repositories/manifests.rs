//! Manifests in a repository: found by tag or digest, written only when complete.
use std::collections::HashSet;

use bytes::Bytes;
use redb::{ReadableTable as _, WriteTransaction};

use super::tables::{self, LINKS, MANIFESTS, ManifestRow, REFERRERS, REPOSITORIES, TAGS};
use super::{Repositories, has_room};
use crate::manifest::{Descriptor, Manifest, ManifestError};
use crate::reference::{Algorithm, Digest, RepositoryName, Tag};
use crate::store::{StoreError, blocking};

/// What selects a manifest within its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// The one a tag names now.
    Tag(Tag),
    /// The one with this digest.
    Digest(Digest),
}

/// A manifest as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// The manifest it says something about.
    pub subject: Option<Digest>,
}

/// A manifest that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutManifestError {
    /// It is none.
    #[error("the manifest is not valid")]
    Invalid(#[from] ManifestError),
    /// It is not what its name says.
    #[error("the manifest has digest {actual}, not {expected}")]
    DigestMismatch {
        /// What it was sent as.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The repository lacks what it needs.
    #[error("the manifest needs what the repository lacks")]
    Incomplete(Vec<Digest>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Repositories {
    /// Stores a manifest, and lets the tag name it if it is named by one. Every blob and manifest
    /// that it needs must be in the repository, and whole on disk.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
        content_type: Option<&str>,
        bytes: Bytes,
    ) -> Result<StoredManifest, PutManifestError> {
        let manifest = Manifest::parse(content_type, &bytes)?;
        let algorithm = match name {
            ManifestName::Tag(_) => Algorithm::Sha256,
            ManifestName::Digest(expected) => expected.algorithm(),
        };
        let digest = Digest::with(algorithm, &bytes);
        if let ManifestName::Digest(expected) = name
            && *expected != digest
        {
            let expected = expected.clone();
            return Err(PutManifestError::DigestMismatch { expected, actual: digest });
        }
        let stored = StoredManifest {
            digest,
            media_type: content_type.unwrap_or(manifest.media_type()).to_owned(),
            size: bytes.len() as u64,
            subject: manifest.subject().map(|subject| subject.digest.clone()),
        };
        let lost = self.lost(&manifest).await?;
        self.content().put_as(&stored.digest, bytes).await?;
        let (this, repository, name) = (self.clone(), repository.clone(), name.clone());
        blocking(move || {
            this.write("write a manifest", |transaction| {
                insert(transaction, &repository, &name, (&manifest, &lost), &stored)
            })?;
            Ok(stored)
        })
        .await
    }

    /// What a manifest needs and the disk does not have, whatever the index says.
    async fn lost(&self, manifest: &Manifest) -> Result<HashSet<Digest>, StoreError> {
        let needed = manifest.blobs().chain(manifest.manifests());
        let needed: HashSet<Digest> = needed.map(|needed| needed.digest.clone()).collect();
        let mut lost = HashSet::new();
        for digest in needed {
            if !self.content().is_intact(&digest).await? {
                lost.insert(digest);
            }
        }
        Ok(lost)
    }

    /// Finds a manifest.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<Option<StoredManifest>, StoreError> {
        const DOING: &str = "look for a manifest";
        let (repository, name) = (repository.clone(), name.clone());
        self.read(DOING, move |transaction| {
            let digest = match name {
                ManifestName::Digest(digest) => digest,
                ManifestName::Tag(tag) => {
                    let tags = transaction.open_table(TAGS).map_err(StoreError::index(DOING))?;
                    let key = (repository.as_str(), tag.as_str());
                    let found = tags.get(key).map_err(StoreError::index(DOING))?;
                    let Some(digest) = found else { return Ok(None) };
                    digest.value().parse().map_err(|e| tables::corrupt(key, e))?
                }
            };
            let manifests = transaction.open_table(MANIFESTS).map_err(StoreError::index(DOING))?;
            let key = (repository.as_str(), digest.as_str());
            let Some(row) = manifests.get(key).map_err(StoreError::index(DOING))? else {
                return Ok(None);
            };
            let ManifestRow { media_type, size, subject, .. } =
                ManifestRow::decode(key, row.value())?;
            Ok(Some(StoredManifest { digest, media_type, size, subject }))
        })
        .await
    }

    /// Removes a tag, or a manifest with every tag that names it; answers whether it was there.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "delete a manifest";
        let (this, repository, name) = (self.clone(), repository.clone(), name.clone());
        blocking(move || {
            this.write(DOING, |transaction| match name {
                ManifestName::Tag(tag) => {
                    let mut tags =
                        transaction.open_table(TAGS).map_err(StoreError::index(DOING))?;
                    let key = (repository.as_str(), tag.as_str());
                    let removed = tags.remove(key).map_err(StoreError::index(DOING))?;
                    Ok(removed.is_some())
                }
                ManifestName::Digest(digest) => remove(transaction, &repository, &digest),
            })
            .inspect(|removed| this.tell_deleted(*removed))
        })
        .await
    }
}

fn insert(
    transaction: &WriteTransaction,
    repository: &RepositoryName,
    name: &ManifestName,
    (manifest, lost): (&Manifest, &HashSet<Digest>),
    stored: &StoredManifest,
) -> Result<(), PutManifestError> {
    const DOING: &str = "write a manifest";
    let repository = repository.as_str();
    let digest = stored.digest.as_str();
    let mut manifests = transaction.open_table(MANIFESTS).map_err(StoreError::index(DOING))?;
    let links = transaction.open_table(LINKS).map_err(StoreError::index(DOING))?;
    let mut missing = Vec::new();
    for blob in manifest.blobs() {
        let key = (repository, blob.digest.as_str());
        let linked = links.get(key).map_err(StoreError::index(DOING))?;
        if linked.is_none() || lost.contains(&blob.digest) {
            missing.push(blob.digest.clone());
        }
    }
    for needed in manifest.manifests() {
        let key = (repository, needed.digest.as_str());
        let known = manifests.get(key).map_err(StoreError::index(DOING))?;
        if known.is_none() || lost.contains(&needed.digest) {
            missing.push(needed.digest.clone());
        }
    }
    if !missing.is_empty() {
        return Err(PutManifestError::Incomplete(missing));
    }
    has_room(&manifests, "manifests")?;
    let row = ManifestRow {
        media_type: stored.media_type.clone(),
        size: stored.size,
        blobs: manifest.blobs().map(|blob| blob.digest.clone()).collect(),
        subject: stored.subject.clone(),
    };
    manifests
        .insert((repository, digest), row.encode().as_slice())
        .map_err(StoreError::index(DOING))?;
    if let ManifestName::Tag(tag) = name {
        let mut tags = transaction.open_table(TAGS).map_err(StoreError::index(DOING))?;
        has_room(&tags, "tags")?;
        tags.insert((repository, tag.as_str()), digest).map_err(StoreError::index(DOING))?;
    }
    if let Some(subject) = &stored.subject {
        let descriptor = Descriptor {
            media_type: stored.media_type.clone(),
            digest: stored.digest.clone(),
            size: stored.size,
            artifact_type: manifest.artifact_type().map(str::to_owned),
            urls: Vec::new(),
            annotations: manifest.annotations().clone(),
            platform: None,
        };
        let mut referrers = transaction.open_table(REFERRERS).map_err(StoreError::index(DOING))?;
        let key = (repository, subject.as_str(), digest);
        referrers
            .insert(key, tables::encode_descriptor(&descriptor).as_slice())
            .map_err(StoreError::index(DOING))?;
    }
    let mut repositories =
        transaction.open_table(REPOSITORIES).map_err(StoreError::index(DOING))?;
    repositories.insert(repository, ()).map_err(StoreError::index(DOING))?;
    Ok(())
}

fn remove(
    transaction: &WriteTransaction,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, StoreError> {
    const DOING: &str = "delete a manifest";
    let mut manifests = transaction.open_table(MANIFESTS).map_err(StoreError::index(DOING))?;
    let key = (repository.as_str(), digest.as_str());
    let Some(row) = manifests.remove(key).map_err(StoreError::index(DOING))? else {
        return Ok(false);
    };
    let row = ManifestRow::decode(key, row.value())?;
    let mut tags = transaction.open_table(TAGS).map_err(StoreError::index(DOING))?;
    let mut dangling = Vec::new();
    for entry in tags.range((key.0, "")..).map_err(StoreError::index(DOING))? {
        let (tag, named) = entry.map_err(StoreError::index(DOING))?;
        if tag.value().0 != key.0 {
            break;
        }
        if named.value() == key.1 {
            dangling.push(tag.value().1.to_owned());
        }
    }
    for tag in dangling {
        tags.remove((key.0, tag.as_str())).map_err(StoreError::index(DOING))?;
    }
    if let Some(subject) = row.subject {
        let mut referrers = transaction.open_table(REFERRERS).map_err(StoreError::index(DOING))?;
        let entry = (key.0, subject.as_str(), key.1);
        referrers.remove(entry).map_err(StoreError::index(DOING))?;
    }
    Ok(true)
}
