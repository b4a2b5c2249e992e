//! Which file of an image a container runs.
//!
//! An artifact is its own program. An image with a root file system names one by the first word
//! of its entry point, or the container names another, as commands are found everywhere.
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use registry::Digest;

use super::{Images, StoredComponent};
use crate::cri::{ContainerConfig, ImageRef, RuntimeError};
use crate::rootfs::{self, Last};

/// Bytes of a `.wasm` file that is compiled: the largest known guests have 30 MB, and compiling
/// takes several times as much memory.
const MAX_PROGRAM: u64 = 512 << 20;

/// Where commands without a slash are looked for, if the image has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/";

/// The `.wasm` file that a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its digest.
    pub digest: String,
    path: PathBuf,
}

impl Program {
    /// Its bytes in number; 0 if nobody can tell.
    pub fn size(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches its bytes, on a thread that may block; refuses what its digest does not name.
    pub fn reader(self) -> impl FnOnce() -> io::Result<Vec<u8>> + Send {
        move || {
            let file = File::open(&self.path)?;
            let mut bytes = Vec::new();
            file.take(MAX_PROGRAM + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MAX_PROGRAM {
                let why = format!("it is larger than {} MiB", MAX_PROGRAM >> 20);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
            let is_named = |digest: Digest| Digest::with(digest.algorithm(), &bytes) == digest;
            if !self.digest.parse().is_ok_and(is_named) {
                let why = "its content is not what its digest says";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            Ok(bytes)
        }
    }
}

impl Images {
    /// The program that a container of this image runs as this component.
    pub async fn program(
        &self,
        id: &ImageRef,
        component: &StoredComponent,
        config: &ContainerConfig,
    ) -> Result<Program, RuntimeError> {
        let not_runnable = |why: String| RuntimeError::NotRunnable { image: id.0.clone(), why };
        let root = self.rootfs_folder(id);
        let own = match (&component.artifact, &component.file) {
            (Some(digest), Some(file)) => {
                Some(Program { digest: digest.clone(), path: root.join(file) })
            }
            (Some(digest), None) => {
                let parsed: Digest =
                    digest.parse().map_err(|_| not_runnable(format!("{digest} is no digest")))?;
                let path = self.store.blob_path(&parsed);
                return Ok(Program { digest: digest.clone(), path });
            }
            (None, _) => None,
        };
        let word = component.command(config).and_then(|words| words.into_iter().next());
        match (word, own) {
            (None, Some(own)) => Ok(own),
            (Some(word), Some(own)) if component.starts() == Some(&word) => Ok(own),
            (None, None) => Err(not_runnable(
                "it names no entry point; name the .wasm file in the container's command"
                    .to_owned(),
            )),
            (Some(word), _) => {
                let (working_dir, env) = (component.working_dir(config), component.env.clone());
                let found = tokio::task::spawn_blocking(move || {
                    let path = find(&root, &word, &working_dir, &env).ok_or_else(|| {
                        format!("exec: {word:?}: executable file not found in the image")
                    })?;
                    let digest = rootfs::digest(&path);
                    let digest =
                        digest.map_err(|error| format!("cannot read {word:?}: {error}"))?;
                    Ok(Program { digest: digest.to_string(), path })
                });
                let found = found.await.expect("looking for a file does not panic");
                found.map_err(not_runnable)
            }
        }
    }
}

/// The file that a command means below `root`. Blocks.
pub(super) fn find(root: &Path, word: &str, working_dir: &str, env: &[String]) -> Option<PathBuf> {
    let in_folder = |folder: &str| {
        let path = rootfs::resolve(root, &format!("{folder}/{word}"), Last::Follow).ok()?;
        path.is_file().then_some(path)
    };
    if word.starts_with('/') {
        return in_folder("");
    }
    // Tools write `app.wasm` and mean a file at the root as often as one in a folder of `PATH`.
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let folders = std::iter::once(working_dir).chain(path.split(':')).chain(["/"]);
    if word.contains('/') {
        in_folder(working_dir)
    } else {
        folders.into_iter().find_map(in_folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["app.wasm", "opt/bin/tool.wasm", "work/own.wasm", "work/sub/deep.wasm"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let env = ["PATH=/opt/bin:/bin".to_owned()];
        let found = |word: &str| {
            let path = find(folder.path(), word, "/work", &env)?;
            Some(path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned())
        };
        for (word, wanted) in [
            ("/app.wasm", "app.wasm"),
            ("app.wasm", "app.wasm"),
            ("tool.wasm", "opt/bin/tool.wasm"),
            ("own.wasm", "work/own.wasm"),
            ("./sub/deep.wasm", "work/sub/deep.wasm"),
        ] {
            assert_eq!(found(word).as_deref(), Some(wanted), "{word}");
        }
        for missing in ["deep.wasm", "/opt", "../../../etc/passwd", "sub/own.wasm"] {
            assert_eq!(found(missing), None, "{missing}");
        }
    }
}
