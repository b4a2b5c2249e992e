//! Wasm artifacts: the form we push, and every form that is in use elsewhere.
//!
//! | form | configuration | layers |
//! |---|---|---|
//! | CNCF (ours) | [`WASM_CONFIG`] | one [`WASM_LAYER`] |
//! | older | any | one [`MODULE_LAYER`] or [`CONTENT_LAYER`] |
//! | runwasi | [`OCI_CONFIG`] | one [`RUNWASI_COMPONENT`] or [`RUNWASI_MODULE`] |
//! | Spin | [`SPIN_CONFIG`] | [`CONTENT_LAYER`] for each component, and files |
//! | root file system | [`OCI_CONFIG`], [`DOCKER_CONFIG`] | tar, with a `.wasm` file as entry point |
//!
//! [`Wasm::recognise`] decides from manifest and configuration alone, before any layer is fetched.
use serde::Deserialize;

use crate::manifest::{Descriptor, ImageIndex, ImageManifest};

mod build;
mod media_types;
mod spin;
mod wasm;

pub use build::Artifact;
pub use media_types::{
    CONTENT_LAYER, DOCKER_CONFIG, MODULE_LAYER, OCI_CONFIG, RUNWASI_COMPONENT, RUNWASI_MODULE,
    SPIN_BUNDLE, SPIN_CONFIG, WASM_CONFIG, WASM_LAYER,
};
pub use spin::{SpinContent, SpinFile};
pub use wasm::{Interface, Kind, MAGIC, WasmError, kind};

/// What containerd's shims look for on an image whose platform does not say that it is Wasm.
const VARIANT: &str = "module.wasm.image/variant";

/// What BuildKit marks its provenance manifests with.
const ATTESTATION: &str = "vnd.docker.reference.type";

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
    /// What is run: one, or those of a Spin application that can be called.
    pub components: Vec<Component>,
    /// Which requests go to which component, as their author ordered them; empty where the only
    /// one gets all.
    pub routes: Vec<Route>,
    /// What its own argv begins with; empty where the form has none.
    pub entrypoint: Vec<String>,
    /// What follows if nobody says otherwise.
    pub cmd: Vec<String>,
    /// Its own working directory; empty where the form has none.
    pub working_dir: String,
    /// What its root file system is made of.
    pub files: Files,
}

/// One `.wasm` file that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name within a Spin application; empty in other forms.
    pub id: String,
    /// The `.wasm` file.
    pub source: Source,
    /// Its own environment, as `NAME=value`.
    pub env: Vec<String>,
}

/// The requests of one component of a Spin application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Their path, as its author wrote it: possibly anything.
    pub path: String,
    /// Where they go: an index of [`Wasm::components`].
    pub component: usize,
}

/// Where the `.wasm` file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is a layer.
    Layer(Descriptor),
    /// It is a file of the root file system, which the entry point names.
    Rootfs,
}

/// What an artifact's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// It has none.
    None,
    /// Archives, the lowest first, each laid over those before it.
    Layers(Vec<Descriptor>),
    /// The files of a Spin application's components.
    Spin {
        /// The files.
        files: Vec<SpinFile>,
        /// The layers that hold them: one file each, or bundles.
        layers: Vec<Descriptor>,
    },
}

impl Files {
    /// The blobs that hold them.
    pub fn layers(&self) -> &[Descriptor] {
        match self {
            Self::None => &[],
            Self::Layers(layers) | Self::Spin { layers, .. } => layers,
        }
    }
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
        why: String,
    },
    /// It is in more pieces than are taken.
    #[error("it has {layers} layers, more than {limit}")]
    TooManyLayers {
        /// Its layers.
        layers: u64,
        /// The bound.
        limit: u64,
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
        if media_type == SPIN_CONFIG {
            return spin::recognise(manifest, config);
        }
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
            (OCI_CONFIG | DOCKER_CONFIG, [_, ..]) => Form::Runwasi,
            (_, [_, ..]) => Form::Older,
            (_, []) => Form::Rootfs,
        };
        let (source, files) = match wasm.as_slice() {
            [layer] => (Source::Layer((*layer).clone()), Files::None),
            [] => (Source::Rootfs, Files::Layers(rootfs(manifest, &image)?)),
            several => {
                let why = format!("of {} .wasm layers, of which only one could run", several.len());
                return Err(ArtifactError::Unsupported { form, why });
            }
        };
        let run = image.config.unwrap_or_default();
        let env = run.env.unwrap_or_default();
        Ok(Self {
            form,
            components: vec![Component { id: String::new(), source, env }],
            routes: Vec::new(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            files,
        })
    }

    /// The `.wasm` files that are layers.
    pub fn sources(&self) -> impl Iterator<Item = &Descriptor> {
        self.components.iter().filter_map(|component| match &component.source {
            Source::Layer(layer) => Some(layer),
            Source::Rootfs => None,
        })
    }

    /// The blobs that are needed to run it; one may stand here more than once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.sources().chain(self.files.layers())
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
        // Builders add a manifest beside an image that only tells how it was built.
        let images: Vec<&Descriptor> =
            index.manifests.iter().filter(|m| !m.annotations.contains_key(ATTESTATION)).collect();
        // One image for any platform may hold Wasm nevertheless: its entry point will tell.
        let only = || match images.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        let found = ["wasip2", "wasi", "wasip1"].into_iter().find_map(by_os);
        found.or_else(marked).or_else(only).ok_or_else(|| {
            let mut offered: Vec<String> = images.iter().map(|m| platform_of(m)).collect();
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

/// The layers of an image's root file system, if the image is for us: it says so, or what it
/// starts is a `.wasm` file.
fn rootfs(manifest: &ImageManifest, image: &ImageConfig) -> Result<Vec<Descriptor>, ArtifactError> {
    let not_wasm = |what: String| Err(ArtifactError::NotWasm { what });
    let Some(first) = manifest.layers.first() else {
        return not_wasm("it has no layers".to_owned());
    };
    let strange = |layer: &&Descriptor| !media_types::is_rootfs_layer(&layer.media_type);
    if manifest.layers.iter().any(|layer| !strange(&layer)) {
        if let Some(layer) = manifest.layers.iter().find(strange) {
            return not_wasm(format!("one of its layers is {}", layer.media_type));
        }
    } else {
        return not_wasm(format!(
            "its configuration is {}, its first layer {}",
            manifest.config.media_type, first.media_type
        ));
    }
    let run = image.config.as_ref();
    let words = run.and_then(|run| run.entrypoint.as_ref().or(run.cmd.as_ref()));
    let program = words.and_then(|words| words.first());
    let for_wasm = image.architecture.starts_with("wasm")
        || image.os.starts_with("wasi")
        || manifest.annotations.contains_key(VARIANT)
        || program.is_some_and(|program| program.ends_with(".wasm"));
    if !for_wasm {
        let starts = program.map_or_else(String::new, |program| format!(" that starts {program}"));
        let (os, architecture) = (&image.os, &image.architecture);
        return not_wasm(format!("it is an image for {os}/{architecture}{starts}"));
    }
    Ok(manifest.layers.clone())
}

#[cfg(test)]
mod tests;
