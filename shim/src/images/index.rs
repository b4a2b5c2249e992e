//! Which references name which image.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ImagesError, StoredImage, write_whole};
use crate::cri::{Image, ImageRef};

const FILE: &str = "index.json";

/// The images by the digest of their manifest.
#[derive(Debug, Default, Serialize, Deserialize)]
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

    pub(super) fn write(&self, folder: &Path) -> Result<(), ImagesError> {
        let path: PathBuf = folder.join(FILE);
        let failed = |source| ImagesError::Index(path.clone(), source);
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        write_whole(folder, &path, &text).map_err(failed)
    }

    /// Adds an image under a reference; a tag then names it alone.
    pub(super) fn add(&mut self, reference: &str, id: ImageRef, image: StoredImage) {
        for entry in self.images.values_mut() {
            entry.tags.remove(reference);
        }
        let new = || Entry { tags: BTreeSet::new(), digests: BTreeSet::new(), image };
        let entry = self.images.entry(id.0).or_insert_with(new);
        if reference.contains('@') {
            entry.digests.insert(reference.to_owned());
        } else {
            entry.tags.insert(reference.to_owned());
        }
    }

    pub(super) fn get(&self, id: &ImageRef) -> Option<&StoredImage> {
        self.images.get(&id.0).map(|entry| &entry.image)
    }

    /// The image that a reference or digest names.
    pub(super) fn find(&self, name: &str) -> Option<Image> {
        let names = |(id, entry): &(&String, &Entry)| {
            id.as_str() == name || entry.tags.contains(name) || entry.digests.contains(name)
        };
        self.images.iter().find(names).map(|(id, entry)| shown(id, entry))
    }

    pub(super) fn list(&self) -> Vec<Image> {
        self.images.iter().map(|(id, entry)| shown(id, entry)).collect()
    }

    /// Forgets the image that a reference or digest names.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(image) = self.find(name) {
            self.images.remove(&image.id.0);
        }
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
