//! Volumes of a Pod: folders under the node's data folder, filled from what the
//! Pod refers to.
//!
//! What a volume holds is planned purely ([`contents`]); [`Volumes`] writes it,
//! and swaps it whole ([`mod@write`]) when an object changes under a running Pod.
mod host_path;
mod mounts;
mod tokens;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Pod, Secret, Volume,
    VolumeProjection,
};

use super::environment::{self, EnvironmentError};
use super::references::Objects;
use super::resources::Amount;

use host_path::{HostPath, HostPathError};

pub(super) use mounts::mounts;
pub(super) use tokens::Tokens;

/// Mode of files where nobody says another.
const DEFAULT_MODE: i32 = 0o644;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    content: Vec<u8>,
    mode: u32,
}

/// Files by path, with slashes, relative to the volume.
pub(super) type Files = BTreeMap<String, File>;

/// What a volume holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// What guests write.
    EmptyDir,
    /// What the API says.
    Files(Files),
    /// What is on the machine.
    HostPath(HostPathVolumeSource),
}

/// Why a volume cannot be made (`FailedMount`).
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    /// An object is missing.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key is missing.
    #[error("{what} key: {key}")]
    Key {
        /// Whose key.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// A path leads out of the volume.
    #[error("invalid path {0:?}: it must be relative and may not contain '..'")]
    Path(String),
    /// The Pod has no such field.
    #[error(transparent)]
    Field(#[from] EnvironmentError),
    /// Wasm Pods have no such volume.
    #[error(
        "unsupported volume type; emptyDir, configMap, secret, downwardAPI, projected and hostPath are supported"
    )]
    Unsupported,
    /// The machine's owner or the path itself says no.
    #[error(transparent)]
    HostPath(#[from] HostPathError),
    /// The disk failed.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// What projections of a Pod's own fields need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its node's address.
    pub host_ip: IpAddr,
    /// What it refers to.
    pub objects: &'a Objects,
    /// What the node has.
    pub allocatable: Amount,
    /// The tokens of its service account.
    pub tokens: &'a Tokens,
}

/// What a volume has to hold.
pub(super) fn contents(volume: &Volume, context: Context<'_>) -> Result<Content, VolumeError> {
    let mut files = Files::new();
    if volume.empty_dir.is_some() {
        return Ok(Content::EmptyDir);
    } else if let Some(source) = &volume.config_map {
        let mode = source.default_mode;
        let optional = source.optional == Some(true);
        context.config_map(&source.name, source.items.as_deref(), mode, optional, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let mode = source.default_mode;
        let optional = source.optional == Some(true);
        context.secret(name, source.items.as_deref(), mode, optional, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        context.downward(source.items.as_deref(), source.default_mode, &mut files)?;
    } else if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            context.projection(&volume.name, source, projected.default_mode, &mut files)?;
        }
    } else if let Some(source) = &volume.host_path {
        return Ok(Content::HostPath(source.clone()));
    } else {
        return Err(VolumeError::Unsupported);
    }
    Ok(Content::Files(files))
}

impl Context<'_> {
    fn projection(
        &self,
        volume: &str,
        source: &VolumeProjection,
        mode: Option<i32>,
        files: &mut Files,
    ) -> Result<(), VolumeError> {
        if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            self.config_map(&map.name, map.items.as_deref(), mode, optional, files)
        } else if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            self.secret(&secret.name, secret.items.as_deref(), mode, optional, files)
        } else if let Some(downward) = &source.downward_api {
            self.downward(downward.items.as_deref(), mode, files)
        } else if let Some(token) = &source.service_account_token {
            // Without its token the volume is not written at all.
            let text = self.tokens.get(volume, &token.path).unwrap_or_default();
            put(files, &token.path, text.as_bytes().to_vec(), mode)
        } else {
            Err(VolumeError::Unsupported)
        }
    }

    fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
        files: &mut Files,
    ) -> Result<(), VolumeError> {
        let Some(map) = self.objects.config_maps.get(name) else {
            return missing("configmap", name, optional);
        };
        let missing_key = "configmap references non-existent config";
        select(&bytes_of_config_map(map), items, mode, optional, missing_key, files)
    }

    fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
        files: &mut Files,
    ) -> Result<(), VolumeError> {
        let Some(secret) = self.objects.secrets.get(name) else {
            return missing("secret", name, optional);
        };
        let missing_key = "references non-existent secret";
        select(&bytes_of_secret(secret), items, mode, optional, missing_key, files)
    }

    fn downward(
        &self,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: Option<i32>,
        files: &mut Files,
    ) -> Result<(), VolumeError> {
        for item in items.unwrap_or_default() {
            let value = if let Some(field) = &item.field_ref {
                environment::field_value(self.pod, &field.field_path, self.ip, self.host_ip)?
            } else if let Some(selector) = &item.resource_field_ref {
                let name = selector.container_name.as_deref().unwrap_or_default();
                let container = environment::find(self.pod, name)
                    .ok_or_else(|| EnvironmentError::Resource(selector.resource.clone()))?;
                environment::resource_value(selector, container, self.allocatable)?
            } else {
                continue;
            };
            put(files, &item.path, value.into_bytes(), item.mode.or(mode))?;
        }
        Ok(())
    }
}

