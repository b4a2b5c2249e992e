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
    /// The file of the index cannot be read or written.
    #[error(
        "cannot open the registry's index {}; check that this user may write it and that the disk is not full",
        path.display()
    )]
    IndexFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the registry's index {} is in use by another process; stop that one first", .0.display())]
    IndexInUse(PathBuf),
    /// It is not there, though there is content.
    #[error(
        "the registry's index {} is missing beside the content it names; restore the file from a backup, or remove {} and push your images again",
        .0.display(), folder(.0)
    )]
    IndexMissing(PathBuf),
    /// It is not an index, or damaged.
    #[error(
        "cannot read the registry's index {}; restore it from a backup, or remove {} and push your images again",
        path.display(), folder(path)
    )]
    IndexDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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
    /// What was on disk is not what its name says.
    #[error("content {digest} was damaged on disk and {} is removed; push or pull it again", path.display())]
    Corrupt {
        /// Its name.
        digest: Digest,
        /// Where it was.
        path: PathBuf,
    },
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

/// The folder of all that the registry keeps.
fn folder(index: &Path) -> std::path::Display<'_> {
    index.parent().unwrap_or(index).display()
}
