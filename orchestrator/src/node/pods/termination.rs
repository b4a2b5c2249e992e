//! A container's last words: its termination message.
//!
//! The guest writes them to the file at `terminationMessagePath`, for which it
//! is given a folder of its own, or finds one of its volumes there. Where it
//! wrote none, the end of its log may serve, and else what the runtime says.
use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Container;
use shim::cri::Mount;
use shim::{beneath, logs};

use super::containers::Attempt;
use super::worker::{Worker, container_of};
use super::{log_folder, log_path};

/// Where the message is where nobody says, as in Kubernetes.
const DEFAULT_PATH: &str = "/dev/termination-log";
/// Bytes of a message, as in Kubernetes.
const FILE_MAX: u64 = 4096;
/// Bytes of a log's end that stand for a message, as in Kubernetes.
const LOG_MAX: usize = 2048;
/// Lines of a log's end that stand for a message, as in Kubernetes.
const LOG_LINES: u64 = 80;

/// Where attempts write their last words, by container and number: the folder no link leads out
/// of, and the file.
pub(super) type Messages = HashMap<(String, u32), (PathBuf, PathBuf)>;

/// The folder that an attempt's guests may write their last words to.
pub(in crate::node) fn folder(pod_folder: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_folder.join("containers").join(container).join(attempt.to_string())
}

/// The mount that a container needs for its message, unless a volume is there already.
pub(super) fn mount(container: &Container, mounts: &[Mount], own: &Path) -> Option<Mount> {
    let (parent, _) = split(container);
    if covering(mounts, &parent).is_some() {
        return None;
    }
    let (host_path, within) = (own.to_owned(), own.to_owned());
    Some(Mount { container_path: parent, host_path, within, readonly: false })
}

impl Worker {
    /// Finds out what containers said that ended since this was asked last.
    pub(super) async fn hear_last_words(&mut self) {
        let pod = std::sync::Arc::clone(&self.pod);
        let Some(spec) = &pod.spec else { return };
        for (name, attempt) in self.containers.unheard() {
            let Some(container) = container_of(spec, &name) else { continue };
            let place = self.messages.remove(&(name.clone(), attempt.attempt));
            let (within, path) = place.unwrap_or_else(|| {
                // It was started before the node was, and what variables it had is not known.
                let mounts = crate::node::volumes::mounts(spec, container, &self.volumes, &[]);
                let own = folder(&self.folder(), &name, attempt.attempt);
                file(container, &mounts.unwrap_or_default(), &own)
            });
            let written = tokio::task::spawn_blocking(move || read(&within, &path)).await;
            let mut words = written.ok().and_then(Result::ok).unwrap_or_default();
            if words.is_empty() && wants_log(container, &attempt) {
                let logs = log_folder(&self.node.config.data_dir, &pod);
                words = end_of_log(&logs.join(log_path(&name, attempt.attempt))).await;
            }
            self.containers.heard(&name, attempt.attempt, words);
        }
    }
}

fn wants_log(container: &Container, attempt: &Attempt) -> bool {
    container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
        && attempt.ending().is_some_and(|ending| ending.code != 0)
}

/// Where the host finds what a guest wrote: the folder no link leads out of, and the file.
pub(super) fn file(container: &Container, mounts: &[Mount], own: &Path) -> (PathBuf, PathBuf) {
    let (parent, name) = split(container);
    match covering(mounts, &parent) {
        Some((mount, below)) => {
            (mount.within.clone(), mount.host_path.join(Path::new(&below).join(name)))
        }
        None => (own.to_owned(), own.join(name)),
    }
}

/// The deepest mount that a folder lies in, and where in it.
fn covering<'a>(mounts: &'a [Mount], folder: &str) -> Option<(&'a Mount, String)> {
    let below = |mount: &Mount| {
        let rest = folder.strip_prefix(mount.container_path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
    };
    let all = mounts.iter().filter_map(|mount| Some((mount, below(mount)?)));
    all.max_by_key(|(mount, _)| mount.container_path.trim_end_matches('/').len())
}

/// Folder and name of the message's file, as the guest sees them.
fn split(container: &Container) -> (String, String) {
    let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
    let path = path.unwrap_or(DEFAULT_PATH);
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = if parent.is_empty() { "/" } else { parent };
    (parent.to_owned(), name.to_owned())
}

/// A guest may have put links there, to see what is outside, and may put them there
/// while this looks: only files below `within` count.
fn read(within: &Path, path: &Path) -> io::Result<String> {
    let below = path.strip_prefix(within).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut part = within.to_owned();
    for name in below {
        part.push(name);
        if part.is_symlink() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    }
    let found = match beneath::open(within, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        found => found?,
    };
    if found.is_folder() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    found.file().take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn end_of_log(path: &Path) -> String {
    let options = logs::Options { tail_lines: Some(LOG_LINES), ..logs::Options::default() };
    let Ok(text) = logs::read(path, options).await else { return String::new() };
    let Ok(parts) = text.try_collect::<Vec<_>>().await else { return String::new() };
    let bytes = parts.concat();
    let end = &bytes[bytes.len().saturating_sub(LOG_MAX)..];
    String::from_utf8_lossy(end).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(path: &str) -> Container {
        serde_json::from_value(json!({"name": "c", "terminationMessagePath": path})).unwrap()
    }

    fn volume(container_path: &str) -> Mount {
        let host_path = PathBuf::from(format!("/host{container_path}"));
        let within = host_path.clone();
        Mount { container_path: container_path.into(), host_path, within, readonly: false }
    }

    #[test]
    fn the_message_has_a_folder_of_its_own_unless_a_volume_is_there() {
        let own = Path::new("/own");
        let made = mount(&container(""), &[volume("/data")], own).unwrap();
        assert_eq!((made.container_path.as_str(), made.readonly), ("/dev", false));
        let found = |container: &Container, mounts: &[Mount]| file(container, mounts, own).1;
        assert_eq!(found(&container(""), &[]), Path::new("/own/termination-log"));

        let mounts = [volume("/data"), volume("/data/deep"), volume("/database")];
        let inside = container("/data/deep/a/message");
        assert_eq!(mount(&inside, &mounts, own), None);
        assert_eq!(found(&inside, &mounts), Path::new("/host/data/deep/a/message"));
        let beside = container("/datab/message");
        assert_eq!(mount(&beside, &mounts, own).unwrap().container_path, "/datab");
    }

    #[test]
    fn a_message_is_cut_and_a_link_is_none() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("message"), "x".repeat(5000)).unwrap();
        let heard = |name: &str| read(home.path(), &home.path().join(name));
        assert_eq!(heard("message").unwrap().len(), 4096);
        assert_eq!(heard("none").unwrap(), "");
        if crate::platform::LINKS {
            crate::platform::link(Path::new("message"), &home.path().join("link")).unwrap();
            assert!(heard("link").is_err());
        }
    }
}
