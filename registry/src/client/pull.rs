//! Fetching: manifest, then what it needs, each part verified while it is stored.
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use oci_distribution::client::SizedStream;
use tokio::io::AsyncReadExt as _;

use super::error::Part;
use super::{Auth, Client, ClientError, foreign};
use crate::artifact::{self, ArtifactError, Wasm};
use crate::manifest::{Descriptor, ImageManifest, MEDIA_TYPES, Manifest};
use crate::reference::{Digest, Reference};
use crate::store::{ContentStore, MAX_BLOB_SIZE, StoreError};

/// As large as a configuration may be: it is held in memory, and those in use are a few KiB.
pub const MAX_CONFIG_SIZE: u64 = 4 << 20;

/// As large as all layers of an image may be together: as one blob may be.
const MAX_IMAGE_SIZE: u64 = MAX_BLOB_SIZE;

/// As many layers as an image may have: Spin makes one for each file up to 500, then bundles them.
const MAX_LAYERS: u64 = 1024;

/// How long a manifest may take. The OCI client collects it without a bound on its size, which
/// this bounds instead.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(60);

/// An artifact whose parts are all in the store: manifest, configuration, Wasm and files.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What was asked for.
    pub reference: Reference,
    /// Digest of the manifest that is run.
    pub digest: Digest,
    /// Digest of the index it was chosen from, if the reference named one.
    pub index: Option<Digest>,
    /// The manifest.
    pub manifest: ImageManifest,
    /// Bytes of the configuration.
    pub config: Bytes,
    /// What to run, and how it wants to be run.
    pub wasm: Wasm,
    /// Every blob that is now in the store: manifest, configuration, layers.
    pub layers: Vec<Descriptor>,
    /// Their bytes together.
    pub size: u64,
}

/// One pull: who asks for what.
struct Session<'a> {
    client: oci_distribution::Client,
    reference: &'a Reference,
    auth: oci_distribution::secrets::RegistryAuth,
    store: &'a ContentStore,
}

impl Client {
    /// Fetches a Wasm artifact into `store`. Parts that are there already are not fetched again.
    pub async fn pull(
        &self,
        reference: &Reference,
        auth: &Auth,
        store: &ContentStore,
    ) -> Result<Pulled, ClientError> {
        let client = self.session(reference, auth)?;
        let session = Session { client, reference, auth: auth.clone().into(), store };
        session.pull().await
    }

    /// The digest a reference has in its registry now.
    pub async fn digest(&self, reference: &Reference, auth: &Auth) -> Result<Digest, ClientError> {
        let client = self.session(reference, auth)?;
        let found = client.fetch_manifest_digest(&foreign(reference), &auth.clone().into()).await;
        let digest = found.map_err(|e| ClientError::sort(reference, Part::Manifest, e))?;
        digest.parse().map_err(|error: crate::reference::DigestError| ClientError::DigestMismatch {
            reference: Box::new(reference.clone()),
            detail: error.to_string(),
        })
    }
}

