//! The images of this node: pulled once, kept by content, found by reference.
//!
//! Blobs lie in a content store; `index.json` beside them says which references
//! name which manifest, and what of it is run. The index is replaced as a
//! whole, so a crash leaves the old or the new one; blobs that no image needs
//! are swept when images are removed and when the store is opened.

mod index;
mod stored;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use registry::client::{Auth, Client, ClientError, Options, Pulled};
use registry::reference::ReferenceError;
use registry::store::StoreError;
use registry::{ContentStore, Digest, Reference};
use tokio::sync::RwLock;

use crate::cri::{AuthConfig, Image, ImageRef, RuntimeError};
use index::Index;

pub use stored::StoredImage;

/// Where images come from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Registries that complete a reference without a host, in the order tried.
    pub unqualified_registries: Vec<String>,
    /// How registries are spoken to.
    pub client: Options,
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
    /// Blobs cannot be read or written.
    #[error("cannot use the content store")]
    Store(#[from] StoreError),
}

/// Held by the one who pulls; the others wait for it.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The image store of one node.
pub struct Images {
    folder: PathBuf,
    unqualified: Vec<String>,
    client: Client,
    store: ContentStore,
    index: Mutex<Index>,
    /// Held for reading while blobs come that the index does not name yet.
    sweeping: RwLock<()>,
    /// References being pulled, each behind the lock of the one who pulls.
    pulls: Mutex<HashMap<(String, Auth), Turn>>,
}

impl Images {
    /// Opens the store in `folder`, with what an earlier run pulled.
    pub fn open(folder: PathBuf, config: Config) -> Result<Self, ImagesError> {
        let store = ContentStore::open(&folder)?;
        let index = Index::read(&folder)?;
        sweep(&store, &index)?;
        Ok(Self {
            folder,
            unqualified: config.unqualified_registries,
            client: Client::new(config.client),
            store,
            index: Mutex::new(index),
            sweeping: RwLock::default(),
            pulls: Mutex::default(),
        })
    }

    /// Keeps an artifact that came by no registry, under a name.
    pub async fn import(&self, name: &str, wasm: Bytes) -> Result<ImageRef, ImagesError> {
        let _coming = self.sweeping.read().await;
        let size = wasm.len() as u64;
        let digest = self.store.put(wasm).await?;
        let image = StoredImage::artifact(name, &digest, size);
        self.add(&[name.to_owned()], &digest, image)
    }

    /// The image a container names.
    pub fn get(&self, image: &ImageRef) -> Result<StoredImage, RuntimeError> {
        let missing = || RuntimeError::NotFound { what: "image", id: image.0.clone() };
        self.index.lock().get(image).cloned().ok_or_else(missing)
    }

    /// Fetches the bytes of an image's artifact, on a thread that may block.
    pub fn reader(
        &self,
        image: &StoredImage,
    ) -> impl FnOnce() -> io::Result<Vec<u8>> + Send + use<> {
        let path = image.artifact.parse().map(|digest: Digest| self.store.blob_path(&digest));
        move || std::fs::read(path.map_err(io::Error::other)?)
    }

    /// Fetches an image and everything it needs from the first registry that has it.
    pub async fn pull(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
    ) -> Result<ImageRef, RuntimeError> {
        let auth = auth.map_or(Auth::Anonymous, |AuthConfig { username, password }| Auth::Basic {
            username,
            password,
        });
        let mut failures = Vec::new();
        for reference in self.candidates(image)? {
            match self.pull_from(&reference, &auth).await {
                Ok(id) => return Ok(id),
                Err(PullError::Client(error)) => failures.push((reference, error)),
                Err(PullError::Images(error)) => return Err(broken(error)),
            }
        }
        Err(refusal(image, failures))
    }

    /// The image a reference or digest names, if it is here.
    pub fn status(&self, image: &str) -> Option<Image> {
        let index = self.index.lock();
        index.find(image).or_else(|| {
            let candidates = self.candidates(image).ok()?;
            candidates.iter().find_map(|reference| index.find(&reference.to_string()))
        })
    }

