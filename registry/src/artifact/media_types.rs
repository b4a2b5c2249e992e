//! The media types under which Wasm is found in registries.

/// Configuration of the CNCF's Wasm artifact, the form we push.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Layer of the CNCF's Wasm artifact.
pub const WASM_LAYER: &str = "application/wasm";

/// Configuration of an OCI image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Configuration of a Docker image.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Configuration of a Spin application.
pub const SPIN_CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";

/// The component layer of Spin, and of the first tools.
pub const CONTENT_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// Many files of a Spin application, as one archive.
pub const SPIN_BUNDLE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// The module layer of the first tools.
pub const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
/// runwasi's layer of a component.
pub const RUNWASI_COMPONENT: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";
/// runwasi's layer of a module.
pub const RUNWASI_MODULE: &str = "application/vnd.bytecodealliance.wasm.module.layer.v0+wasm";

/// Every layer that is one `.wasm` file.
const WASM_LAYERS: [&str; 5] =
    [WASM_LAYER, CONTENT_LAYER, MODULE_LAYER, RUNWASI_COMPONENT, RUNWASI_MODULE];

/// Whether a layer is one `.wasm` file.
pub(super) fn is_wasm_layer(media_type: &str) -> bool {
    WASM_LAYERS.contains(&media_type)
}

/// Whether a layer is part of a root file system.
pub(super) fn is_rootfs_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}
