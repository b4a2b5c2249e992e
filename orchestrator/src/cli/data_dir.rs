//! The directory that holds all state of a cluster on this machine.
//!
//! `format.json` says how it is laid out; a newer layout is refused. `lock` is
//! held while a process uses the directory, so that no second one can.
//!
//! Secrets lie in the store, in what Pods mount and in images, so that no other
//! user may enter the folders of these.
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::platform;

/// The layout this version writes and reads.
const FORMAT: u32 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error("cannot use the data directory: {doing} {}", path.display())]
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
        "the data directory {} is in use by another podium{}; stop that one or name another directory with --data-dir",
        path.display(), numbered(.process)
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, where it can be told.
        process: Option<u32>,
    },
    /// A later version wrote it.
    #[error(
        "the data directory {} has format {found}, this podium knows up to {FORMAT}; use a newer podium or another --data-dir", path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// `format.json` is not what a podium wrote.
    #[error(
        "{} is damaged; restore it from a backup, or name another directory with --data-dir to begin anew", .0.display()
    )]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// The operating system names no place for a user's data.
    #[error("this system names no folder for data; name one with --data-dir")]
    NoDefault,
}

/// Where the cluster of a data directory listens, or did when it ran last: `addresses.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The API server, HOST:PORT.
    pub api: String,
    /// The registry.
    pub registry: String,
    /// The ingress gateway.
    pub gateway: String,
    /// The same with TLS.
    pub gateway_tls: String,
    /// The node's API.
    pub node_api: String,
}

impl Running {
    /// What the directory says; none if no cluster has run there.
    pub fn read(root: &Path) -> Result<Option<Self>, DataDirError> {
        let path = root.join("addresses.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| DataDirError::Damaged(path, source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataDirError::Io { doing: "read", path, source }),
        }
    }
}

/// Who uses a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A running podium, with its process id where that can be read.
    Process(Option<u32>),
}

/// Who holds the lock of a data directory.
pub fn holder(root: &Path) -> io::Result<Holder> {
    let path = root.join("lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        // Where locks are mandatory it cannot be read.
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(process(&path))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process id that the holder of a lock wrote into it.
fn process(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.trim().parse().ok()
}

fn numbered(process: &Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
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
        if !root.exists() {
            platform::create_private_dir(root).map_err(io("create", root))?;
        }
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
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { process: process(&path), path: root });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
        let number = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| io::Write::write_all(&mut &lock, number.as_bytes()))
            .map_err(io("write", &path))?;
        if !Self::check_format(&root)? {
            let path = root.join("format.json");
            write_atomic(&path, format!("{{\"version\":{FORMAT}}}\n").as_bytes())
                .map_err(io("write", &path))?;
        }
        let open = Self { root, _lock: lock };
        for folder in [open.server(), open.node(), open.registry()] {
            platform::create_private_dir(&folder).map_err(io("create", &folder))?;
        }
        Ok(open)
    }

    /// Refuses a directory of another layout; whether it says which it has.
    pub fn check_format(root: &Path) -> Result<bool, DataDirError> {
        let path = root.join("format.json");
        match fs::read(&path) {
            Ok(text) => {
                let format: Format = serde_json::from_slice(&text)
                    .map_err(|source| DataDirError::Damaged(path, source))?;
                if format.version > FORMAT {
                    let path = root.to_path_buf();
                    return Err(DataDirError::Newer { path, found: format.version });
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(DataDirError::Io { doing: "read", path, source }),
        }
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
        self.server().join("store.redb")
    }

    fn server(&self) -> PathBuf {
        self.root.join("server")
    }

    /// Whether a cluster has been up here: these are made after the store.
    pub fn has_run(&self) -> bool {
        let pods = self.node().join("pods");
        [self.addresses(), self.kubeconfig(), pods].iter().any(|path| path.exists())
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
pub fn write_atomic(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, contents)?;
    platform::make_readable(file.as_file())?;
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
        let process = Some(std::process::id());
        assert!(
            matches!(refused, DataDirError::InUse { process: p, .. } if p == process),
            "{refused}"
        );
        assert_eq!(holder(&root).unwrap(), Holder::Process(process));
        drop(first);
        assert_eq!(holder(&root).unwrap(), Holder::Nobody);
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn nobody_else_enters_a_data_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("new");
        let open = DataDir::open(&root).unwrap();
        for folder in [root, open.server(), open.node(), open.registry()] {
            assert!(platform::is_private(&folder).unwrap(), "{}", folder.display());
        }
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
