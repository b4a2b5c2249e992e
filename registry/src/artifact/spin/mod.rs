//! Spin applications: what of their locked form decides what runs.
//!
//! The configuration is Spin's lock file as JSON. A component's source and files are named by the
//! digest of their layer, or of a file within a bundle; small files stand in the lock itself.
mod lock;
mod triggers;

use std::collections::HashSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use self::lock::{ContentPath, ContentRef, LockedApp};
use super::{ArtifactError, Component, Files, Form, Source, Wasm, media_types};
use crate::manifest::{Descriptor, ImageManifest};
use crate::reference::Digest;

/// A file that a Spin component finds in its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpinFile {
    /// Whose it is: an index of [`Wasm::components`].
    pub component: usize,
    /// Where, with slashes; as its author wrote it, so possibly anything.
    pub path: String,
    /// What is in it.
    pub content: SpinContent,
}

impl SpinFile {
    /// What its content is named by, if that does not stand in the lock file.
    pub fn named(&self) -> Option<&Digest> {
        match &self.content {
            SpinContent::Named(digest) => Some(digest),
            SpinContent::Inline(_) => None,
        }
    }
}

/// What is in a file of a Spin component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpinContent {
    /// These bytes.
    Inline(Vec<u8>),
    /// The layer with this digest, or a file in a bundle.
    Named(Digest),
}

/// Finds what to run in a Spin application.
pub(super) fn recognise(manifest: &ImageManifest, config: &[u8]) -> Result<Wasm, ArtifactError> {
    let app: LockedApp = serde_json::from_slice(config).map_err(ArtifactError::Config)?;
    let (reached, routes) = triggers::reached(&app)?;
    let mut files = Vec::new();
    for (index, component) in reached.iter().enumerate() {
        for file in &component.files {
            files.push(SpinFile {
                component: index,
                path: file.path.clone(),
                content: content(file)?,
            });
        }
    }
    let components = reached.iter().map(|component| found(component, manifest));
    Ok(Wasm {
        form: Form::Spin,
        components: components.collect::<Result<_, _>>()?,
        routes,
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        working_dir: String::new(),
        files: if files.is_empty() {
            Files::None
        } else {
            Files::Spin { layers: needed(&files, manifest), files }
        },
    })
}

/// A component whose source is among the layers.
fn found(
    component: &lock::Component,
    manifest: &ImageManifest,
) -> Result<Component, ArtifactError> {
    let layer_of = |digest: &Digest| manifest.layers.iter().find(|layer| layer.digest == *digest);
    let source = named(&component.source)?.as_ref().and_then(layer_of).ok_or_else(|| {
        let id = shortened(&component.id);
        unsupported(format!("whose component {id} is none of its layers"))
    })?;
    let env = component.env.iter().map(|(name, value)| format!("{name}={value}"));
    Ok(Component {
        id: component.id.clone(),
        source: Source::Layer(source.clone()),
        env: env.collect(),
    })
}

fn content(file: &ContentPath) -> Result<SpinContent, ArtifactError> {
    let refused = |why: &str| unsupported(format!("whose file {} {why}", shortened(&file.path)));
    match (&file.content.inline, named(&file.content)?) {
        (Some(text), _) => {
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map(SpinContent::Inline).map_err(|_| refused("is not valid base64"))
        }
        (None, Some(digest)) => Ok(SpinContent::Named(digest)),
        (None, None) => Err(refused("has no content")),
    }
}

/// The layers that hold files: each of one that is named by it, or bundles.
fn needed(files: &[SpinFile], manifest: &ImageManifest) -> Vec<Descriptor> {
    let named: HashSet<&Digest> = files.iter().filter_map(SpinFile::named).collect();
    let is_needed = |layer: &&Descriptor| {
        layer.media_type == media_types::SPIN_BUNDLE || named.contains(&layer.digest)
    };
    manifest.layers.iter().filter(is_needed).cloned().collect()
}

fn named(content: &ContentRef) -> Result<Option<Digest>, ArtifactError> {
    let Some(text) = &content.digest else { return Ok(None) };
    let full = if text.contains(':') { text.clone() } else { format!("sha256:{text}") };
    let parsed = full.parse().map(Some);
    parsed.map_err(|_| unsupported("whose lock file names something that is no digest".to_owned()))
}

/// A stranger's name, as an error shows it.
fn shortened(name: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

fn unsupported(why: String) -> ArtifactError {
    ArtifactError::Unsupported { form: Form::Spin, why }
}
