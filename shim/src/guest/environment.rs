//! What one container's guests are given: arguments, variables, folders.
//!
//! WASI opens folders, not files: a mounted file is put into a folder of its
//! own, so that the guest sees it and none of its neighbours on the host; or
//! into the container's root, if its image has one.
//!
//! What is mounted is opened once, when its container is made: a guest that puts
//! a link into its volume afterwards changes nothing of what the next one gets.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::etc;
use super::root::Root;
use super::staging::Staging;
use super::stdin::Stdin;
use crate::beneath::{self, Opened};
use crate::cri::{Etc, Mount};
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
    /// The files of the Pod's network cannot be written.
    #[error("cannot write the files in /etc")]
    Etc(#[source] io::Error),
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
    /// Last, as some systems remove no folder that is open.
    _staging: Staging,
}

/// A host folder that guests see.
#[derive(Debug)]
struct Folder {
    host: Opened,
    guest: String,
    readonly: bool,
}

/// What is mounted, opened.
pub(super) struct Source {
    /// Where the guest sees it, without a slash at the end.
    pub(super) guest: String,
    /// What it is.
    pub(super) host: Opened,
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
    /// Prepares what is mounted, and `etc`, over `root` if there is one; files are put into
    /// folders below `staging`, which goes with this. Blocks.
    pub fn new(
        args: Vec<String>,
        envs: Vec<(String, String)>,
        working_dir: &str,
        root: Option<Root>,
        mut mounts: Vec<Mount>,
        etc: Option<Etc>,
        staging: Staging,
    ) -> Result<Self, EnvironmentError> {
        let working_dir = (!working_dir.is_empty()).then(|| working_dir.to_owned());
        if let Some(etc) = etc {
            let readonly = root.as_ref().is_some_and(|root| root.readonly);
            mounts = etc::mounted(mounts, &etc, staging.folder(), root.is_some(), readonly)
                .map_err(EnvironmentError::Etc)?;
        }
        let sources = sources(&mounts)?;
        let folders = match &root {
            Some(root) => rooted(root, sources, working_dir.as_deref(), staging.folder())?,
            None => folders(sources, staging.folder())?,
        };
        Ok(Self { args, envs, working_dir, folders, _root: root, _staging: staging })
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
            let failed = |error| EnvironmentError::Open(guest.clone(), error);
            let host = host.path().map_err(|error| failed(error.into()))?;
            wasi.preopened_dir(host, guest, permissions).map_err(failed)?;
        }
        Ok(wasi)
    }
}

/// Opens what is mounted.
fn sources(mounts: &[Mount]) -> Result<Vec<Source>, EnvironmentError> {
    let source = |mount: &Mount| {
        let guest = normal(&mount.container_path);
        let host = beneath::open(&mount.within, &mount.host_path)
            .map_err(|error| unmounted(&mount.host_path, &guest, error))?;
        Ok(Source { guest, host, readonly: mount.readonly })
    };
    mounts.iter().map(source).collect()
}

fn unmounted(host: &Path, guest: &str, source: io::Error) -> EnvironmentError {
    EnvironmentError::Mount { host: host.to_owned(), container: guest.to_owned(), source }
}

/// The folders of a container with a root file system; its working directory is made there.
fn rooted(
    root: &Root,
    sources: Vec<Source>,
    working_dir: Option<&str>,
    staging: &Path,
) -> Result<Vec<Folder>, EnvironmentError> {
    let (mut inner, files): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.host.is_folder());
    let places: Vec<String> = inner.iter().map(|source| source.guest.clone()).collect();
    // A file within a mounted folder is that folder's business.
    let (within, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| {
        let rest = |place: &String| file.guest.strip_prefix(place.as_str());
        places.iter().filter_map(rest).any(|rest| rest.starts_with('/'))
    });
    inner.extend(within);
    let mut folders = folders(inner, staging)?;
    if folders.iter().any(|folder| folder.guest == "/") {
        return Ok(folders);
    }
    let working_dir = working_dir.filter(|folder| !root.readonly && folder.starts_with('/'));
    let made: Vec<String> = places.into_iter().chain(working_dir.map(ToOwned::to_owned)).collect();
    let host = root.prepare(&made, &files, staging).map_err(EnvironmentError::Root)?;
    let host = beneath::open(&host, &host).map_err(EnvironmentError::Root)?;
    // The deepest first, as some guests take the first that fits, not the longest.
    folders.insert(0, Folder { host, guest: "/".to_owned(), readonly: root.readonly });
    folders.reverse();
    Ok(folders)
}

fn folders(sources: Vec<Source>, staging: &Path) -> Result<Vec<Folder>, EnvironmentError> {
    let (places, files): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.host.is_folder());
    let mut folders = BTreeMap::<String, Folder>::new();
    for Source { guest, host, readonly } in places {
        let folder = Folder { host, guest: guest.clone(), readonly };
        if folders.insert(guest.clone(), folder).is_some() {
            return Err(EnvironmentError::MountedTwice(guest));
        }
    }
    for (index, Source { guest, host, readonly }) in files.into_iter().enumerate() {
        let (parent, name) = guest.rsplit_once('/').unwrap_or(("", &guest));
        let parent = if parent.is_empty() { "/" } else { parent };
        let folder = match folders.get(parent) {
            // Files of one folder share it; a folder of the host is never written into.
            Some(folder) if folder.host.name().starts_with(staging) => {
                folder.host.name().to_owned()
            }
            Some(_) => return Err(EnvironmentError::MountedTwice(parent.to_owned())),
            None => staging.join(index.to_string()),
        };
        let staged =
            stage(&host, &folder, name).map_err(|error| unmounted(host.name(), &guest, error))?;
        folders
            .entry(parent.to_owned())
            .and_modify(|shared| shared.readonly &= readonly)
            .or_insert(Folder { host: staged, guest: parent.to_owned(), readonly });
    }
    Ok(folders.into_values().collect())
}

/// A copy, as a mounted file is not updated in Kubernetes either; the folder it is in.
fn stage(file: &Opened, folder: &Path, name: &str) -> io::Result<Opened> {
    crate::platform::create_private_dir(folder)?;
    file.copy_to(&folder.join(name))?;
    beneath::open(folder, folder)
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
        Mount {
            container_path: container.into(),
            host_path: host.into(),
            within: host.into(),
            readonly: true,
        }
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

        let folders = folders(sources(&mounts).unwrap(), &staging).unwrap();

        let [folder] = folders.as_slice() else { panic!("{folders:?}") };
        assert_eq!(folder.guest, "/etc");
        let mut seen: Vec<_> = std::fs::read_dir(folder.host.name())
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

        let refused = folders(sources(&mounts).unwrap(), &host.path().join("staging")).unwrap_err();

        assert_eq!(refused.to_string(), "/data is mounted twice");
    }

    #[test]
    fn a_missing_source_is_named() {
        let mounts = [mount("/data", Path::new("no/such/folder"))];
        let Err(refused) = sources(&mounts) else { panic!("it was mounted") };
        assert_eq!(refused.to_string(), "cannot mount no/such/folder at /data");
    }
}
