//! The images of the cluster's own registry, as the API server looks at them.
use std::collections::HashMap;

use anyhow::Result;
use async_trait::async_trait;
use parking_lot::Mutex;
use registry::artifact::{Source, Wasm};
use registry::manifest::ImageManifest;
use registry::store::{ManifestName, Repositories};
use registry::{Digest, Reference};

use crate::admission::Images;

/// As many images as are remembered: what an image imports never changes.
const MAX_KNOWN: usize = 1_024;

/// Looks into the registry of this process, and into no other.
pub(super) struct OwnImages {
    repositories: Repositories,
    /// Where it listens, which is the first part of its references.
    address: String,
    /// Why images cannot run, by the digests of their manifests.
    known: Mutex<HashMap<Digest, Option<String>>>,
    /// Held by the one who looks: thousands of Pods of one image come at once.
    looking: tokio::sync::Mutex<()>,
}

impl OwnImages {
    pub(super) fn new(repositories: Repositories, address: String) -> Self {
        Self { repositories, address, known: Mutex::default(), looking: Default::default() }
    }

    /// The manifest that an image is, if it is ours and here.
    async fn find(&self, image: &str) -> Result<Option<Digest>> {
        let reference = Reference::resolve(image, std::slice::from_ref(&self.address))?;
        if reference.registry() != self.address {
            return Ok(None);
        }
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => ManifestName::Digest(digest.clone()),
            (None, Some(tag)) => ManifestName::Tag(tag.clone()),
            (None, None) => return Ok(None),
        };
        let found = self.repositories.manifest(reference.repository(), &name).await?;
        Ok(found.map(|stored| stored.digest))
    }

    /// Why what a manifest names cannot run.
    async fn look(&self, digest: &Digest) -> Result<Option<String>> {
        let content = self.repositories.content();
        // An index offers a choice, which is the node's.
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&content.read(digest).await?)
        else {
            return Ok(None);
        };
        let config = content.read(&manifest.config.digest).await?;
        // Another form than those that run is told by whoever pulls it.
        let Ok(wasm) = Wasm::recognise(&manifest, &config) else { return Ok(None) };
        for component in &wasm.components {
            let Source::Layer(layer) = &component.source else { continue };
            let path = content.blob_path(&layer.digest);
            let checked = tokio::task::spawn_blocking(move || {
                let wasm = std::fs::read(path)?;
                anyhow::Ok(shim::engine::check(&wasm).err())
            });
            if let Some(error) = checked.await?? {
                let why = format!("{:#}", anyhow::Error::from(error));
                return Ok(Some(match component.id.as_str() {
                    "" => why,
                    id => format!("component {id}: {why}"),
                }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Images for OwnImages {
    async fn refusal(&self, image: &str) -> Option<String> {
        let digest = self.find(image).await.ok()??;
        let known = || self.known.lock().get(&digest).cloned();
        if let Some(known) = known() {
            return known;
        }
        let _turn = self.looking.lock().await;
        if let Some(known) = known() {
            return known;
        }
        let refusal = match self.look(&digest).await {
            Ok(refusal) => refusal,
            // Whoever pulls it tells what is wrong with it.
            Err(error) => {
                tracing::debug!(image, %error, "image not looked at");
                return None;
            }
        };
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(digest, refusal.clone());
        refusal
    }
}
