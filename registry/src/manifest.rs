//! Manifests and indexes of the image specification, and the Docker forms they came from.
//!
//! Digests are parsed with the document, so that past this point nothing is named by a string.
//! The bytes are kept as they came: a manifest's digest is that of its bytes, never of what we
//! would write in its place.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reference::Digest;

/// As large as a manifest may be; the bound the distribution specification recommends.
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;

/// Media type of an image manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image index.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every manifest media type that is understood.
pub const MEDIA_TYPES: [&str; 4] = [IMAGE_MANIFEST, IMAGE_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// Names of annotations.
pub type Annotations = BTreeMap<String, String>;

/// Points to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What kind of artifact a manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where else it may be fetched from; never used by us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// What a manifest in an index runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Points to `content`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            artifact_type: None,
            urls: Vec::new(),
            annotations: Annotations::new(),
            platform: None,
        }
    }

    /// Whether a registry may lack the content, because its licence forbids handing it on.
    fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

/// What a manifest runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's GOARCH; `wasm` for us.
    pub architecture: String,
    /// Go's GOOS; `wasip1`, `wasip2` or `wasi` for us.
    pub os: String,
}

/// One artifact: a configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`IMAGE_MANIFEST`] or [`DOCKER_MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is, if the configuration does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

/// A choice of manifests, one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// [`IMAGE_INDEX`] or [`DOCKER_LIST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

/// Either document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One artifact.
    Image(ImageManifest),
    /// A choice of manifests.
    Index(ImageIndex),
}

/// A document that is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It does not decode.
    #[error("manifest is not valid")]
    Decode(#[source] serde_json::Error),
    /// It is of a version we do not know; 1 is Docker's long-dead signed form.
    #[error("manifest has schemaVersion {0}, not 2")]
    SchemaVersion(u64),
    /// It is something else.
    #[error("{0:?} is not the media type of a manifest")]
    MediaType(String),
    /// The document and the request disagree.
    #[error("manifest says it is {inside:?} but was sent as {outside:?}")]
    Contradiction {
        /// The document's own media type.
        inside: String,
        /// The request's.
        outside: String,
    },
    /// It is larger than [`MAX_MANIFEST_SIZE`].
    #[error("manifest is larger than {MAX_MANIFEST_SIZE} bytes")]
    TooLarge,
}

/// What is looked at before the form of the document is known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads a document. `content_type` is what the transport said of it, if anything.
    pub fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge);
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(ManifestError::Decode)?;
        if probe.schema_version != 2 {
            return Err(ManifestError::SchemaVersion(probe.schema_version));
        }
        if let (Some(inside), Some(outside)) = (&probe.media_type, content_type)
            && inside != outside
        {
            let (inside, outside) = (inside.clone(), outside.to_owned());
            return Err(ManifestError::Contradiction { inside, outside });
        }
        let is_index = match probe.media_type.as_deref().or(content_type) {
            Some(IMAGE_MANIFEST | DOCKER_MANIFEST) => false,
            Some(IMAGE_INDEX | DOCKER_LIST) => true,
            Some(other) => return Err(ManifestError::MediaType(other.to_owned())),
            None => probe.manifests.is_some(),
        };
        let parsed = if is_index {
            serde_json::from_slice(bytes).map(Self::Index)
        } else {
            serde_json::from_slice(bytes).map(Self::Image)
        };
        parsed.map_err(ManifestError::Decode)
    }

    /// Its media type, the image specification's where it does not say.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => image.media_type.as_deref().unwrap_or(IMAGE_MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(IMAGE_INDEX),
        }
    }

    /// What kind of artifact it is: its own word, else that of its configuration.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Image(image) => {
                Some(image.artifact_type.as_deref().unwrap_or(&image.config.media_type))
            }
            Self::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// The manifest it says something about.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// Its notes.
    pub fn annotations(&self) -> &Annotations {
        match self {
            Self::Image(image) => &image.annotations,
            Self::Index(index) => &index.annotations,
        }
    }

    /// The blobs without which it is incomplete.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match self {
            Self::Image(image) => (Some(&image.config), image.layers.as_slice()),
            Self::Index(_) => (None, Default::default()),
        };
        config.into_iter().chain(layers.iter().filter(|layer| !layer.is_foreign()))
    }

    /// The manifests without which it is incomplete.
    pub fn manifests(&self) -> &[Descriptor] {
        match self {
            Self::Image(_) => &[],
            Self::Index(index) => &index.manifests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image() -> serde_json::Value {
        let digest = Digest::of(b"{}");
        json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2},
            "layers": [
                {"mediaType": "application/wasm", "digest": Digest::of(b"a"), "size": 1},
                {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                 "digest": Digest::of(b"b"), "size": 1},
            ],
        })
    }

    fn parse(
        content_type: Option<&str>,
        value: &serde_json::Value,
    ) -> Result<Manifest, ManifestError> {
        Manifest::parse(content_type, value.to_string().as_bytes())
    }

    #[test]
    fn an_image_needs_its_configuration_and_its_layers_but_not_foreign_ones() {
        let manifest = parse(Some(IMAGE_MANIFEST), &image()).unwrap();
        let needed: Vec<_> = manifest.blobs().map(|b| b.digest.clone()).collect();
        assert_eq!(needed, [Digest::of(b"{}"), Digest::of(b"a")]);
        assert_eq!(manifest.artifact_type(), Some("application/vnd.oci.empty.v1+json"));
    }

    #[test]
    fn a_document_without_media_type_is_told_by_its_shape() {
        let mut value = image();
        value.as_object_mut().unwrap().remove("mediaType");
        assert!(matches!(parse(None, &value), Ok(Manifest::Image(_))));
        let index = json!({"schemaVersion": 2, "manifests": []});
        assert!(matches!(parse(None, &index), Ok(Manifest::Index(_))));
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_reason() {
        let refused = |content_type, value| parse(content_type, &value).unwrap_err();
        assert!(matches!(refused(None, json!([])), ManifestError::Decode(_)));
        assert!(matches!(
            refused(None, json!({"schemaVersion": 1})),
            ManifestError::SchemaVersion(1)
        ));
        assert!(matches!(
            refused(Some("text/plain"), json!({"schemaVersion": 2})),
            ManifestError::MediaType(_)
        ));
        assert!(matches!(refused(Some(IMAGE_INDEX), image()), ManifestError::Contradiction { .. }));
        let mut traversal = image();
        traversal["config"]["digest"] = json!("sha256:../../etc/passwd");
        assert!(matches!(refused(None, traversal), ManifestError::Decode(_)));
        let huge = vec![b' '; MAX_MANIFEST_SIZE as usize + 1];
        assert!(matches!(Manifest::parse(None, &huge), Err(ManifestError::TooLarge)));
    }
}
