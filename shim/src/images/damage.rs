//! Images whose bytes on this node are not what they were any more.
//!
//! A program is compared with its digest when it is read to be compiled, layers when they are
//! unpacked: beside that work a hash costs little. An image found damaged or incomplete is
//! forgotten with the blob at fault, so that it is pulled as one that was never here.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use registry::client::Pulled;
use registry::{Digest, Reference};

use super::{Images, ImagesError, Program, broken};
use crate::cri::{ImageRef, RuntimeError};
use crate::rootfs;

/// Names of damaged images that are remembered until they are pulled again.
const MAX_NAMES: usize = 256;

/// Which file of an image was damaged, by each of its names.
#[derive(Debug, Default)]
pub(super) struct Damaged(BTreeMap<String, PathBuf>);

impl Damaged {
    fn note(&mut self, names: Vec<String>, file: &Path) {
        if self.0.len() + names.len() > MAX_NAMES {
            self.0.clear();
        }
        let names = names.into_iter().take(MAX_NAMES);
        self.0.extend(names.map(|name| (name, file.to_owned())));
    }

    pub(super) fn forget(&mut self, names: &[String]) {
        for name in names {
            self.0.remove(name);
        }
    }

    /// Adds to why an image cannot be pulled that it was here, and what to do.
    pub(super) fn explain(&self, candidates: &[Reference], error: RuntimeError) -> RuntimeError {
        let file = candidates.iter().find_map(|reference| self.0.get(&reference.to_string()));
        match (error, file) {
            (RuntimeError::Pull { image, why }, Some(file)) => {
                let file = file.display();
                let why = format!(
                    "{why}; this node's copy was damaged or incomplete at {file}: push the image again, or let its registry be reached"
                );
                RuntimeError::Pull { image, why }
            }
            (error, _) => error,
        }
    }
}

impl Images {
    /// Forgets an image whose program could not be read, if that is missing or not what its
    /// digest says; the error says so then.
    pub async fn forget_damaged(&self, id: &ImageRef, program: &Program) -> Option<RuntimeError> {
        match self.is_intact(program).await {
            Ok(true) => return None,
            Ok(false) => {}
            Err(error) => return Some(error),
        }
        let file = program.path();
        tracing::error!(image = id.0, file = %file.display(), "image is damaged, forgetting it");
        let forgotten = {
            let mut index = self.index.lock();
            self.damaged.lock().note(index.names(id), file);
            index.remove(id);
            index.write(&self.folder)
        };
        Some(forgotten.err().map_or_else(
            || {
                RuntimeError::FailedPrecondition(format!(
                    "image {:?} is damaged on this node: {} is missing or not what its digest says; the image is forgotten here, to be pulled again as its pull policy says",
                    id.0,
                    file.display()
                ))
            },
            broken,
        ))
    }

    async fn is_intact(&self, program: &Program) -> Result<bool, RuntimeError> {
        let Ok(digest) = program.digest.parse::<Digest>() else { return Ok(false) };
        let path = program.path().to_owned();
        if path == self.store.blob_path(&digest) {
            self.store.distrust(&digest);
            return self.store.is_intact(&digest).await.map_err(broken);
        }
        let doing = format!("cannot read {}", path.display());
        let found = tokio::task::spawn_blocking(move || rootfs::digest(&path)).await;
        match found.expect("hashing does not panic") {
            Ok(found) => Ok(found == digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(RuntimeError::Io { doing, source }),
        }
    }

    /// Whether all blobs of what was pulled are what their names say; those that are not are
    /// removed. What came just now was hashed then.
    pub(super) async fn are_intact(&self, pulled: &Pulled) -> Result<bool, ImagesError> {
        let mut all = true;
        for layer in &pulled.layers {
            all &= self.store.is_intact(&layer.digest).await?;
        }
        Ok(all)
    }
}
