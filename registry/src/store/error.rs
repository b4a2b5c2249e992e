//! Why the store could not do what it was asked.
use std::io;
use std::path::{Path, PathBuf};

use crate::reference::Digest;

/// What can go wrong with content on disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The index of repositories failed.
    #[error("cannot {doing} in the index of repositories")]
    Index {
        /// What was being done, as a verb and its object.
        doing: &'static str,
        /// The failure.
        #[source]
        source: Box<redb::Error>,
    },
    /// An entry of the index does not decode.
    #[error("the index of repositories is corrupt at {key}")]
    CorruptIndex {
        /// Repository and digest or tag.
        key: String,
        /// Why it does not decode.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The content is not here.
    #[error("content {0} is not in the store")]
    NotFound(Digest),
    /// What was written is not what was announced.
    #[error("content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// What is on disk is not what its name says.
    #[error("content {0} is corrupt on disk")]
    Corrupt(Digest),
    /// More was written than the writer takes.
    #[error("content is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// An earlier write of the same writer was abandoned midway.
    #[error("an earlier write of this content did not finish")]
    Abandoned,
    /// The registry holds as much as it may.
    #[error("the registry holds {limit} {what} already; delete some")]
    Full {
        /// `tags`, `manifests`, …
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn index<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Index { doing, source: Box::new(source.into()) }
    }
}
