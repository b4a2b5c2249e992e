//! What an image runs: its one artifact, or a component of a Spin application.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cri::ContainerConfig;

/// A `.wasm` file of an image, and what the image says about how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredComponent {
    /// Its name within a Spin application; empty in other images.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Digest of the artifact: the `.wasm` file. None if the image does not say which it is.
    pub artifact: Option<String>,
    /// Where that file is in the root file system, if it is there.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Where its root file system is in the image's folder of them; none if it has no files.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// The artifact's name: `argv[0]` if nothing else is said.
    pub name: String,
    /// What the image's own argv begins with.
    pub entrypoint: Vec<String>,
    /// What follows, if the container has no arguments.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// Its own environment, as `NAME=value`.
    pub env: Vec<String>,
    /// The image's own working directory.
    pub working_dir: String,
}

impl StoredComponent {
    /// One that is an artifact alone.
    pub(super) fn artifact(reference: &str, digest: String) -> Self {
        Self { artifact: Some(digest), name: artifact_name(reference), ..Self::default() }
    }

    /// Whether its program is a file of its root file system, which a command names.
    pub fn runs_files(&self) -> bool {
        self.root.is_some() && (self.artifact.is_none() || self.file.is_some())
    }

    /// The word by which the image itself names its program.
    pub fn starts(&self) -> Option<&String> {
        self.entrypoint.first().or(self.cmd.first())
    }

    /// The guest's argv: [`StoredComponent::command`], under the artifact's name if nothing else
    /// names it.
    pub fn argv(&self, config: &ContainerConfig) -> Vec<String> {
        match self.command(config) {
            Some(words) => words,
            None => std::iter::once(&self.name).chain(&config.args).cloned().collect(),
        }
    }

    /// What is to be run: the container's command, else the image's entry point; then the
    /// container's arguments, else those of the image. A command of `/` names nothing and stands
    /// for none, as other runtimes of Wasm have it. `None` if nobody says.
    pub fn command(&self, config: &ContainerConfig) -> Option<Vec<String>> {
        let given = config.args.as_slice();
        let args = if given.is_empty() { self.cmd.as_slice() } else { given };
        let (first, rest) = match config.command.as_slice() {
            [root] if root == "/" && !self.runs_files() => return None,
            command if !command.is_empty() && command != ["/"] => (command, given),
            _ if !self.entrypoint.is_empty() => (self.entrypoint.as_slice(), args),
            // Docker's arguments alone begin with the program.
            _ if self.runs_files() || given.is_empty() => (args, [].as_slice()),
            _ => return None,
        };
        let words: Vec<String> = first.iter().chain(rest).cloned().collect();
        (!words.is_empty()).then_some(words)
    }

    /// The guest's environment: `HOSTNAME` and `PWD`, as WASI has no call for
    /// the one and not every guest looks for the other, under the image's
    /// variables, under the container's.
    pub fn envs(&self, config: &ContainerConfig, hostname: &str) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let hostname = (!hostname.is_empty()).then(|| own("HOSTNAME", hostname));
        let folder = self.working_dir(config);
        let folder = (!folder.is_empty()).then(|| own("PWD", &folder));
        let image = self.env.iter().filter_map(|pair| pair.split_once('='));
        let image = image.map(|(name, value)| own(name, value));
        let asked = config.envs.iter().cloned();
        let all: BTreeMap<_, _> =
            hostname.into_iter().chain(folder).chain(image).chain(asked).collect();
        all.into_iter().collect()
    }

    /// The guest's working directory: the container's, else the image's, else
    /// the root if there is one.
    pub fn working_dir(&self, config: &ContainerConfig) -> String {
        let root = if self.root.is_some() { "/" } else { "" };
        let said = [config.working_dir.as_str(), &self.working_dir, root];
        said.into_iter().find(|folder| !folder.is_empty()).unwrap_or_default().to_owned()
    }
}

/// The last part of a reference's path, without tag or digest.
pub(super) fn artifact_name(reference: &str) -> String {
    let named = reference.split('@').next().unwrap_or_default();
    let last = named.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> StoredComponent {
        let digest = "sha256:aa".to_owned();
        let mut image = StoredComponent::artifact("registry:5001/team/app:v1", digest);
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
        let bare = StoredComponent { entrypoint: Vec::new(), ..image() };
        assert_eq!(bare.argv(&args), ["app", "x"]);
        let with_cmd = StoredComponent { cmd: vec!["serve".into()], ..image() };
        assert_eq!(with_cmd.argv(&ContainerConfig::default()), ["/app.wasm", "serve"]);
        assert_eq!(with_cmd.argv(&args), ["/app.wasm", "x"]);
        let docker = StoredComponent {
            entrypoint: Vec::new(),
            cmd: vec!["/app.wasm".into()],
            root: Some(PathBuf::new()),
            file: Some("app.wasm".into()),
            ..image()
        };
        assert_eq!(docker.argv(&ContainerConfig::default()), ["/app.wasm"]);
        assert_eq!(docker.argv(&args), ["x"]);
        assert_eq!(docker.working_dir(&args), "/");
        let root = ContainerConfig { command: vec!["/".into()], ..ContainerConfig::default() };
        assert_eq!(image().argv(&root), ["app"]);
    }
}
