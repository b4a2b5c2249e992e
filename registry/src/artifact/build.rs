//! Packs a `.wasm` file as the CNCF's Wasm artifact.
//!
//! The same file always makes the same artifact, so that pushing it twice changes nothing and
//! rolls nothing out.
use bytes::Bytes;
use serde::Serialize;

use super::{ArtifactError, Interface, Kind, WASM_CONFIG, WASM_LAYER};
use crate::manifest::{Annotations, Descriptor, IMAGE_MANIFEST, ImageManifest};
use crate::reference::Digest;

/// The configuration must say when it was created; a real time would give every push of the same
/// file another digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An artifact ready to be pushed.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The manifest's digest: the digest of the artifact.
    pub digest: Digest,
    /// The configuration's bytes.
    pub config: Bytes,
    /// The configuration's descriptor.
    pub config_descriptor: Descriptor,
    /// The `.wasm` file.
    pub layer: Bytes,
    /// Its descriptor.
    pub layer_descriptor: Descriptor,
    /// What the file says of itself.
    pub interface: Interface,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [&'a Digest; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<Component<'a>>,
}

#[derive(Serialize)]
struct Component<'a> {
    exports: Vec<&'a str>,
    imports: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Artifact {
    /// Packs the bytes of a `.wasm` file.
    pub fn build(file: Bytes) -> Result<Self, ArtifactError> {
        let interface = Interface::read(&file)?;
        let layer_descriptor = Descriptor::of(WASM_LAYER, &file);
        let component = (interface.kind == Kind::Component).then(|| Component {
            exports: interface.exports.iter().map(String::as_str).collect(),
            imports: interface.imports.iter().map(String::as_str).collect(),
            target: interface.target(),
        });
        let config = encode(&Config {
            created: CREATED,
            architecture: "wasm",
            os: if component.is_some() { "wasip2" } else { "wasip1" },
            layer_digests: [&layer_descriptor.digest],
            component,
        });
        let config_descriptor = Descriptor::of(WASM_CONFIG, &config);
        let manifest = encode(&ImageManifest {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.to_owned()),
            artifact_type: None,
            config: config_descriptor.clone(),
            layers: vec![layer_descriptor.clone()],
            subject: None,
            annotations: Annotations::new(),
        });
        let digest = Digest::of(&manifest);
        Ok(Self {
            manifest,
            digest,
            config,
            config_descriptor,
            layer: file,
            layer_descriptor,
            interface,
        })
    }
}

fn encode(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).expect("our own documents have string keys only").into()
}
