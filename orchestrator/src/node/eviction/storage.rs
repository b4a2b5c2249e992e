//! Whether a Pod wrote more to the disk than it may.
use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use shim::cri::OwnFiles;

use crate::client::Quantity;
use crate::node::pods::{log_folder, pods_folder};
use crate::node::resources;
use crate::node::volumes::Volumes;

/// What a file takes at least: file systems give whole blocks.
const BLOCK: u64 = 4096;

/// Bytes that a Pod has written.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// By emptyDir volume.
    volumes: BTreeMap<String, u64>,
    /// Logs, files of its own and what it wrote to its root, by container.
    containers: BTreeMap<String, u64>,
}

/// Whether anything limits what a Pod writes.
pub(super) fn is_limited(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    size_limits(spec).next().is_some() || all(spec).any(|container| limit(container).is_some())
}

/// What a Pod has written; its containers' own roots are told by name.
pub(super) fn measure(data_dir: &Path, pod: &Pod, own_files: &[(String, OwnFiles)]) -> Usage {
    let Some(spec) = &pod.spec else { return Usage::default() };
    let own = pods_folder(data_dir).join(pod.metadata.uid.as_deref().unwrap_or_default());
    let logs = log_folder(data_dir, pod);
    let volumes = Volumes::new(&own, &[]);
    let empty = spec.volumes.iter().flatten().filter(|volume| volume.empty_dir.is_some());
    let of_container = |name: &str| {
        let roots = own_files.iter().filter(|(container, _)| container == name);
        let written: u64 = roots.map(|(_, files)| written(files)).sum();
        written + size(&logs.join(name)) + size(&own.join("containers").join(name))
    };
    Usage {
        volumes: empty.map(|v| (v.name.clone(), size(&volumes.path(v)))).collect(),
        containers: all(spec).map(|c| (c.name.clone(), of_container(&c.name))).collect(),
    }
}

/// Which limit a Pod exceeds, in the kubelet's words.
pub(super) fn exceeded(pod: &Pod, usage: &Usage) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    for (name, limit) in size_limits(spec) {
        if usage.volumes.get(name).is_some_and(|used| *used > bytes(limit)) {
            let limit = limit.to_string();
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "
            ));
        }
    }
    let total: u64 = usage.volumes.values().chain(usage.containers.values()).sum();
    if let Some(limit) = pod_limit(spec).filter(|limit| total > bytes(*limit)) {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        ));
    }
    let over = all(spec).find_map(|container| {
        let limit = limit(container)?;
        let used = usage.containers.get(&container.name).copied().unwrap_or(0);
        (used > bytes(limit)).then_some((&container.name, limit.to_string()))
    });
    over.map(|(name, limit)| {
        format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. ")
    })
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn size_limits(spec: &PodSpec) -> impl Iterator<Item = (&str, Quantity)> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let limit = Quantity::parse(&limit.0).ok().filter(|limit| limit.value() > 0)?;
        Some((volume.name.as_str(), limit))
    })
}

/// A container's limit; one that does not parse was refused at creation.
fn limit(container: &Container) -> Option<Quantity> {
    let limits = container.resources.as_ref()?.limits.as_ref();
    resources::read(limits, "limits", "ephemeral-storage").ok().flatten()
}

/// The sum of its containers' limits, or that of its largest init container.
fn pod_limit(spec: &PodSpec) -> Option<Quantity> {
    let sum = spec.containers.iter().filter_map(limit).reduce(|a, b| a + b);
    let inits = spec.init_containers.iter().flatten().filter_map(limit);
    inits.chain(sum).reduce(|a, b| if b > a { b } else { a })
}

fn bytes(amount: Quantity) -> u64 {
    amount.value().max(0).unsigned_abs()
}

/// Bytes by which a root is more than its image's; the image is nobody's to pay for.
fn written(files: &OwnFiles) -> u64 {
    let image = files.image.as_deref().map_or(0, size);
    size(&files.folder).saturating_sub(image)
}

/// Bytes of a folder with all that is in it; what vanishes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            // Not through links: what they lead to is somebody else's.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            sum += metadata.len().next_multiple_of(BLOCK);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let limits = |size: &str| json!({"limits": {"ephemeral-storage": size}});
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {
                "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}],
                "containers": [
                    {"name": "a", "resources": limits("1Mi")},
                    {"name": "b", "resources": limits("2Mi")},
                ],
            },
        }))
        .unwrap()
    }

    fn told(scratch: u64, a: u64, b: u64) -> Option<String> {
        let named = |all: &[(&str, u64)]| {
            all.iter().map(|(name, kib)| ((*name).to_owned(), kib << 10)).collect()
        };
        let usage = Usage {
            volumes: named(&[("scratch", scratch)]),
            containers: named(&[("a", a), ("b", b)]),
        };
        exceeded(&pod(), &usage)
    }

    #[test]
    fn each_limit_has_its_words() {
        assert_eq!(told(1024, 1024, 1024), None);
        assert_eq!(
            told(1025, 0, 0).unwrap(),
            "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". "
        );
        assert_eq!(
            told(1024, 1024, 1025).unwrap(),
            "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "
        );
        assert_eq!(
            told(0, 1025, 0).unwrap(),
            "Container a exceeded its local ephemeral storage limit \"1Mi\". "
        );
    }

    #[test]
    fn what_is_written_counts_by_the_block() {
        let home = tempfile::tempdir().unwrap();
        let pod = pod();
        let volumes = Volumes::new(&pods_folder(home.path()).join("u"), &[]);
        let scratch = volumes.path(&pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0]);
        std::fs::create_dir_all(&scratch).unwrap();
        std::fs::write(scratch.join("one"), vec![0; 5000]).unwrap();
        std::fs::write(scratch.join("two"), "x").unwrap();
        assert_eq!(measure(home.path(), &pod, &[]).volumes["scratch"], 3 * BLOCK);

        let (folder, image) = (home.path().join("root"), home.path().join("image"));
        let files = OwnFiles { folder: folder.clone(), image: Some(image.clone()) };
        for folder in [&folder, &image] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("guest.txt"), vec![0; 9000]).unwrap();
        }
        std::fs::write(folder.join("new"), vec![0; 5000]).unwrap();
        let usage = measure(home.path(), &pod, &[("a".to_owned(), files)]);
        assert_eq!((usage.containers["a"], usage.containers["b"]), (2 * BLOCK, 0));
        assert!(is_limited(&pod));
        assert!(!is_limited(&Pod::default()));
    }
}
