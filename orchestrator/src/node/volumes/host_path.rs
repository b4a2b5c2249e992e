//! hostPath volumes: folders and files of the machine, where its owner allows it.
//!
//! A path counts as what it leads to once links are followed, so that a link
//! inside an allowed folder opens nothing outside of it; nor does one that a
//! guest puts there after this was looked at, as the allowed folder goes with it.
use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::HostPathVolumeSource;
use shim::beneath;

/// A path of the host that may be mounted.
#[derive(Debug)]
pub(super) struct HostPath {
    /// Where it really is.
    pub real: PathBuf,
    /// The allowed folder that it is in.
    pub within: PathBuf,
}

/// Why a path of the host cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum HostPathError {
    /// The node's owner did not allow it.
    #[error(
        "hostPath {0:?} is not allowed on this node; start it with --allow-host-path and this folder or one above it"
    )]
    Forbidden(PathBuf),
    /// It is something else.
    #[error("hostPath type check failed: {} is not a {wanted}", path.display())]
    Type {
        /// The path.
        path: PathBuf,
        /// What it had to be.
        wanted: &'static str,
    },
    /// It is not there, or cannot be made.
    #[error("cannot use hostPath {}", .0.display())]
    Use(PathBuf, #[source] io::Error),
}

/// Makes sure that a path is what the Pod says, below one of `allowed`.
pub(super) fn prepare(
    source: &HostPathVolumeSource,
    allowed: &[PathBuf],
) -> Result<HostPath, HostPathError> {
    let path = PathBuf::from(&source.path);
    let failed = |error| HostPathError::Use(path.clone(), error);
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(&path);
    let mut real = existing.canonicalize().map_err(failed)?;
    let mut folders = allowed.iter().filter_map(|folder| folder.canonicalize().ok());
    let Some(within) = folders.find(|folder| real.starts_with(folder)) else {
        return Err(HostPathError::Forbidden(path));
    };
    let type_ = source.type_.as_deref().unwrap_or_default();
    if existing != path {
        real.push(path.strip_prefix(existing).unwrap_or(&path));
        match type_ {
            "DirectoryOrCreate" => beneath::create_dir_all(&within, &real).map_err(failed)?,
            "FileOrCreate" => beneath::create_file(&within, &real).map_err(failed)?,
            "Directory" => return Err(HostPathError::Type { path, wanted: "directory" }),
            "File" => return Err(HostPathError::Type { path, wanted: "file" }),
            _ => return Err(failed(io::ErrorKind::NotFound.into())),
        }
    }
    let is_folder = beneath::open(&within, &real).map_err(failed)?.is_folder();
    match type_ {
        "Directory" | "DirectoryOrCreate" if !is_folder => {
            Err(HostPathError::Type { path, wanted: "directory" })
        }
        "File" | "FileOrCreate" if is_folder => Err(HostPathError::Type { path, wanted: "file" }),
        _ => Ok(HostPath { real, within }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn source(path: &Path, type_: &str) -> HostPathVolumeSource {
        HostPathVolumeSource { path: path.display().to_string(), type_: Some(type_.to_owned()) }
    }

    #[test]
    fn only_what_is_below_an_allowed_folder_is_mounted() {
        let home = tempfile::tempdir().unwrap();
        let (open, closed) = (home.path().join("open"), home.path().join("closed"));
        std::fs::create_dir_all(&open).unwrap();
        std::fs::create_dir_all(&closed).unwrap();
        let allowed = [open.clone()];

        assert!(prepare(&source(&open, "Directory"), &allowed).is_ok());
        let refused = prepare(&source(&closed, ""), &allowed).unwrap_err();
        assert!(refused.to_string().contains("--allow-host-path"), "{refused}");
        if crate::platform::LINKS {
            crate::platform::link(Path::new("../closed"), &open.join("out")).unwrap();
            let refused = prepare(&source(&open.join("out"), ""), &allowed).unwrap_err();
            assert!(matches!(refused, HostPathError::Forbidden(_)), "{refused}");
        }
    }

    #[test]
    fn a_path_is_what_its_type_says_or_becomes_it() {
        let home = tempfile::tempdir().unwrap();
        let allowed = [home.path().to_owned()];
        let prepared = |name: &str, type_: &str| {
            prepare(&source(&home.path().join(name), type_), &allowed).map_err(|e| e.to_string())
        };
        assert!(prepared("made/deep", "DirectoryOrCreate").unwrap().real.is_dir());
        assert!(prepared("file", "FileOrCreate").unwrap().real.is_file());
        assert!(prepared("file", "Directory").unwrap_err().ends_with("is not a directory"));
        assert!(prepared("made", "File").unwrap_err().ends_with("is not a file"));
        assert!(prepared("none", "Directory").unwrap_err().ends_with("is not a directory"));
        assert!(prepared("none", "").unwrap_err().starts_with("cannot use hostPath"));
    }
}
