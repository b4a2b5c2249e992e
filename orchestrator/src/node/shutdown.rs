//! Orderly stops of the node, of which its Pods are told when it is back.
//!
//! A stop waits for nothing, so it only leaves its time behind. What was
//! started before then and is not there any more ended with that stop, however
//! often the node crashes before it has said so of every Pod.
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use tracing::warn;

use super::pods::Containers;
use crate::client::is_sidecar;
use crate::platform;

/// Reason and message of such a Pod, as the kubelet's.
pub(super) const TERMINATED: (&str, &str) =
    ("Terminated", "Pod was terminated in response to imminent node shutdown.");

/// Notes that the node was stopped.
pub(super) async fn note(data_dir: &Path, now: Timestamp) {
    let path = file(data_dir);
    let write = {
        let path = path.clone();
        move || platform::write_private(&path, now.to_string().as_bytes())
    };
    let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::other);
    if let Err(error) = written.and_then(|written| written) {
        warn!(path = %path.display(), %error, "stop not noted");
    }
}

/// When the node was stopped last; none if it never was, or nobody can tell.
pub(super) fn last(data_dir: &Path) -> Option<Timestamp> {
    let path = file(data_dir);
    let read = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        read => read,
    };
    let read = read.and_then(|text| text.parse().map_err(io::Error::other));
    read.inspect_err(|error| warn!(path = %path.display(), %error, "last stop not readable")).ok()
}

/// Whether a container that its Pod does not start again ended with the node's last stop.
pub(super) fn ended(
    spec: &PodSpec,
    containers: &Containers,
    stopped_at: Option<Timestamp>,
) -> bool {
    let inits = spec.init_containers.iter().flatten().filter(|init| !is_sidecar(init));
    inits.chain(&spec.containers).any(|container| {
        let ending = containers.vanished(&container.name);
        ending.is_some_and(|ending| ending.started_at.is_some() && ending.started_at <= stopped_at)
    })
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("stopped-at")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_was_started_before_the_stop_ended_with_it() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(last(home.path()), None);
        let at = |second| Timestamp::from_second(second).unwrap();
        note(home.path(), at(100)).await;

        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [{"name": "aside", "restartPolicy": "Always"}],
            "containers": [{"name": "work"}],
        }))
        .unwrap();
        let ended = |name: &str, started: i64| {
            let state = json!({"Running": {"started_at": at(started)}});
            let attempt = json!({"attempt": 0, "id": "a", "image": "i", "state": state});
            let saved = json!({"attempts": {name: [attempt]}, "next": {name: 1}});
            let mut containers: Containers = serde_json::from_value(saved).unwrap();
            containers.observe(Vec::new(), at(200));
            super::ended(&spec, &containers, last(home.path()))
        };
        assert!(ended("work", 50));
        assert!(!ended("work", 150), "it was started later, and the node did not stop then");
        assert!(!ended("aside", 50), "a sidecar fails no Pod");
    }
}
