//! The root file system of one container.
//!
//! Who may write gets a copy of the image's, or an empty one if the image has none, which is gone
//! with the container; who may not sees the image's own. What is mounted lies over it, as a guest takes the longest path that fits:
//! folders get an empty place to be mounted at, so that they are listed, and files are copied in.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::Source;
use crate::cri::OwnFiles;
use crate::images::Lease;
use crate::platform;
use crate::rootfs::{self, Last};

/// The name of a container's copy in its staging folder; files get folders named by numbers.
const COPY: &str = "root";

/// Where programs put what they need for a while; an empty root has it.
const TEMPORARY: &str = "tmp";

/// What a container's root is made of.
#[derive(Debug)]
pub struct Root {
    /// The image's root file system, if it has one.
    pub image: Option<Lease>,
    /// Whether the container may not write.
    pub readonly: bool,
}

impl Root {
    /// Where the guest writes what is not mounted, if it may.
    pub fn own_files(&self, staging: &Path) -> Option<OwnFiles> {
        let image = self.image.as_ref().map(|image| image.folder.clone());
        let folder = staging.join(COPY);
        (!self.readonly).then_some(OwnFiles { folder, image })
    }

    /// Where the guest's `/` is on the host. Blocks.
    pub(super) fn prepare(
        &self,
        folders: &[String],
        files: &[Source],
        staging: &Path,
    ) -> io::Result<PathBuf> {
        let copy = staging.join(COPY);
        match &self.image {
            Some(image) if self.readonly && files.is_empty() => return Ok(image.folder.clone()),
            Some(image) => rootfs::copy(&image.folder, &copy)?,
            None => platform::create_private_dir(&copy.join(TEMPORARY))?,
        }
        let place = |guest: &str| {
            let place = rootfs::resolve(&copy, guest, Last::Follow);
            place.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        };
        for guest in folders {
            fs::create_dir_all(place(guest)?)?;
        }
        for file in files {
            let place = place(&file.guest)?;
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            file.host.copy_to(&place)?;
        }
        Ok(copy)
    }
}
