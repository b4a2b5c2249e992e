//! The images of this node: pulled once, kept by content, found by reference.
//!
//! Blobs lie in a content store; `index.json` beside them says which references
//! name which manifest, and what of it is run. The index is replaced as a
//! whole, so a crash leaves the old or the new one; blobs that no image needs
//! are swept when images are removed and when the store is opened. The root
//! file system of an image that has one is unpacked beside them when it is
//! pulled, and swept likewise, but not from under a container.

mod component;
mod damage;
mod index;
mod programs;
mod stored;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use registry::artifact::Source;
use registry::client::{Auth, Client, ClientError, Options, Pulled};
use registry::reference::ReferenceError;
use registry::store::StoreError;
use registry::{ContentStore, Digest, Reference};
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::cri::{AuthConfig, Image, ImageRef, RuntimeError};
use crate::platform;
use crate::rootfs::{self, RootfsError};
use damage::Damaged;
use index::Index;

pub use component::StoredComponent;
pub use programs::Program;
pub use stored::{StoredImage, StoredRoute};

/// Where root file systems lie, each in a folder named by its image's digest.
const ROOTFS: &str = "rootfs";
/// What is unpacked, in a folder of the one who does.
const UNPACKED: &str = "root";

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
    /// Root file systems cannot be kept.
    #[error("cannot use the folder {0} of root file systems")]
    Rootfs(PathBuf, #[source] io::Error),
}

/// An image's root file system in use: it stays as long as this is held.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Where it is. Nobody may write there.
    pub folder: PathBuf,
    _held: Arc<()>,
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
    /// Images being unpacked, each behind the lock of the one who does.
    unpacking: Mutex<HashMap<ImageRef, Turn>>,
    /// Root file systems that containers use.
    leases: Mutex<HashMap<ImageRef, Weak<()>>>,
    damaged: Mutex<Damaged>,
}

