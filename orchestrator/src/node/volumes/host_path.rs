//! hostPath volumes: folders and files of the machine, where its owner allows it.
//!
//! A path counts as what it leads to once links are followed, so that a link
//! inside an allowed folder opens nothing outside of it.
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

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

/// Makes sure that a path is what the Pod says, below one of `allowed`; where it really is.
pub(super) fn prepare(
    source: &HostPathVolumeSource,
    allowed: &[PathBuf],
) -> Result<PathBuf, HostPathError> {
    let path = PathBuf::from(&source.path);
    let failed = |error| HostPathError::Use(path.clone(), error);
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(&path);
    let real = existing.canonicalize().map_err(failed)?;
    if !allowed.iter().any(|folder| is_below(&real, folder)) {
        return Err(HostPathError::Forbidden(path));
    }
    let type_ = source.type_.as_deref().unwrap_or_default();
    if existing != path {
        match type_ {
            "DirectoryOrCreate" => std::fs::create_dir_all(&path).map_err(failed)?,
            "FileOrCreate" => drop(std::fs::File::create_new(&path).map_err(failed)?),
            "Directory" => return Err(HostPathError::Type { path, wanted: "directory" }),
            "File" => return Err(HostPathError::Type { path, wanted: "file" }),
            _ => return Err(failed(io::ErrorKind::NotFound.into())),
        }
    }
    let real = path.canonicalize().map_err(failed)?;
    match type_ {
        "Directory" | "DirectoryOrCreate" if !real.is_dir() => {
            Err(HostPathError::Type { path, wanted: "directory" })
        }
        "File" | "FileOrCreate" if !real.is_file() => {
            Err(HostPathError::Type { path, wanted: "file" })
        }
        _ => Ok(real),
    }
}

fn is_below(real: &Path, folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|folder| real.starts_with(folder))
}

#[cfg(test)]
mod tests {
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
        assert!(prepared("made/deep", "DirectoryOrCreate").unwrap().is_dir());
        assert!(prepared("file", "FileOrCreate").unwrap().is_file());
        assert!(prepared("file", "Directory").unwrap_err().ends_with("is not a directory"));
        assert!(prepared("made", "File").unwrap_err().ends_with("is not a file"));
        assert!(prepared("none", "Directory").unwrap_err().ends_with("is not a directory"));
        assert!(prepared("none", "").unwrap_err().starts_with("cannot use hostPath"));
    }
}