    /// Every image here.
    pub fn list(&self) -> Vec<Image> {
        self.index.lock().list()
    }

    /// Forgets an image; the digest of its artifact if no other image has it.
    pub async fn remove(&self, image: &str) -> Result<Option<String>, RuntimeError> {
        let Some(found) = self.status(image) else { return Ok(None) };
        let orphan = {
            let mut index = self.index.lock();
            let orphan = index.remove(&found.id);
            index.write(&self.folder).map_err(broken)?;
            orphan
        };
        // While something is being pulled its blobs have no name yet: the next
        // removal sweeps.
        if let Ok(_sweeping) = self.sweeping.try_write() {
            let (store, index) = (self.store.clone(), self.index.lock().clone());
            let swept = tokio::task::spawn_blocking(move || sweep(&store, &index)).await;
            swept.expect("sweeping does not panic").map_err(broken)?;
        }
        Ok(orphan)
    }

    fn candidates(&self, image: &str) -> Result<Vec<Reference>, RuntimeError> {
        Reference::candidates(image, &self.unqualified).map_err(|error: ReferenceError| {
            RuntimeError::InvalidImageName(image.to_owned(), error.to_string())
        })
    }

    async fn pull_from(&self, reference: &Reference, auth: &Auth) -> Result<ImageRef, PullError> {
        let key = (reference.to_string(), auth.clone());
        let turn = self.pulls.lock().entry(key.clone()).or_default().clone();
        let result = {
            // Who waited finds the blobs here and asks for the manifest alone.
            let _turn = turn.lock().await;
            self.fetch(reference, auth).await
        };
        drop(turn);
        let mut pulls = self.pulls.lock();
        if pulls.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            pulls.remove(&key);
        }
        result
    }

    async fn fetch(&self, reference: &Reference, auth: &Auth) -> Result<ImageRef, PullError> {
        let _coming = self.sweeping.read().await;
        let pulled = self.client.pull(reference, auth, &self.store).await?;
        let mut names =
            vec![reference.to_string(), reference.at(pulled.digest.clone()).to_string()];
        names.extend(pulled.index.clone().map(|index| reference.at(index).to_string()));
        let Pulled { digest, wasm, layers, size, .. } = pulled;
        let blobs = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let image = StoredImage::pulled(reference.repository().as_str(), wasm, blobs, size);
        Ok(self.add(&names, &digest, image)?)
    }

    fn add(
        &self,
        names: &[String],
        digest: &Digest,
        image: StoredImage,
    ) -> Result<ImageRef, ImagesError> {
        let id = ImageRef(digest.to_string());
        let mut index = self.index.lock();
        index.add(names, &id, image);
        index.write(&self.folder)?;
        Ok(id)
    }
}

/// Why one candidate was not pulled.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Images(#[from] ImagesError),
}

/// What is said when no candidate could be pulled: of several, every reason.
fn refusal(image: &str, mut failures: Vec<(Reference, ClientError)>) -> RuntimeError {
    if let [(reference, error)] = failures.as_slice() {
        let (image, why) = (reference.to_string(), error.chain());
        return match error {
            ClientError::Artifact { .. } => RuntimeError::NotRunnable { image, why },
            _ => RuntimeError::Pull { image, why },
        };
    }
    let reasons =
        failures.drain(..).map(|(reference, error)| format!("{reference}: {}", error.chain()));
    RuntimeError::Pull { image: image.to_owned(), why: reasons.collect::<Vec<_>>().join("; ") }
}

fn broken(error: impl Into<ImagesError>) -> RuntimeError {
    let error = error.into();
    RuntimeError::Io { doing: error.to_string(), source: io::Error::other(error) }
}

/// Removes the blobs that no image needs.
fn sweep(store: &ContentStore, index: &Index) -> Result<(), StoreError> {
    let needed = index.blobs();
    let now = std::time::SystemTime::now();
    for blob in store.blobs()? {
        if !needed.contains(blob.digest.as_str()) {
            store.remove_older(&blob.digest, now)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
