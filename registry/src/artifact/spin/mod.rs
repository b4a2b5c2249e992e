//! Spin applications: what of their locked form decides what runs.
//!
//! The configuration is Spin's lock file as JSON. A component's source and files are named by the
//! digest of their layer, or of a file within a bundle; small files stand in the lock itself.
use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::{ArtifactError, Files, Form, Source, Wasm, media_types};
use crate::manifest::{Descriptor, ImageManifest};
use crate::reference::Digest;

/// The lock file, as far as it matters here.
#[derive(Debug, Deserialize)]
struct LockedApp {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
struct Component {
    id: String,
    source: ContentRef,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<ContentPath>,
}

#[derive(Debug, Deserialize)]
struct ContentRef {
    inline: Option<String>,
    digest: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ContentPath {
    #[serde(flatten)]
    content: ContentRef,
    path: String,
}

/// A file that a Spin component finds in its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpinFile {
    /// Where, with slashes; as its author wrote it, so possibly anything.
    pub path: String,
    /// What is in it.
    pub content: SpinContent,
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
    let component = match app.components.as_slice() {
        [component] => component,
        [] => return Err(unsupported("without a component".to_owned())),
        several => {
            let ids: Vec<&str> = several.iter().map(|component| component.id.as_str()).collect();
            let ids = shortened(&ids);
            return Err(unsupported(format!(
                "of several components ({ids}); push one application for each, as a container runs one"
            )));
        }
    };
    let layer_of = |digest: &Digest| manifest.layers.iter().find(|layer| layer.digest == *digest);
    let source = named(&component.source)?.as_ref().and_then(layer_of).ok_or_else(|| {
        unsupported(format!("whose component {} is none of its layers", component.id))
    })?;
    let files = component.files.iter().map(|file| {
        let content = match (&file.content.inline, named(&file.content)?) {
            (Some(text), _) => SpinContent::Inline(BASE64_STANDARD.decode(text).map_err(|_| {
                unsupported(format!("whose file {} is not valid base64", file.path))
            })?),
            (None, Some(digest)) => SpinContent::Named(digest),
            (None, None) => {
                return Err(unsupported(format!("whose file {} has no content", file.path)));
            }
        };
        Ok(SpinFile { path: file.path.clone(), content })
    });
    let files = files.collect::<Result<Vec<_>, ArtifactError>>()?;
    let is_needed = |layer: &&Descriptor| {
        let named = |file: &SpinFile| file.content == SpinContent::Named(layer.digest.clone());
        layer.media_type == media_types::SPIN_BUNDLE || files.iter().any(named)
    };
    let layers = manifest.layers.iter().filter(is_needed).cloned().collect();
    Ok(Wasm {
        form: Form::Spin,
        source: Source::Layer(source.clone()),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        env: component.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: String::new(),
        files: if files.is_empty() { Files::None } else { Files::Spin { files, layers } },
    })
}

fn named(content: &ContentRef) -> Result<Option<Digest>, ArtifactError> {
    let Some(text) = &content.digest else { return Ok(None) };
    let full = if text.contains(':') { text.clone() } else { format!("sha256:{text}") };
    let parsed = full.parse().map(Some);
    parsed.map_err(|_| unsupported("whose lock file names something that is no digest".to_owned()))
}

/// A few of a stranger's names.
fn shortened(names: &[&str]) -> String {
    let shown: Vec<String> =
        names.iter().take(8).map(|name| name.chars().take(64).collect()).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn unsupported(why: String) -> ArtifactError {
    ArtifactError::Unsupported { form: Form::Spin, why }
}
