//! Compiled code on disk, so that nothing is compiled twice.
//!
//! Per artifact, engine and target two files: the code, which is mapped, and a
//! seal beside it that says what the code is and its checksum. Loading is as
//! good as running native code, so the folder is private to its owner, the seal
//! is written last, and code whose checksum differs is thrown away.
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::detect::Kind;
use crate::platform;

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
        Ok(Self { folder, compatibility })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The code of an artifact and what it is, if it is here and whole.
    pub(super) fn find(&self, digest: &str) -> Option<(Kind, PathBuf)> {
        let (code, seal) = (self.path(digest, "cwasm"), self.path(digest, "json"));
        let seal: Seal = serde_json::from_slice(&std::fs::read(seal).ok()?).ok()?;
        let sha256 = checksum(&code).ok()?;
        if sha256 != seal.sha256 {
            tracing::warn!(digest, "compiled code is damaged, compiling anew");
            return None;
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
        Ok(path)
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
