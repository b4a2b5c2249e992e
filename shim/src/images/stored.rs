//! One image: the artifact in it, and what it says about how it is run.
use std::collections::BTreeMap;

use registry::Digest;
use registry::artifact::Wasm;
use serde::{Deserialize, Serialize};

use crate::cri::ContainerConfig;

/// An image whose blobs are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredImage {
    /// Digest of the artifact: the `.wasm` file.
    pub artifact: String,
    /// Digests of all its blobs, manifest and artifact included.
    pub blobs: Vec<String>,
    /// The artifact's name: `argv[0]` if nothing else is said.
    pub name: String,
    /// The image's own argv.
    pub entrypoint: Vec<String>,
    /// The image's own environment, as `NAME=value`.
    pub env: Vec<String>,
    /// The image's own working directory.
    pub working_dir: String,
    /// Bytes of its blobs.
    pub size: u64,
}

impl StoredImage {
    /// An image that is an artifact alone.
    pub(super) fn artifact(reference: &str, digest: &Digest, size: u64) -> Self {
        Self {
            artifact: digest.to_string(),
            blobs: vec![digest.to_string()],
            name: artifact_name(reference),
            entrypoint: Vec::new(),
            env: Vec::new(),
            working_dir: String::new(),
            size,
        }
    }

    /// An image from a registry.
    pub(super) fn pulled(repository: &str, wasm: Wasm, blobs: Vec<String>, size: u64) -> Self {
        let Wasm { layer, entrypoint, env, working_dir, .. } = wasm;
        let name = artifact_name(repository);
        Self { artifact: layer.digest.to_string(), blobs, name, entrypoint, env, working_dir, size }
    }

    /// The guest's argv: the container's command, else the image's, else the
    /// artifact's name; then the container's arguments. A command of `/` names
    /// nothing and stands for none, as other runtimes of Wasm have it.
    pub fn argv(&self, config: &ContainerConfig) -> Vec<String> {
        let asked = config.command.as_slice();
        let mut argv = match asked {
            [] => self.entrypoint.clone(),
            [root] if root == "/" => Vec::new(),
            command => command.to_vec(),
        };
        if argv.is_empty() {
            argv.push(self.name.clone());
        }
        argv.extend(config.args.iter().cloned());
        argv
    }

    /// The guest's environment: `HOSTNAME`, as WASI has no call for it, under
    /// the image's variables, under the container's.
    pub fn envs(&self, config: &ContainerConfig, hostname: &str) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let hostname = (!hostname.is_empty()).then(|| own("HOSTNAME", hostname));
        let image = self.env.iter().filter_map(|pair| pair.split_once('='));
        let image = image.map(|(name, value)| own(name, value));
        let asked = config.envs.iter().cloned();
        let all: BTreeMap<_, _> = hostname.into_iter().chain(image).chain(asked).collect();
        all.into_iter().collect()
    }

    /// The guest's working directory: the container's, else the image's.
    pub fn working_dir(&self, config: &ContainerConfig) -> String {
        let asked = &config.working_dir;
        if asked.is_empty() { self.working_dir.clone() } else { asked.clone() }
    }
}

/// The last part of a reference's path, without tag or digest.
fn artifact_name(reference: &str) -> String {
    let named = reference.split('@').next().unwrap_or_default();
    let last = named.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> StoredImage {
        let mut image = StoredImage::artifact("registry:5001/team/app:v1", &Digest::of(b"app"), 1);
        image.entrypoint = vec!["/app.wasm".into()];
        image.env = vec!["A=image".into(), "B=image".into()];
        image
    }

    #[test]
    fn the_containers_words_stand_before_the_images() {
        let asked = ContainerConfig {
            command: vec!["tool".into()],
            args: vec!["x".into()],
            envs: vec![("A".into(), "pod".into())],
            ..ContainerConfig::default()
        };
        assert_eq!(image().argv(&asked), ["tool", "x"]);
        let envs: Vec<_> =
            image().envs(&asked, "web-0").into_iter().map(|(n, v)| n + "=" + &v).collect();
        assert_eq!(envs, ["A=pod", "B=image", "HOSTNAME=web-0"]);
    }

    #[test]
    fn without_a_command_the_image_decides_and_then_the_artifacts_name() {
        let args = ContainerConfig { args: vec!["x".into()], ..ContainerConfig::default() };
        assert_eq!(image().argv(&args), ["/app.wasm", "x"]);
        let bare = StoredImage { entrypoint: Vec::new(), ..image() };
        assert_eq!(bare.argv(&args), ["app", "x"]);
        let root = ContainerConfig { command: vec!["/".into()], ..ContainerConfig::default() };
        assert_eq!(image().argv(&root), ["app"]);
    }
}
