//! The tables of the index, and how their rows are read.
//!
//! Every key begins with the repository; the second part is a digest or tag in its text form. The
//! texts are valid when they are written, so one that does not parse means a corrupt index.
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::manifest::Descriptor;
use crate::reference::{Digest, RepositoryName};
use crate::store::StoreError;

/// Repositories that ever had a manifest.
pub(super) const REPOSITORIES: TableDefinition<'_, &str, ()> = TableDefinition::new("repositories");
/// Which blobs a repository may be asked for.
pub(super) const LINKS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("links");
/// Manifests by digest; the value is a [`ManifestRow`].
pub(super) const MANIFESTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("manifests");
/// Tags; the value is the digest of a manifest of the same repository.
pub(super) const TAGS: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("tags");
/// Subject, then the manifest that refers to it; the value is that manifest's [`Descriptor`].
pub(super) const REFERRERS: TableDefinition<'_, (&str, &str, &str), &[u8]> =
    TableDefinition::new("referrers");

/// What the index keeps of a manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ManifestRow {
    pub(super) media_type: String,
    pub(super) size: u64,
    /// What garbage collection must keep for it.
    pub(super) blobs: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
}

impl ManifestRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a row has string keys only")
    }

    pub(super) fn decode(key: (&str, &str), value: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(value).map_err(|e| corrupt(key, e))
    }
}

pub(super) fn encode_descriptor(descriptor: &Descriptor) -> Vec<u8> {
    serde_json::to_vec(descriptor).expect("a descriptor has string keys only")
}

/// An entry that we wrote does not decode any more.
pub(super) fn corrupt<E>(key: (&str, &str), source: E) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    StoreError::CorruptIndex { key: format!("{} {}", key.0, key.1), source: Box::new(source) }
}

/// Makes the tables, so that a reader never misses one.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::TableError> {
    transaction.open_table(REPOSITORIES)?;
    transaction.open_table(LINKS)?;
    transaction.open_table(MANIFESTS)?;
    transaction.open_table(TAGS)?;
    transaction.open_table(REFERRERS)?;
    Ok(())
}

/// The second key parts of one repository that come after `last`, at most `limit`.
pub(super) fn page_of(
    table: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    repository: &RepositoryName,
    last: &str,
    limit: usize,
) -> Result<Vec<String>, redb::StorageError> {
    let mut found = Vec::new();
    for row in table.range((repository.as_str(), last)..)? {
        let (key, _) = row?;
        let (owner, second) = key.value();
        if owner != repository.as_str() || found.len() == limit {
            break;
        }
        if second != last {
            found.push(second.to_owned());
        }
    }
    Ok(found)
}
