//! Root file systems of images: unpacked once, copied for each container that may write.
//!
//! An image is a stranger's. Nothing of it is followed out of its folder: names with `..` are
//! refused, symbolic links are followed as if the folder were `/`, absolute ones are rewritten
//! as relative, devices are left out. Owners and modes are not kept, as guests see neither. What
//! is unpacked is never changed again: a container gets a copy, which on file systems that share
//! blocks costs next to nothing, or the folder itself if it may not write.

mod decompress;
mod layer;
mod path;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use registry::artifact::{Files, SpinContent, SpinFile};
use registry::{ContentStore, Digest};
use sha2::{Digest as _, Sha256};

pub use path::{Last, PathError, resolve};

use crate::platform;
use layer::Budget;

/// Bytes of all files of an image together: as large as its layers may be when compressed.
const MAX_BYTES: u64 = 4 << 30;

/// Files, folders and links of an image: what the images of whole distributions hold, times two.
const MAX_FILES: u64 = 200_000;

/// Why an image's root file system was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Our own disk failed.
    #[error("cannot {doing} {}", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A layer is no archive, or breaks off.
    #[error("layer {layer} is not a valid archive")]
    Archive {
        /// The layer.
        layer: String,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// An entry of a layer cannot be taken.
    #[error("{name:?} {why}")]
    Entry {
        /// The entry's name, shortened.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It holds more than we take.
    #[error("its files are more than {what}")]
    TooLarge {
        /// The bound.
        what: String,
    },
}

impl RootfsError {
    /// Whether the image is at fault.
    pub fn blames_image(&self) -> bool {
        !matches!(self, Self::Disk { .. })
    }

    fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { doing, path, source }
    }

    fn entry(name: &str, why: &'static str) -> Self {
        let mut name = name.to_owned();
        name.truncate(name.floor_char_boundary(160));
        Self::Entry { name, why }
    }
}

/// Where the files of a Spin application's component are in its image's folder.
pub fn component_folder(component: usize) -> PathBuf {
    component.to_string().into()
}

/// Unpacks an image's files into `root`, an empty folder, those of a Spin application into a
/// folder for each component; answers their bytes. Blocks.
pub fn unpack(files: &Files, store: &ContentStore, root: &Path) -> Result<u64, RootfsError> {
    let mut budget = Budget { bytes: MAX_BYTES, files: MAX_FILES };
    match files {
        Files::None => {}
        Files::Layers(layers) => {
            for layer in layers {
                lay(&store.blob_path(&layer.digest), root, &layer.digest, &mut budget)?;
            }
        }
        Files::Spin { files, layers } => {
            let bundles = tempfile::tempdir_in(root.parent().unwrap_or(root))
                .map_err(RootfsError::disk("make a folder beside", root))?;
            let mut bundled = HashMap::new();
            let named: HashSet<&Digest> = files.iter().filter_map(SpinFile::named).collect();
            for (index, layer) in layers.iter().enumerate() {
                // What a file names itself is that file, not an archive.
                if !named.contains(&layer.digest) {
                    let folder = bundles.path().join(index.to_string());
                    fs::create_dir(&folder).map_err(RootfsError::disk("make folder", &folder))?;
                    lay(&store.blob_path(&layer.digest), &folder, &layer.digest, &mut budget)?;
                    note(&folder, &mut bundled)?;
                }
            }
            for file in files {
                let own = root.join(component_folder(file.component));
                platform::create_private_dir(&own)
                    .map_err(RootfsError::disk("make folder", &own))?;
                place(file, &own, store, &bundled, &mut budget)?;
            }
        }
    }
    Ok(MAX_BYTES - budget.bytes)
}

/// Lays the archive in a file over `root`.
fn lay(
    archive: &Path,
    root: &Path,
    digest: &Digest,
    budget: &mut Budget,
) -> Result<(), RootfsError> {
    let broken = |source| RootfsError::Archive { layer: digest.to_string(), source };
    let file = File::open(archive).map_err(RootfsError::disk("open", archive))?;
    let plain = decompress::decompress(BufReader::new(file)).map_err(broken)?;
    layer::lay(root, plain, budget, &broken)
}

/// Notes where the files of a bundle are, by their digests, which is what they are named by.
fn note(folder: &Path, found: &mut HashMap<Digest, PathBuf>) -> Result<(), RootfsError> {
    for entry in fs::read_dir(folder).map_err(RootfsError::disk("list", folder))? {
        let path = entry.map_err(RootfsError::disk("list", folder))?.path();
        let metadata = path.symlink_metadata().map_err(RootfsError::disk("look at", &path))?;
        if metadata.is_dir() {
            note(&path, found)?;
        } else if metadata.is_file() {
            let digest = digest(&path).map_err(RootfsError::disk("read", &path))?;
            found.insert(digest, path);
        }
    }
    Ok(())
}

/// Puts one file of a Spin component where it wants to be.
fn place(
    file: &SpinFile,
    root: &Path,
    store: &ContentStore,
    bundled: &HashMap<Digest, PathBuf>,
    budget: &mut Budget,
) -> Result<(), RootfsError> {
    let target = layer::target(root, &file.path)?
        .ok_or_else(|| RootfsError::entry(&file.path, "is not the name of a file"))?;
    layer::make_room(root, &target, budget)?;
    match &file.content {
        SpinContent::Inline(bytes) => {
            budget.take_bytes(bytes.len() as u64)?;
            fs::write(&target, bytes).map_err(RootfsError::disk("write", &target))
        }
        SpinContent::Named(digest) => {
            let blob = store.blob_path(digest);
            let source = bundled.get(digest).unwrap_or(&blob);
            let size = match source.metadata() {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(RootfsError::entry(&file.path, "is in none of the layers"));
                }
                Err(error) => return Err(RootfsError::disk("look at", source)(error)),
            };
            budget.take_bytes(size)?;
            fs::copy(source, &target).map(drop).map_err(RootfsError::disk("write", &target))
        }
    }
}

/// The digest of a file. Blocks.
pub fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => {
                let text = format!("sha256:{}", hex::encode(hasher.finalize()));
                return Ok(text.parse().expect("a SHA-256 in hexadecimal is a digest"));
            }
            read => hasher.update(&piece[..read]),
        }
    }
}

/// Copies a folder as it is, symbolic links as links, into one that is made. Blocks.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        platform::create_private_dir(&to.join(&folder))?;
        for entry in fs::read_dir(from.join(&folder))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                platform::symlink(&fs::read_link(entry.path())?, &to.join(&path))?;
            } else {
                fs::copy(entry.path(), to.join(&path))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