/// Takes the files that `items` name, or all.
fn select(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    missing_key: &'static str,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return data.iter().try_for_each(|(key, value)| put(files, key, value.to_vec(), mode));
    };
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => put(files, &item.path, value.to_vec(), item.mode.or(mode))?,
            None if optional => {}
            None => return Err(VolumeError::Key { what: missing_key, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn put(
    files: &mut Files,
    path: &str,
    content: Vec<u8>,
    mode: Option<i32>,
) -> Result<(), VolumeError> {
    if !is_inside(path) {
        return Err(VolumeError::Path(path.to_owned()));
    }
    let mode = mode.unwrap_or(DEFAULT_MODE).unsigned_abs() & 0o777;
    files.insert(path.to_owned(), File { content, mode });
    Ok(())
}

/// Whether a path stays in the folder it is relative to, on every system.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != ".." && part != ".")
}

fn missing(kind: &'static str, name: &str, optional: bool) -> Result<(), VolumeError> {
    if optional { Ok(()) } else { Err(VolumeError::NotFound { kind, name: name.to_owned() }) }
}

fn bytes_of_config_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let bytes = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), &*value.0));
    text.chain(bytes).collect()
}

fn bytes_of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), &*value.0)).collect()
}

/// The volumes of one Pod on disk.
#[derive(Debug)]
pub(super) struct Volumes {
    folder: PathBuf,
    /// Folders of the machine that may be mounted.
    allowed: Vec<PathBuf>,
    written: BTreeMap<String, Content>,
    /// Where hostPath volumes really are.
    host_paths: HashMap<String, HostPath>,
}

impl Volumes {
    /// Volumes below the folder of a Pod; nothing is written yet.
    pub fn new(pod_folder: &Path, allowed: &[PathBuf]) -> Self {
        Self {
            folder: pod_folder.join("volumes"),
            allowed: allowed.to_vec(),
            written: BTreeMap::new(),
            host_paths: HashMap::new(),
        }
    }

    /// Makes a volume hold `content`.
    pub async fn write(&mut self, volume: &Volume, content: Content) -> Result<(), VolumeError> {
        if self.written.get(&volume.name) == Some(&content) {
            return Ok(());
        }
        let folder = folder(&self.folder, volume);
        let stopped = |error| VolumeError::Write(folder.clone(), io::Error::other(error));
        let (target, new, allowed) = (folder.clone(), content.clone(), self.allowed.clone());
        let write = move || prepare(target, new, &allowed);
        if let Some(found) = tokio::task::spawn_blocking(write).await.map_err(stopped)?? {
            self.host_paths.insert(volume.name.clone(), found);
        }
        self.written.insert(volume.name.clone(), content);
        Ok(())
    }

    /// Where a volume is.
    pub fn path(&self, volume: &Volume) -> PathBuf {
        let host_path = self.host_paths.get(&volume.name);
        host_path.map_or_else(|| folder(&self.folder, volume), |host| host.real.clone())
    }

    /// The folder that no link of the volume may lead out of.
    pub fn within(&self, volume: &Volume) -> PathBuf {
        let host_path = self.host_paths.get(&volume.name);
        host_path.map_or_else(|| folder(&self.folder, volume), |host| host.within.clone())
    }
}

/// Makes a volume; where it really is, if not at `target`.
fn prepare(
    target: PathBuf,
    content: Content,
    allowed: &[PathBuf],
) -> Result<Option<HostPath>, VolumeError> {
    match content {
        Content::EmptyDir => write::folder(&target),
        Content::Files(files) => write::files(&target, &files),
        Content::HostPath(source) => return Ok(Some(host_path::prepare(&source, allowed)?)),
    }
    .map_err(|error| VolumeError::Write(target, error))?;
    Ok(None)
}

/// The kubelet's layout, which people know from its nodes.
fn folder(volumes: &Path, volume: &Volume) -> PathBuf {
    let plugin = if volume.empty_dir.is_some() {
        "kubernetes.io~empty-dir"
    } else if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else {
        "kubernetes.io~projected"
    };
    volumes.join(plugin).join(&volume.name)
}

#[cfg(test)]
mod tests;
