//! One image: its blobs, what of them is run, and which requests go where.
use std::path::PathBuf;

use registry::Digest;
use registry::artifact::{Files, Source, Wasm};
use serde::{Deserialize, Serialize};

use super::component::{StoredComponent, artifact_name};
use crate::rootfs;

/// An image whose blobs are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct StoredImage {
    /// What it runs: one, or those of a Spin application that can be called.
    pub components: Vec<StoredComponent>,
    /// Which requests go to which component; empty where the only one gets all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StoredRoute>,
    /// Digests of all its blobs, manifest and artifacts included.
    pub blobs: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
}

/// The requests of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRoute {
    /// Their path, as its author wrote it.
    pub path: String,
    /// Where they go: an index of [`StoredImage::components`].
    pub component: usize,
}

/// An image in the index, as this version and those before it write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Now(Now),
    Before(Before),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Now {
    components: Vec<StoredComponent>,
    #[serde(default)]
    routes: Vec<StoredRoute>,
    blobs: Vec<String>,
    size: u64,
}

/// An image of one component, whose root was the image's folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    artifact: Option<String>,
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    rootfs: bool,
    blobs: Vec<String>,
    name: String,
    entrypoint: Vec<String>,
    #[serde(default)]
    cmd: Vec<String>,
    env: Vec<String>,
    working_dir: String,
    size: u64,
}

impl From<Written> for StoredImage {
    fn from(written: Written) -> Self {
        match written {
            Written::Now(Now { components, routes, blobs, size }) => {
                Self { components, routes, blobs, size }
            }
            Written::Before(before) => {
                let component = StoredComponent {
                    id: String::new(),
                    artifact: before.artifact,
                    file: before.file,
                    root: before.rootfs.then(PathBuf::new),
                    name: before.name,
                    entrypoint: before.entrypoint,
                    cmd: before.cmd,
                    env: before.env,
                    working_dir: before.working_dir,
                };
                let (blobs, size) = (before.blobs, before.size);
                Self { components: vec![component], routes: Vec::new(), blobs, size }
            }
        }
    }
}

impl StoredImage {
    /// An image that is an artifact alone.
    pub(super) fn artifact(reference: &str, digest: &Digest, size: u64) -> Self {
        Self {
            components: vec![StoredComponent::artifact(reference, digest.to_string())],
            routes: Vec::new(),
            blobs: vec![digest.to_string()],
            size,
        }
    }

    /// An image from a registry, before its files are unpacked.
    pub(super) fn pulled(repository: &str, wasm: &Wasm, blobs: Vec<String>, size: u64) -> Self {
        let components = wasm.components.iter().enumerate().map(|(index, component)| {
            let artifact = match &component.source {
                Source::Layer(layer) => Some(layer.digest.to_string()),
                Source::Rootfs => None,
            };
            StoredComponent {
                id: component.id.clone(),
                artifact,
                file: None,
                root: root(&wasm.files, index),
                name: artifact_name(repository),
                entrypoint: wasm.entrypoint.clone(),
                cmd: wasm.cmd.clone(),
                env: component.env.clone(),
                working_dir: wasm.working_dir.clone(),
            }
        });
        let routes = wasm.routes.iter();
        let routes = routes
            .map(|route| StoredRoute { path: route.path.clone(), component: route.component });
        Self { components: components.collect(), routes: routes.collect(), blobs, size }
    }

    /// Whether any of its components has a root file system.
    pub fn has_rootfs(&self) -> bool {
        self.components.iter().any(|component| component.root.is_some())
    }

    /// Digests of its artifacts.
    pub fn artifacts(&self) -> impl Iterator<Item = &str> {
        self.components.iter().filter_map(|component| component.artifact.as_deref())
    }
}

/// Where a component finds its files.
fn root(files: &Files, component: usize) -> Option<PathBuf> {
    match files {
        Files::None => None,
        Files::Layers(_) => Some(PathBuf::new()),
        Files::Spin { files, .. } => {
            let has_files = files.iter().any(|file| file.component == component);
            has_files.then(|| rootfs::component_folder(component))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let written = r#"{
            "artifact": "sha256:aa", "file": "app.wasm", "rootfs": true, "blobs": ["sha256:bb"],
            "name": "app", "entrypoint": ["/app.wasm"], "cmd": ["serve"], "env": ["A=1"],
            "working_dir": "/w", "size": 7
        }"#;
        let image: StoredImage = serde_json::from_str(written).unwrap();
        let [component] = image.components.as_slice() else { panic!("{image:?}") };
        assert_eq!(component.root, Some(PathBuf::new()));
        assert!(component.runs_files());
        assert_eq!((component.env.as_slice(), image.size), (["A=1".to_owned()].as_slice(), 7));

        let again: StoredImage =
            serde_json::from_str(&serde_json::to_string(&image).unwrap()).unwrap();
        assert_eq!(again, image);
        assert!(serde_json::from_str::<StoredImage>(r#"{"blobs": [], "size": 1}"#).is_err());
    }
}
