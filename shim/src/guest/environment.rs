//! What one container's guests are given: arguments, variables, folders.
//!
//! WASI opens folders, not files: a mounted file is put into a folder of its
//! own, so that the guest sees it and none of its neighbours on the host; or
//! into the container's root, if its image has one.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::root::Root;
use super::stdin::Stdin;
use crate::cri::Mount;
use crate::logs::{LogFile, Outputs};

/// Random bytes one call may ask for: keys and seeds are far smaller, and a
/// call is not interrupted.
const MAX_RANDOM: u64 = 64 << 10;

/// Why a container cannot be given what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Two mounts claim the same place.
    #[error("{0} is mounted twice")]
    MountedTwice(String),
    /// The mount's source is missing or unreadable.
    #[error("cannot mount {host} at {container}")]
    Mount {
        /// Where it is on the host.
        host: PathBuf,
        /// Where the guest would see it.
        container: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The image's root file system cannot be copied.
    #[error("cannot make the container's root file system")]
    Root(#[source] io::Error),
    /// A folder that was there cannot be opened any more.
    #[error("cannot open the folder mounted at {0}")]
    Open(String, #[source] wasmtime::Error),
}

/// What every instance of a container is given.
#[derive(Debug)]
pub struct Environment {
    args: Vec<String>,
    envs: Vec<(String, String)>,
    working_dir: Option<String>,
    folders: Vec<Folder>,
    /// Keeps the image's files in place.
    _root: Option<Root>,
}

/// A host folder that guests see.
#[derive(Debug, PartialEq, Eq)]
struct Folder {
    host: PathBuf,
    guest: String,
    readonly: bool,
}

/// Where a program's three streams go.
pub struct Stdio {
    /// Its input.
    pub stdin: Stdin,
    /// The log that takes both outputs.
    pub log: Arc<LogFile>,
}

impl Environment {
    /// Prepares what is mounted, over `root` if there is one; files are put into
    /// folders below `staging`.
    pub fn new(
        args: Vec<String>,
        envs: Vec<(String, String)>,
        working_dir: &str,
        root: Option<Root>,
        mounts: &[Mount],
        staging: &Path,
    ) -> Result<Self, EnvironmentError> {
        let working_dir = (!working_dir.is_empty()).then(|| working_dir.to_owned());
        let folders = match &root {
            Some(root) => rooted(root, mounts, staging)?,
            None => folders(mounts, staging)?,
        };
        Ok(Self { args, envs, working_dir, folders, _root: root })
    }

    /// The same for guests that cannot ask for folders: none is opened for each of them.
    #[must_use]
    pub fn without_folders(mut self) -> Self {
        self.folders.clear();
        self
    }

    /// A fresh context for one instance.
    pub fn context(
        &self,
        stdin: Stdin,
        outputs: &Outputs,
    ) -> Result<WasiCtxBuilder, EnvironmentError> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&self.args)
            .envs(&self.envs)
            .max_random_size(MAX_RANDOM)
            .stdin(stdin)
            .stdout(outputs.stdout.clone())
            .stderr(outputs.stderr.clone());
        if let Some(folder) = &self.working_dir {
            wasi.initial_cwd(folder);
        }
        for Folder { host, guest, readonly } in &self.folders {
            let permissions = if *readonly { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(host, guest, permissions)
                .map_err(|error| EnvironmentError::Open(guest.clone(), error))?;
        }
        Ok(wasi)
    }
}

/// The folders of a container whose image has a root file system.
fn rooted(root: &Root, mounts: &[Mount], staging: &Path) -> Result<Vec<Folder>, EnvironmentError> {
    let is_file = |mount: &Mount| {
        let failed = |source| EnvironmentError::Mount {
            host: mount.host_path.clone(),
            container: normal(&mount.container_path),
            source,
        };
        mount.host_path.metadata().map(|found| found.is_file()).map_err(failed)
    };
    // A file within a mounted folder is that folder's business.
    let mut inner = Vec::new();
    let (mut places, mut files) = (Vec::new(), Vec::new());
    for mount in mounts {
        if !is_file(mount)? {
            places.push(mount);
            inner.push(mount.clone());
        }
    }
    for mount in mounts {
        if is_file(mount)? {
            let path = normal(&mount.container_path);
            let is_within = |place: &&Mount| {
                let place = normal(&place.container_path);
                path.strip_prefix(&place).is_some_and(|rest| rest.starts_with('/'))
            };
            if places.iter().any(is_within) {
                inner.push(mount.clone());
            } else {
                files.push(mount);
            }
        }
    }
    let mut folders = folders(&inner, staging)?;
    if folders.iter().any(|folder| folder.guest == "/") {
        return Ok(folders);
    }
    let host = root.prepare(&places, &files, staging).map_err(EnvironmentError::Root)?;
    // The deepest first, as some guests take the first that fits, not the longest.
    folders.insert(0, Folder { host, guest: "/".to_owned(), readonly: root.readonly });
    folders.reverse();
    Ok(folders)
}

fn folders(mounts: &[Mount], staging: &Path) -> Result<Vec<Folder>, EnvironmentError> {
    let mut folders = BTreeMap::<String, Folder>::new();
    let mut files = Vec::new();
    for mount in mounts {
        let guest = normal(&mount.container_path);
        let failed = |source| EnvironmentError::Mount {
            host: mount.host_path.clone(),
            container: guest.clone(),
            source,
        };
        if mount.host_path.metadata().map_err(failed)?.is_file() {
            files.push((guest, mount));
            continue;
        }
        let folder = Folder {
            host: mount.host_path.clone(),
            guest: guest.clone(),
            readonly: mount.readonly,
        };
        if folders.insert(guest.clone(), folder).is_some() {
            return Err(EnvironmentError::MountedTwice(guest));
        }
    }
    for (index, (guest, mount)) in files.into_iter().enumerate() {
        let (parent, name) = guest.rsplit_once('/').unwrap_or(("", &guest));
        let parent = if parent.is_empty() { "/" } else { parent };
        let failed = |source| EnvironmentError::Mount {
            host: mount.host_path.clone(),
            container: guest.clone(),
            source,
        };
        let folder = match folders.get(parent) {
            // Files of one folder share it; a folder of the host is never written into.
            Some(folder) if folder.host.starts_with(staging) => folder.host.clone(),
            Some(_) => return Err(EnvironmentError::MountedTwice(parent.to_owned())),
            None => staging.join(index.to_string()),
        };
        stage(&mount.host_path, &folder, name).map_err(failed)?;
        folders
            .entry(parent.to_owned())
            .and_modify(|shared| shared.readonly &= mount.readonly)
            .or_insert(Folder { host: folder, guest: parent.to_owned(), readonly: mount.readonly });
    }
    Ok(folders.into_values().collect())
}

/// A copy, as a mounted file is not updated in Kubernetes either.
fn stage(file: &Path, folder: &Path, name: &str) -> io::Result<()> {
    crate::platform::create_private_dir(folder)?;
    std::fs::copy(file, folder.join(name)).map(drop)
}

/// The path without a trailing slash.
fn normal(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(container: &str, host: &Path) -> Mount {
        Mount { container_path: container.into(), host_path: host.into(), readonly: true }
    }

    #[test]
    fn mounted_files_share_a_folder_that_shows_nothing_else() {
        let host = tempfile::tempdir().unwrap();
        for name in ["a.conf", "b.conf", "secret"] {
            std::fs::write(host.path().join(name), name).unwrap();
        }
        let staging = host.path().join("staging");
        let mounts = [
            mount("/etc/a.conf", &host.path().join("a.conf")),
            mount("/etc/other.conf", &host.path().join("b.conf")),
        ];

        let folders = folders(&mounts, &staging).unwrap();

        let [folder] = folders.as_slice() else { panic!("{folders:?}") };
        assert_eq!(folder.guest, "/etc");
        let mut seen: Vec<_> = std::fs::read_dir(&folder.host)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        seen.sort();
        assert_eq!(seen, ["a.conf", "other.conf"]);
    }

    #[test]
    fn a_place_is_mounted_once() {
        let host = tempfile::tempdir().unwrap();
        let mounts = [mount("/data", host.path()), mount("/data/", host.path())];

        let refused = folders(&mounts, &host.path().join("staging")).unwrap_err();

        assert_eq!(refused.to_string(), "/data is mounted twice");
    }

    #[test]
    fn a_missing_source_is_named() {
        let mounts = [mount("/data", Path::new("no/such/folder"))];
        let refused = folders(&mounts, Path::new("staging")).unwrap_err();
        assert_eq!(refused.to_string(), "cannot mount no/such/folder at /data");
    }
}
