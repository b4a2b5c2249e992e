//! Which references name which image.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ImagesError, StoredImage};
use crate::cri::{Image, ImageRef};

const FILE: &str = "index.json";

/// The images by the digest of their manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    images: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    tags: BTreeSet<String>,
    digests: BTreeSet<String>,
    image: StoredImage,
}

impl Index {
    pub(super) fn read(folder: &Path) -> Result<Self, ImagesError> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| ImagesError::Damaged(path, source))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ImagesError::Index(path, error)),
        }
    }

    /// Writes the index; the file appears whole and synced.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ImagesError> {
        let path = folder.join(FILE);
        let replace = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        replace().map_err(|source| ImagesError::Index(path.clone(), source))
    }

    /// Adds an image under these references; a tag then names it alone.
    pub(super) fn add(&mut self, references: &[String], id: &ImageRef, image: StoredImage) {
        for entry in self.images.values_mut() {
            entry.tags.retain(|tag| !references.contains(tag));
        }
        let new = || Entry { tags: BTreeSet::new(), digests: BTreeSet::new(), image };
        let entry = self.images.entry(id.0.clone()).or_insert_with(new);
        for reference in references {
            let names = if reference.contains('@') { &mut entry.digests } else { &mut entry.tags };
            names.insert(reference.clone());
        }
    }

    pub(super) fn get(&self, id: &ImageRef) -> Option<&StoredImage> {
        self.images.get(&id.0).map(|entry| &entry.image)
    }

    /// The image that a full reference or digest names.
    pub(super) fn find(&self, name: &str) -> Option<Image> {
        let names = |(id, entry): &(&String, &Entry)| {
            id.as_str() == name || entry.tags.contains(name) || entry.digests.contains(name)
        };
        self.images.iter().find(names).map(|(id, entry)| shown(id, entry))
    }

    pub(super) fn list(&self) -> Vec<Image> {
        self.images.iter().map(|(id, entry)| shown(id, entry)).collect()
    }

    /// Forgets an image; those of its artifacts that no other has.
    pub(super) fn remove(&mut self, id: &ImageRef) -> Vec<String> {
        let Some(entry) = self.images.remove(&id.0) else { return Vec::new() };
        let kept = self.artifacts();
        let orphans: BTreeSet<&str> =
            entry.image.artifacts().filter(|artifact| !kept.contains(*artifact)).collect();
        orphans.into_iter().map(str::to_owned).collect()
    }

    /// Digests of all that images need.
    pub(super) fn blobs(&self) -> BTreeSet<&str> {
        self.images.values().flat_map(|entry| &entry.image.blobs).map(String::as_str).collect()
    }
}

impl Index {
    /// Names a known image by these references too; false if it is not known.
    pub(super) fn name(&mut self, references: &[String], id: &ImageRef) -> bool {
        let Some(image) = self.get(id).cloned() else { return false };
        self.add(references, id, image);
        true
    }

    /// Every reference that names an image.
    pub(super) fn names(&self, id: &ImageRef) -> Vec<String> {
        let entry = self.images.get(&id.0);
        let names = entry.into_iter().flat_map(|entry| entry.tags.iter().chain(&entry.digests));
        names.cloned().collect()
    }

    /// Whether an image that has a root file system is known by this digest.
    pub(super) fn has_rootfs(&self, id: &ImageRef) -> bool {
        self.get(id).is_some_and(StoredImage::has_rootfs)
    }

    /// Digests of the artifacts of all images.
    pub(super) fn artifacts(&self) -> BTreeSet<String> {
        self.images.values().flat_map(|entry| entry.image.artifacts()).map(str::to_owned).collect()
    }
}

fn shown(id: &str, entry: &Entry) -> Image {
    Image {
        id: ImageRef(id.to_owned()),
        repo_tags: entry.tags.iter().cloned().collect(),
        repo_digests: entry.digests.iter().cloned().collect(),
        size: entry.image.size,
    }
}
