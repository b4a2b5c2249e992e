//! What outlives a restart of the node, and where: attempts and addresses of
//! Pods under `pods/`, what containers wrote under `logs/`.
//!
//! A lost checkpoint harms nobody: a Pod then starts as if for the first time.
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Containers;
use super::resize::Allocated;

/// What is known of a Pod across restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Sandboxes made for it so far.
    pub sandboxes: u32,
    /// Its containers.
    pub containers: Containers,
    /// What the node gave them; nothing in what older versions saved.
    #[serde(default)]
    pub allocated: Allocated,
}

impl Checkpoint {
    /// What was saved; nothing where nothing can be read.
    pub async fn load(folder: &Path) -> Self {
        let path = folder.join("state.json");
        let read = match tokio::fs::read(&path).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => Err(error),
        };
        read.unwrap_or_else(|error| {
            warn!(path = %path.display(), %error, "pod state not readable, beginning anew");
            Self::default()
        })
    }

    /// Saves it, whole or not at all.
    pub async fn save(&self, folder: PathBuf) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let write = move || {
            std::fs::create_dir_all(&folder)?;
            let unfinished = folder.join("state.json.new");
            std::fs::write(&unfinished, bytes)?;
            std::fs::rename(unfinished, folder.join("state.json"))
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

/// Where Pods have their folders, named by uid.
pub(in crate::node) fn pods_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("pods")
}

/// Where the containers of a Pod log, as the kubelet names it.
pub(in crate::node) fn log_folder(data_dir: &Path, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let name = [part(&meta.namespace), part(&meta.name), part(&meta.uid)].join("_");
    data_dir.join("logs").join(name)
}

/// The log of one attempt, relative to its Pod's.
pub(in crate::node) fn log_path(container: &str, attempt: u32) -> PathBuf {
    Path::new(container).join(format!("{attempt}.log"))
}

/// Removes a folder with all that is in it; one that is not there is fine.
pub(super) async fn remove(folder: PathBuf) {
    match tokio::fs::remove_dir_all(&folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %folder.display(), %error, "folder not removed");
        }
        _ => {}
    }
}

/// Removes the logs of an attempt, rotated ones included.
pub(super) async fn remove_logs(logs: PathBuf, container: String, attempt: u32) {
    let clear = move || {
        let prefix = format!("{attempt}.log");
        for entry in std::fs::read_dir(logs.join(container))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|n| n == prefix || n.starts_with(&format!("{prefix}."))) {
                std::fs::remove_file(entry.path())?;
            }
        }
        io::Result::Ok(())
    };
    match tokio::task::spawn_blocking(clear).await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            warn!(%error, "old logs not removed");
        }
        _ => {}
    }
}

/// Removes what belongs to Pods that went away while the node was down.
pub(super) async fn sweep(data_dir: &Path, uids: &[String]) {
    let known: HashSet<_> = uids.iter().cloned().collect();
    let folders = [pods_folder(data_dir), data_dir.join("logs")];
    let clear = move || {
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let uid = name.to_str().and_then(|name| name.rsplit('_').next());
                if uid.is_some_and(|uid| !known.contains(uid))
                    && let Err(error) = std::fs::remove_dir_all(entry.path())
                {
                    warn!(path = %entry.path().display(), %error, "folder not removed");
                }
            }
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(clear).await {
        warn!(%error, "old folders not removed");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_a_pod_was_given_is_known_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let allocated = json!({"web": {"requests": {"cpu": "100m"}}});
        let allocated: Allocated = serde_json::from_value(allocated).unwrap();
        let saved = Checkpoint { allocated, sandboxes: 2, ..Checkpoint::default() };
        saved.save(home.path().to_owned()).await.unwrap();
        assert_eq!(Checkpoint::load(home.path()).await, saved);

        let mut older = serde_json::to_value(&saved).unwrap();
        older.as_object_mut().unwrap().remove("allocated");
        std::fs::write(home.path().join("state.json"), older.to_string()).unwrap();
        assert_eq!(Checkpoint::load(home.path()).await.sandboxes, 2, "older ones are read, too");
    }
}
