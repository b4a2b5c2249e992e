//! Compiled code on disk, so that nothing is compiled twice.
//!
//! Per artifact, engine and target two files: the code, which is mapped, and a
//! seal beside it that says what the code is and its checksum. Loading is as
//! good as running native code, so the folder is private to its owner, the seal
//! is written last, and code whose checksum differs is thrown away. So is the
//! code of other engines, when the folder is opened, and what was used least
//! lately, when there is too much.
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::detect::Kind;
use crate::platform;

/// Bytes of compiled code that are kept: of a few hundred of the largest guests, whose code has
/// three times their size; of the usual ones, of as many as a node runs.
const MAX_BYTES: u64 = 16 << 30;

/// The folder of compiled code for one engine.
pub(super) struct Cache {
    folder: PathBuf,
    /// Hash of the engine's settings and version, and of the target.
    compatibility: String,
}

/// What lies beside compiled code.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    kind: Kind,
    sha256: String,
}

impl Cache {
    pub(super) fn open(folder: PathBuf, engine: &Engine) -> io::Result<Self> {
        platform::create_private_dir(&folder)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = format!("{:016x}-{}", hasher.finish(), std::env::consts::ARCH);
        let cache = Self { folder, compatibility };
        cache.remove_foreign()?;
        Ok(cache)
    }

    /// Removes what another version of the engine left, or a crash.
    fn remove_foreign(&self) -> io::Result<()> {
        let own = |name: &str| {
            let name = name.strip_suffix(".json").or_else(|| name.strip_suffix(".cwasm"));
            name.is_some_and(|name| name.ends_with(&self.compatibility))
        };
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(own) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether code of an artifact is here.
    pub(super) fn has(&self, digest: &str) -> bool {
        self.path(digest, "json").is_file()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The code of an artifact and what it is, if it is here and whole.
    pub(super) fn find(&self, digest: &str) -> Option<(Kind, PathBuf)> {
        let (code, seal_path) = (self.path(digest, "cwasm"), self.path(digest, "json"));
        let seal: Seal = serde_json::from_slice(&std::fs::read(&seal_path).ok()?).ok()?;
        let sha256 = checksum(&code).ok()?;
        if sha256 != seal.sha256 {
            tracing::warn!(digest, "compiled code is damaged, compiling anew");
            return None;
        }
        // The seal's time says when the code was used. That this fails costs a compilation at worst.
        if let Ok(file) = File::options().write(true).open(&seal_path)
            && let Err(error) = file.set_modified(std::time::SystemTime::now())
        {
            tracing::debug!(digest, %error, "cannot note the use of compiled code");
        }
        Some((seal.kind, code))
    }

    /// Keeps compiled code; both files appear whole or not at all.
    pub(super) fn keep(&self, digest: &str, kind: Kind, code: &[u8]) -> io::Result<PathBuf> {
        let path = self.path(digest, "cwasm");
        self.write(&path, code)?;
        let seal = Seal { kind, sha256: hex::encode(Sha256::digest(code)) };
        let seal = serde_json::to_vec(&seal).map_err(io::Error::other)?;
        self.write(&self.path(digest, "json"), &seal)?;
        self.trim(MAX_BYTES, &path)?;
        Ok(path)
    }

    /// Removes what was used least lately until no more than `limit` bytes are left, but never
    /// `kept`. What is mapped stays mapped.
    fn trim(&self, limit: u64, kept: &Path) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let (path, metadata) = match entry.and_then(|e| Ok((e.path(), e.metadata()?))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entry => entry?,
            };
            if path.extension().is_some_and(|extension| extension == "cwasm") {
                let used = path.with_extension("json").metadata();
                let used = used.as_ref().unwrap_or(&metadata).modified()?;
                found.push((used, metadata.len(), path));
            }
        }
        found.sort();
        let mut total: u64 = found.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in found {
            if total <= limit {
                break;
            }
            if path != kept {
                for path in [path.with_extension("json"), path] {
                    match std::fs::remove_file(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                total -= size;
            }
        }
        Ok(())
    }

    /// Removes the code of an artifact, the seal first.
    pub(super) fn remove(&self, digest: &str) -> io::Result<()> {
        for extension in ["json", "cwasm"] {
            match std::fs::remove_file(self.path(digest, extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn path(&self, digest: &str, extension: &str) -> PathBuf {
        let digest = digest.replace(':', "-");
        self.folder.join(format!("{digest}.{}.{extension}", self.compatibility))
    }
}

fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Cache {
        Cache::open(folder.to_owned(), &Engine::default()).unwrap()
    }

    #[test]
    fn what_was_used_least_lately_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        for digest in ["a", "b", "c"] {
            cache.keep(digest, Kind::Program, &[0; 100]).unwrap();
            let seal = File::options().write(true).open(cache.path(digest, "json"));
            seal.unwrap().set_modified(old).unwrap();
        }
        assert!(cache.find("a").is_some());

        cache.trim(250, &cache.path("b", "cwasm")).unwrap();

        assert_eq!(["a", "b", "c"].map(|digest| cache.has(digest)), [true, true, false]);
        assert!(cache.find("c").is_none());
    }

    #[test]
    fn code_of_another_engine_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).keep("a", Kind::Program, b"code").unwrap();
        std::fs::write(folder.path().join("a.0000000000000000-z80.cwasm"), "old").unwrap();
        let cache = open(folder.path());
        assert!(cache.has("a"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