impl Images {
    /// Opens the store in `folder`, with what an earlier run pulled.
    pub fn open(folder: PathBuf, config: Config) -> Result<Self, ImagesError> {
        let store = ContentStore::open(&folder)?;
        let index = Index::read(&folder)?;
        let unpacked = folder.join(ROOTFS);
        platform::create_private_dir(&unpacked)
            .map_err(|source| ImagesError::Rootfs(unpacked, source))?;
        sweep(&folder, &store, &index, &BTreeSet::new())?;
        Ok(Self {
            folder,
            unqualified: config.unqualified_registries,
            client: Client::new(config.client),
            store,
            index: Mutex::new(index),
            sweeping: RwLock::default(),
            pulls: Mutex::default(),
            unpacking: Mutex::default(),
            leases: Mutex::default(),
            damaged: Mutex::default(),
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

    /// Keeps the root file system of a component of an image where it is while a container uses
    /// it; `None` if it has none.
    pub fn lease(&self, id: &ImageRef, component: &StoredComponent) -> Option<Lease> {
        let root = component.root.as_ref()?;
        let mut leases = self.leases.lock();
        leases.retain(|_, lease| lease.strong_count() > 0);
        let known = leases.get(id).and_then(Weak::upgrade);
        let held = known.unwrap_or_else(|| {
            let held = Arc::new(());
            leases.insert(id.clone(), Arc::downgrade(&held));
            held
        });
        Some(Lease { folder: self.rootfs_folder(id).join(root), _held: held })
    }

    /// Digests of the artifacts of all images: whose compiled code is worth keeping.
    pub fn artifacts(&self) -> BTreeSet<String> {
        self.index.lock().artifacts()
    }

    fn rootfs_folder(&self, id: &ImageRef) -> PathBuf {
        self.folder.join(ROOTFS).join(id.0.replace(':', "-"))
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
        let candidates = self.candidates(image)?;
        for reference in &candidates {
            match self.pull_from(reference, &auth).await {
                Ok(id) => return Ok(id),
                Err(PullError::Client(error)) => failures.push((reference.clone(), error)),
                Err(PullError::Rootfs(error)) => return Err(unfit(reference, error)),
                Err(PullError::Images(error)) => return Err(broken(error)),
            }
        }
        Err(self.damaged.lock().explain(&candidates, refusal(image, failures)))
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

    /// Forgets an image; the digests of those of its artifacts that no other image has.
    pub async fn remove(&self, image: &str) -> Result<Vec<String>, RuntimeError> {
        let Some(found) = self.status(image) else { return Ok(Vec::new()) };
        let orphans = {
            let mut index = self.index.lock();
            let orphans = index.remove(&found.id);
            index.write(&self.folder).map_err(broken)?;
            orphans
        };
        // While something is being pulled its blobs have no name yet: the next
        // removal sweeps.
        if let Ok(_sweeping) = self.sweeping.try_write() {
            let (store, index) = (self.store.clone(), self.index.lock().clone());
            let (folder, leased) = (self.folder.clone(), self.leased());
            let swept =
                tokio::task::spawn_blocking(move || sweep(&folder, &store, &index, &leased)).await;
            swept.expect("sweeping does not panic").map_err(broken)?;
        }
        Ok(orphans)
    }

    fn candidates(&self, image: &str) -> Result<Vec<Reference>, RuntimeError> {
        Reference::candidates(image, &self.unqualified).map_err(|error: ReferenceError| {
            RuntimeError::InvalidImageName(image.to_owned(), error.to_string())
        })
    }

    async fn pull_from(&self, reference: &Reference, auth: &Auth) -> Result<ImageRef, PullError> {
        let key = (reference.to_string(), auth.clone());
        // Who waited finds the blobs here and asks for the manifest alone.
        in_turn(&self.pulls, key, self.fetch(reference, auth)).await
    }

    async fn fetch(&self, reference: &Reference, auth: &Auth) -> Result<ImageRef, PullError> {
        let _coming = self.sweeping.read().await;
        let mut pulled = self.client.pull(reference, auth, &self.store).await?;
        let is_here = self.is_here(&self.index.lock(), &ImageRef(pulled.digest.to_string()));
        if !is_here && !self.are_intact(&pulled).await? {
            // What was damaged is gone now.
            pulled = self.client.pull(reference, auth, &self.store).await?;
        }
        let id = ImageRef(pulled.digest.to_string());
        let mut names =
            vec![reference.to_string(), reference.at(pulled.digest.clone()).to_string()];
        names.extend(pulled.index.clone().map(|index| reference.at(index).to_string()));
        // Another name of the same image may be pulled as well, and a container use its files.
        in_turn(
            &self.unpacking,
            id.clone(),
            self.keep(&names, id, pulled, reference.repository().as_str()),
        )
        .await
    }

    /// Names what was pulled, and unpacks its files if they are not here yet.
    async fn keep(
        &self,
        names: &[String],
        id: ImageRef,
        pulled: Pulled,
        repository: &str,
    ) -> Result<ImageRef, PullError> {
        if self.rename_known(names, &id)? {
            return Ok(id);
        }
        let Pulled { digest, wasm, layers, size, .. } = pulled;
        let blobs = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let mut image = StoredImage::pulled(repository, &wasm, blobs, size);
        if image.has_rootfs() {
            let (store, beside) = (self.store.clone(), self.folder.join(ROOTFS));
            let unpacking = move || {
                let work = unpack(&mut image, &wasm, &store, &beside)?;
                Ok::<_, RootfsError>((image, work))
            };
            let unpacked = tokio::task::spawn_blocking(unpacking).await;
            let work;
            (image, work) = unpacked.expect("unpacking does not panic")?;
            // Here and not there, as nobody's turn it is once this pull was given up.
            self.put_in_place(&work, &id)?;
        }
        Ok(self.add(names, &digest, image)?)
    }

    /// Gives unpacked files their name, unless a container uses the same ones.
    fn put_in_place(&self, work: &TempDir, id: &ImageRef) -> Result<(), RootfsError> {
        let folder = self.rootfs_folder(id);
        if folder.is_dir() {
            if self.leased().contains(&folder) {
                return Ok(());
            }
            // What a crash left is not worth more than what was just made.
            std::fs::remove_dir_all(&folder).map_err(disk("remove", &folder))?;
        }
        std::fs::rename(work.path().join(UNPACKED), &folder).map_err(disk("name", &folder))
    }

    /// Names an image that is here whole by what it was pulled by this time.
    fn rename_known(&self, names: &[String], id: &ImageRef) -> Result<bool, ImagesError> {
        let mut index = self.index.lock();
        if !self.is_here(&index, id) {
            return Ok(false);
        }
        let known = index.name(names, id);
        if known {
            index.write(&self.folder)?;
        }
        Ok(known)
    }

    /// Whether an image is known, and its files are unpacked if it has some.
    fn is_here(&self, index: &Index, id: &ImageRef) -> bool {
        let is_known = index.get(id).is_some();
        is_known && (!index.has_rootfs(id) || self.rootfs_folder(id).is_dir())
    }

    /// The folders of root file systems that containers use.
    fn leased(&self) -> BTreeSet<PathBuf> {
        let leases = self.leases.lock();
        let held = leases.iter().filter(|(_, lease)| lease.strong_count() > 0);
        held.map(|(id, _)| self.rootfs_folder(id)).collect()
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
        self.damaged.lock().forget(names);
        Ok(id)
    }
}

/// Does `work` once everybody else's work on the same `key` is done.
async fn in_turn<K: Hash + Eq + Clone, T>(
    turns: &Mutex<HashMap<K, Turn>>,
    key: K,
    work: impl Future<Output = T>,
) -> T {
    let turn = turns.lock().entry(key.clone()).or_default().clone();
    let held = turn.lock().await;
    let result = work.await;
    drop(held);
    drop(turn);
    let mut turns = turns.lock();
    if turns.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
        turns.remove(&key);
    }
    result
}

/// Why one candidate was not pulled.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
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

/// What is said when the files of an image cannot be unpacked.
fn unfit(reference: &Reference, error: RootfsError) -> RuntimeError {
    let why = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let image = reference.to_string();
    if error.blames_image() {
        RuntimeError::NotRunnable { image, why }
    } else {
        RuntimeError::Pull { image, why }
    }
}

fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Disk { doing, path, source }
}

/// Unpacks the files of an image into a folder below `beside`, and finds what it runs. Blocks.
fn unpack(
    image: &mut StoredImage,
    wasm: &registry::artifact::Wasm,
    store: &ContentStore,
    beside: &Path,
) -> Result<TempDir, RootfsError> {
    let work = tempfile::tempdir_in(beside).map_err(disk("make a folder in", beside))?;
    let root = work.path().join(UNPACKED);
    platform::create_private_dir(&root).map_err(disk("make folder", &root))?;
    image.size += rootfs::unpack(&wasm.files, store, &root)?;
    for (component, stored) in wasm.components.iter().zip(&mut image.components) {
        if component.source == Source::Rootfs
            && let Some(word) = stored.starts()
            && let Some(found) = programs::find(&root, word, &stored.working_dir, &stored.env)
        {
            let digest = rootfs::digest(&found).map_err(disk("read", &found))?;
            stored.artifact = Some(digest.to_string());
            let below = found.strip_prefix(&root).expect("it was found below the root");
            stored.file = Some(below.to_owned());
        }
    }
    Ok(work)
}

/// Removes the blobs and root file systems that no image needs.
fn sweep(
    folder: &Path,
    store: &ContentStore,
    index: &Index,
    leased: &BTreeSet<PathBuf>,
) -> Result<(), ImagesError> {
    let needed = index.blobs();
    let now = std::time::SystemTime::now();
    for blob in store.blobs()? {
        if !needed.contains(blob.digest.as_str()) {
            store.remove_older(&blob.digest, now)?;
        }
    }
    let unpacked = folder.join(ROOTFS);
    let failed = |source| ImagesError::Rootfs(unpacked.clone(), source);
    for entry in std::fs::read_dir(&unpacked).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !index.has_rootfs(&ImageRef(name.replacen('-', ":", 1))) && !leased.contains(&path) {
            std::fs::remove_dir_all(&path).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
