//! The directory that holds all state of a cluster on this machine.
//!
//! `format.json` says how it is laid out; a newer layout is refused. `lock` is
//! held while a process uses the directory, so that no second one can.
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The layout this version writes and reads.
const FORMAT: u32 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error("cannot use the data directory: {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process uses it.
    #[error(
        "the data directory {0} is in use by another podium; stop that one or name another directory with --data-dir"
    )]
    InUse(PathBuf),
    /// A later version wrote it.
    #[error(
        "the data directory {path} has format {found}, this podium knows up to {FORMAT}; use a newer podium or another --data-dir"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// `format.json` is not what a podium wrote.
    #[error(
        "{0} is damaged; restore it from a backup, or name another directory with --data-dir to begin anew"
    )]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// The operating system names no place for a user's data.
    #[error("this system names no folder for data; name one with --data-dir")]
    NoDefault,
}

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
}

/// An open data directory; the lock is released when it is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// The folder that is used when none is named.
    pub fn default_path() -> Result<PathBuf, DataDirError> {
        let folders = directories::ProjectDirs::from("dev", "podium", "podium");
        folders.map(|f| f.data_local_dir().to_path_buf()).ok_or(DataDirError::NoDefault)
    }

    /// Opens `root`, making it if it is not there, and locks it.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let io = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| DataDirError::Io { doing, path, source }
        };
        fs::create_dir_all(root).map_err(io("create", root))?;
        let root = root.canonicalize().map_err(io("resolve", root))?;
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(root)),
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
        let path = root.join("format.json");
        match fs::read(&path) {
            Ok(text) => {
                let format: Format = serde_json::from_slice(&text)
                    .map_err(|source| DataDirError::Damaged(path.clone(), source))?;
                if format.version > FORMAT {
                    return Err(DataDirError::Newer { path: root, found: format.version });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_atomic(&path, format!("{{\"version\":{FORMAT}}}\n").as_bytes())
                    .map_err(io("write", &path))?;
            }
            Err(source) => return Err(io("read", &path)(source)),
        }
        Ok(Self { root, _lock: lock })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.root.join("server").join("store.redb")
    }

    /// The registry's content.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    /// What the node keeps.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// The administrator's credentials.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Where the running cluster listens.
    pub fn addresses(&self) -> PathBuf {
        self.root.join("addresses.json")
    }
}

/// Writes a file so that a reader sees the old contents or the new, never a part.
///
/// Everybody may read it; for what only its owner may, there is [`platform::write_private`].
///
/// [`platform::write_private`]: crate::platform::write_private
pub fn write_atomic(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, contents)?;
    crate::platform::make_readable(file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_until_it_is_free() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("new/one");
        let first = DataDir::open(&root).unwrap();
        let refused = DataDir::open(&root).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse(_)), "{refused}");
        drop(first);
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn a_newer_or_damaged_format_is_refused_with_its_name() {
        let temporary = tempfile::tempdir().unwrap();
        let format = temporary.path().join("format.json");
        fs::write(&format, r#"{"version":99}"#).unwrap();
        let newer = DataDir::open(temporary.path()).unwrap_err();
        assert!(matches!(newer, DataDirError::Newer { found: 99, .. }), "{newer}");
        fs::write(&format, "}").unwrap();
        let damaged = DataDir::open(temporary.path()).unwrap_err();
        assert!(damaged.to_string().contains("format.json is damaged"), "{damaged}");
    }
}