impl Session<'_> {
    async fn pull(self) -> Result<Pulled, ClientError> {
        let (mut bytes, mut digest) = self.manifest(self.reference).await?;
        let mut index = None;
        let manifest = match self.parse(&bytes)? {
            Manifest::Image(image) => image,
            Manifest::Index(choice) => {
                let chosen = Wasm::choose(&choice).map_err(|e| self.unfit(e))?.digest.clone();
                index = Some(digest);
                (bytes, digest) = self.manifest(&self.reference.at(chosen)).await?;
                match self.parse(&bytes)? {
                    Manifest::Image(image) => image,
                    Manifest::Index(_) => {
                        let what = "its index points to another index".to_owned();
                        return Err(self.unfit(ArtifactError::NotWasm { what }));
                    }
                }
            }
        };
        let manifest_descriptor = Descriptor::of(
            manifest.media_type.as_deref().unwrap_or(crate::manifest::IMAGE_MANIFEST),
            &bytes,
        );

        let config = self.config(&manifest.config).await?;
        let wasm = Wasm::recognise(&manifest, &config).map_err(|e| self.unfit(e))?;
        self.check_size(&wasm)?;
        for layer in wasm.blobs() {
            self.fetch(layer, "layer", MAX_BLOB_SIZE).await?;
        }
        for layer in wasm.sources() {
            self.source(layer).await?;
        }
        // Last, so that a manifest in the store means that its parts are there.
        self.store.put_as(&digest, bytes).await.map_err(|e| self.unstored(e))?;

        let mut layers = vec![
            Descriptor { digest: digest.clone(), ..manifest_descriptor },
            manifest.config.clone(),
        ];
        let mut known = HashSet::new();
        layers.extend(wasm.blobs().filter(|layer| known.insert(&layer.digest)).cloned());
        let size = layers.iter().map(|layer| layer.size).sum();
        let reference = self.reference.clone();
        Ok(Pulled { reference, digest, index, manifest, config, wasm, layers, size })
    }

    async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), ClientError> {
        let named = foreign(reference);
        let asked = self.client.pull_manifest_raw(&named, &self.auth, &MEDIA_TYPES);
        let registry = || reference.registry().to_owned();
        let answer = tokio::time::timeout(MANIFEST_TIMEOUT, asked)
            .await
            .map_err(|_| ClientError::Timeout { registry: registry() })?;
        let (bytes, _) = answer.map_err(|e| ClientError::sort(reference, Part::Manifest, e))?;
        // The name that was asked for decides; without one, the bytes themselves do.
        let wanted = reference.digest();
        let algorithm = wanted.map_or(crate::reference::Algorithm::Sha256, Digest::algorithm);
        let digest = Digest::with(algorithm, &bytes);
        match wanted {
            Some(expected) if *expected != digest => {
                let expected = expected.clone();
                Err(self.unstored(StoreError::DigestMismatch { expected, actual: digest }))
            }
            _ => Ok((bytes, digest)),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Manifest, ClientError> {
        Manifest::parse(None, bytes).map_err(|source| ClientError::Manifest {
            reference: Box::new(self.reference.clone()),
            source,
        })
    }

    async fn config(&self, config: &Descriptor) -> Result<Bytes, ClientError> {
        self.fetch(config, "configuration", MAX_CONFIG_SIZE).await?;
        let read = match self.store.read(&config.digest).await {
            // What was damaged is gone now.
            Err(StoreError::Corrupt { .. }) => {
                self.fetch(config, "configuration", MAX_CONFIG_SIZE).await?;
                self.store.read(&config.digest).await
            }
            read => read,
        };
        read.map_err(|e| self.unstored(e))
    }

    /// Refuses a layer that is no Wasm, but for a damaged copy of ours, which is fetched again.
    async fn source(&self, layer: &Descriptor) -> Result<(), ClientError> {
        let checked = self.check_wasm(&layer.digest).await;
        if checked.is_ok() {
            return checked;
        }
        self.store.distrust(&layer.digest);
        if self.store.is_intact(&layer.digest).await.map_err(|e| self.unstored(e))? {
            return checked;
        }
        self.fetch(layer, "layer", MAX_BLOB_SIZE).await?;
        self.check_wasm(&layer.digest).await
    }

    /// Refuses an image that is too large as a whole, before any of its layers comes.
    fn check_size(&self, wasm: &Wasm) -> Result<(), ClientError> {
        let layers = wasm.blobs().count() as u64;
        let size = wasm.blobs().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        if layers > MAX_LAYERS {
            return Err(self.unfit(ArtifactError::TooManyLayers { layers, limit: MAX_LAYERS }));
        }
        if size > MAX_IMAGE_SIZE {
            let (reference, limit) = (Box::new(self.reference.clone()), MAX_IMAGE_SIZE);
            return Err(ClientError::TooLarge { reference, what: "image", size, limit });
        }
        Ok(())
    }

    /// Streams a blob into the store, unless it is there. Whether it is what its name says is
    /// looked at by who reads it whole: a pull of what is known costs no hash.
    async fn fetch(
        &self,
        wanted: &Descriptor,
        what: &'static str,
        limit: u64,
    ) -> Result<(), ClientError> {
        if wanted.size > limit {
            let (reference, size) = (Box::new(self.reference.clone()), wanted.size);
            return Err(ClientError::TooLarge { reference, what, size, limit });
        }
        let here = self.store.size(&wanted.digest).map_err(|e| self.unstored(e))?;
        if here == Some(wanted.size) {
            return Ok(());
        }
        let named = foreign(self.reference);
        self.client.store_auth_if_needed(named.resolve_registry(), &self.auth).await;
        let answer = self.client.pull_blob_stream(&named, wanted.digest.as_str()).await;
        let SizedStream { mut stream, .. } =
            answer.map_err(|e| ClientError::sort(self.reference, Part::Blob, e))?;
        let mut writer = self.store.writer_of_at_most(wanted.size);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| ClientError::broken(self.reference, e))?;
            let room = wanted.size - writer.len();
            if chunk.len() as u64 > room {
                // More than the manifest announced cannot be what it named.
                let detail = format!("{what} is longer than the {} bytes announced", wanted.size);
                return Err(ClientError::DigestMismatch {
                    reference: Box::new(self.reference.clone()),
                    detail,
                });
            }
            writer.write(chunk).await.map_err(|e| self.unstored(e))?;
        }
        writer.commit(Some(&wanted.digest)).await.map_err(|e| self.unstored(e))?;
        Ok(())
    }

    /// A layer may carry the media type of Wasm and be something else.
    async fn check_wasm(&self, layer: &Digest) -> Result<(), ClientError> {
        let (file, _) = self.store.open_blob(layer).await.map_err(|e| self.unstored(e))?;
        let mut start = Vec::new();
        let path = self.store.blob_path(layer);
        file.take(8)
            .read_to_end(&mut start)
            .await
            .map_err(|e| self.unstored(StoreError::io("read", &path)(e)))?;
        artifact::kind(&start).map_err(|e| self.unfit(e.into()))?;
        Ok(())
    }

    fn unfit(&self, source: ArtifactError) -> ClientError {
        ClientError::Artifact { reference: Box::new(self.reference.clone()), source }
    }

    fn unstored(&self, source: StoreError) -> ClientError {
        ClientError::unstored(self.reference, source)
    }
}
