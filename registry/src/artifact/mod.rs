//! Wasm artifacts: the form we push, and every form that is in use elsewhere.
//!
//! | form | configuration | layers |
//! |---|---|---|
//! | CNCF (ours) | [`WASM_CONFIG`] | one [`WASM_LAYER`] |
//! | older | any | one [`MODULE_LAYER`] or [`CONTENT_LAYER`] |
//! | runwasi | [`OCI_CONFIG`] | one [`RUNWASI_COMPONENT`] or [`RUNWASI_MODULE`] |
//! | Spin | [`SPIN_CONFIG`] | [`CONTENT_LAYER`] for each component, and data |
//! | root file system | [`OCI_CONFIG`], [`DOCKER_CONFIG`] | tar, with a `.wasm` file as entry point |
//!
//! [`Wasm::recognise`] decides from manifest and configuration alone, before any layer is fetched.
use serde::Deserialize;

use crate::manifest::{Descriptor, ImageIndex, ImageManifest};

mod build;
mod media_types;
mod wasm;

pub use build::Artifact;
pub use media_types::{
    CONTENT_LAYER, DOCKER_CONFIG, MODULE_LAYER, OCI_CONFIG, RUNWASI_COMPONENT, RUNWASI_MODULE,
    SPIN_CONFIG, WASM_CONFIG, WASM_LAYER,
};
pub use wasm::{Interface, Kind, MAGIC, WasmError, kind};

/// What containerd's shims look for on an image whose platform does not say that it is Wasm.
const VARIANT: &str = "module.wasm.image/variant";

/// The ways in which Wasm is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The CNCF's Wasm artifact.
    Cncf,
    /// One layer of an older media type.
    Older,
    /// runwasi's: an image configuration over Wasm layers.
    Runwasi,
    /// A Spin application.
    Spin,
    /// An image whose layers are a root file system.
    Rootfs,
}

impl Form {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cncf => "CNCF Wasm artifact",
            Self::Older => "single-layer Wasm artifact",
            Self::Runwasi => "runwasi image",
            Self::Spin => "Spin application",
            Self::Rootfs => "image with a root file system",
        }
    }
}

/// What to run of an artifact, and how it wants to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wasm {
    /// How it was packed.
    pub form: Form,
    /// The `.wasm` file.
    pub layer: Descriptor,
    /// Its own argv; empty where the form has none.
    pub entrypoint: Vec<String>,
    /// Its own environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Its own working directory; empty where the form has none.
    pub working_dir: String,
}

/// An artifact that cannot be run, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It holds no Wasm.
    #[error("it is not a Wasm artifact: {what}")]
    NotWasm {
        /// What it is instead.
        what: String,
    },
    /// The file that should be Wasm is not.
    #[error("it is not a Wasm file")]
    File(#[from] WasmError),
    /// It is a form of Wasm that this version does not run.
    #[error("it is a {} {why}", form.as_str())]
    Unsupported {
        /// The form.
        form: Form,
        /// What about it is not supported.
        why: &'static str,
    },
    /// None of an index's platforms is Wasm.
    #[error("it offers no platform wasi/wasm, only {}", offered.join(", "))]
    NoPlatform {
        /// The platforms offered.
        offered: Vec<String>,
    },
    /// The configuration does not decode.
    #[error("its configuration is not valid")]
    Config(#[source] serde_json::Error),
}

/// The part of an image configuration that says how to run it.
#[derive(Debug, Default, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<RunConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
}

impl Wasm {
    /// Finds what to run in an artifact. `config` holds the bytes of its configuration.
    pub fn recognise(manifest: &ImageManifest, config: &[u8]) -> Result<Self, ArtifactError> {
        let media_type = manifest.config.media_type.as_str();
        let wasm =
            manifest.layers.iter().filter(|layer| media_types::is_wasm_layer(&layer.media_type));
        let wasm: Vec<&Descriptor> = wasm.collect();
        let image = match media_type {
            OCI_CONFIG | DOCKER_CONFIG => {
                serde_json::from_slice(config).map_err(ArtifactError::Config)?
            }
            _ => ImageConfig::default(),
        };
        let form = match (media_type, wasm.as_slice()) {
            (WASM_CONFIG, [_, ..]) => Form::Cncf,
            (SPIN_CONFIG, _) => Form::Spin,
            (OCI_CONFIG | DOCKER_CONFIG, [_, ..]) => Form::Runwasi,
            (_, [_, ..]) => Form::Older,
            (_, []) => return Err(without_wasm(manifest, &image)),
        };
        let [layer] = wasm.as_slice() else {
            let why = match wasm.len() {
                0 => "without a component",
                _ => "of several components, which this version does not run",
            };
            return Err(ArtifactError::Unsupported { form, why });
        };
        if form == Form::Spin && manifest.layers.len() > 1 {
            let why = "with files, which this version does not mount";
            return Err(ArtifactError::Unsupported { form, why });
        }
        let run = image.config.unwrap_or_default();
        let mut entrypoint = run.entrypoint.unwrap_or_default();
        entrypoint.extend(run.cmd.unwrap_or_default());
        Ok(Self {
            form,
            layer: (*layer).clone(),
            entrypoint,
            env: run.env.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
        })
    }

    /// Chooses the manifest of an index that holds Wasm.
    pub fn choose(index: &ImageIndex) -> Result<&Descriptor, ArtifactError> {
        let by_os = |wanted: &str| {
            index.manifests.iter().find(|manifest| {
                let platform = manifest.platform.as_ref();
                platform.is_some_and(|p| p.os == wanted && p.architecture.starts_with("wasm"))
            })
        };
        let marked = || index.manifests.iter().find(|m| m.annotations.contains_key(VARIANT));
        let only = || match index.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        };
        let found = ["wasip2", "wasi", "wasip1"].into_iter().find_map(by_os);
        found.or_else(marked).or_else(only).ok_or_else(|| {
            let mut offered: Vec<String> = index.manifests.iter().map(platform_of).collect();
            offered.sort();
            offered.dedup();
            // A stranger's index may list thousands; an error message shows a few.
            offered.truncate(8);
            if offered.is_empty() {
                offered.push("nothing".to_owned());
            }
            ArtifactError::NoPlatform { offered }
        })
    }
}

fn platform_of(manifest: &Descriptor) -> String {
    match &manifest.platform {
        Some(platform) => format!("{}/{}", platform.os, platform.architecture),
        None => "a manifest without platform".to_owned(),
    }
}

/// Says what an artifact without a Wasm layer is.
fn without_wasm(manifest: &ImageManifest, image: &ImageConfig) -> ArtifactError {
    let layers = manifest.layers.iter().map(|layer| layer.media_type.as_str());
    let rootfs = layers.clone().any(media_types::is_rootfs_layer);
    let for_wasm = image.architecture.starts_with("wasm")
        || image.os.starts_with("wasi")
        || manifest.annotations.contains_key(VARIANT);
    if rootfs && for_wasm {
        let why = "in tar layers, which this version does not unpack";
        return ArtifactError::Unsupported { form: Form::Rootfs, why };
    }
    let what = if rootfs {
        format!("it is an image for {}/{}", image.os, image.architecture)
    } else {
        match layers.clone().next() {
            None => "it has no layers".to_owned(),
            Some(first) => {
                format!(
                    "its configuration is {}, its first layer {first}",
                    manifest.config.media_type
                )
            }
        }
    };
    ArtifactError::NotWasm { what }
}

#[cfg(test)]
mod tests;
