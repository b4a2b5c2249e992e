//! Where a container sees the volumes of its Pod.
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec};
use shim::beneath;
use shim::cri::Mount;

use super::{Volumes, is_inside};
use crate::node::environment::expand;

/// Why a container cannot have its volumes (`CreateContainerConfigError`).
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum MountError {
    /// The Pod has no such volume.
    #[error("volume {0:?} of a mount does not exist")]
    NotFound(String),
    /// The part of the volume that is wished leads out of it.
    #[error("subPath {0:?} must be relative and may not contain '..'")]
    SubPath(String),
    /// A variable in `subPathExpr` has no value.
    #[error("subPathExpr {0:?} refers to a variable that is not set")]
    Variable(String),
    /// The part of the volume that is wished cannot be made.
    #[error("cannot create subPath {0}")]
    Create(PathBuf, #[source] io::Error),
}

/// The mounts of a container whose Pod's volumes are written.
pub(in crate::node) fn mounts(
    spec: &PodSpec,
    container: &Container,
    volumes: &Volumes,
    envs: &[(String, String)],
) -> Result<Vec<Mount>, MountError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| MountError::NotFound(mount.name.clone()))?;
        let folder = volumes.path(volume);
        let part = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(expr)) if !expr.is_empty() => Some(expanded(expr, envs)?),
            _ => None,
        };
        let writable = volume.empty_dir.is_some() || volume.host_path.is_some();
        let host_path = match part {
            Some(part) => sub_path(&volumes.within(volume), &folder, &part, writable)?,
            None => folder,
        };
        mounts.push(Mount {
            container_path: mount.mount_path.clone(),
            host_path,
            within: volumes.within(volume),
            // What the API says is not the guest's to change.
            readonly: mount.read_only == Some(true) || !writable,
        });
    }
    Ok(mounts)
}

fn expanded(expr: &str, envs: &[(String, String)]) -> Result<String, MountError> {
    let lookup =
        |name: &str| envs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let path = expand(expr, lookup);
    if path.contains("$(") { Err(MountError::Variable(expr.to_owned())) } else { Ok(path) }
}

fn sub_path(within: &Path, folder: &Path, part: &str, create: bool) -> Result<PathBuf, MountError> {
    let part = part.trim_end_matches('/');
    if !is_inside(part) {
        return Err(MountError::SubPath(part.to_owned()));
    }
    let path = folder.join(part);
    // A file of an object is reached through its links, which are ours.
    if create {
        refuse_links(folder, part)?;
        // The links that come after this was looked at lead nowhere else.
        match beneath::open(within, &path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                beneath::create_dir_all(within, &path)
                    .map_err(|source| MountError::Create(path.clone(), source))?;
            }
            Err(source) => return Err(MountError::Create(path, source)),
        }
    }
    Ok(path)
}

/// A guest may have put a link into its volume, to see what is outside.
fn refuse_links(folder: &Path, part: &str) -> Result<(), MountError> {
    let mut path = folder.to_owned();
    for name in part.split('/') {
        path.push(name);
        if path.is_symlink() {
            return Err(MountError::SubPath(part.to_owned()));
        }
    }
    Ok(())
}
