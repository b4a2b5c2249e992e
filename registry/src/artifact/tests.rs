//! Which artifacts are Wasm, and what of them is run.
use super::*;
use crate::manifest::Manifest;
use crate::reference::Digest;
use bytes::Bytes;
use serde_json::{Value, json};

const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()), "size": 7})
}

fn manifest(config: &str, layers: &[&str]) -> ImageManifest {
    let layers: Vec<Value> = layers.iter().map(|layer| descriptor(layer)).collect();
    serde_json::from_value(json!({
        "schemaVersion": 2, "config": descriptor(config), "layers": layers,
    }))
    .unwrap()
}

#[test]
fn what_we_pack_is_recognised_as_what_we_packed() {
    let file = Bytes::from_static(EMPTY_MODULE);
    let artifact = Artifact::build(file.clone()).unwrap();
    let Ok(Manifest::Image(parsed)) = Manifest::parse(None, &artifact.manifest) else {
        panic!("not an image manifest")
    };
    let wasm = Wasm::recognise(&parsed, &artifact.config).unwrap();
    assert_eq!(wasm.form, Form::Cncf);
    assert_eq!(wasm.layer.digest, Digest::of(&file));
    let config: Value = serde_json::from_slice(&artifact.config).unwrap();
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip1");
    assert_eq!(config["layerDigests"], json!([Digest::of(&file)]));
    assert_eq!(config.get("component"), None);
}

#[test]
fn the_same_file_makes_the_same_artifact() {
    let build = || Artifact::build(Bytes::from_static(EMPTY_MODULE)).unwrap().digest;
    assert_eq!(build(), build());
}

#[test]
fn a_component_says_what_it_exports() {
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello/hello.wasm");
    let artifact = Artifact::build(std::fs::read(hello).unwrap().into()).unwrap();
    let config: Value = serde_json::from_slice(&artifact.config).unwrap();
    assert_eq!(config["os"], "wasip2");
    let exports = config["component"]["exports"].as_array().unwrap();
    let handler =
        |name: &Value| name.as_str().unwrap().starts_with("wasi:http/incoming-handler@0.2");
    assert!(exports.iter().any(handler), "{exports:?}");
    assert!(config["component"]["target"].as_str().unwrap().starts_with("wasi:http/proxy@0.2"));
}

#[test]
fn the_older_forms_are_run() {
    let older = manifest("application/vnd.wasm.config.v1+json", &[MODULE_LAYER]);
    assert_eq!(Wasm::recognise(&older, b"{}").unwrap().form, Form::Older);
    let content = manifest("application/vnd.oci.empty.v1+json", &[CONTENT_LAYER]);
    assert_eq!(Wasm::recognise(&content, b"{}").unwrap().form, Form::Older);
    let spin = manifest(SPIN_CONFIG, &[CONTENT_LAYER]);
    assert_eq!(Wasm::recognise(&spin, b"{}").unwrap().form, Form::Spin);
}

#[test]
fn runwasi_images_bring_argv_environment_and_directory() {
    let config = json!({
        "architecture": "wasm", "os": "wasip1",
        "config": {"Entrypoint": ["/app.wasm"], "Cmd": ["serve"], "Env": ["A=1"], "WorkingDir": "/w"},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    for layer in [RUNWASI_COMPONENT, RUNWASI_MODULE] {
        let image = manifest(OCI_CONFIG, &[layer]);
        let wasm = Wasm::recognise(&image, config.to_string().as_bytes()).unwrap();
        assert_eq!(wasm.form, Form::Runwasi);
        assert_eq!(wasm.entrypoint, ["/app.wasm", "serve"]);
        assert_eq!(wasm.env, ["A=1"]);
        assert_eq!(wasm.working_dir, "/w");
    }
}

#[test]
fn what_is_not_run_says_what_it_is() {
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    let refused = |manifest: &ImageManifest, config: Value| {
        Wasm::recognise(manifest, config.to_string().as_bytes()).unwrap_err()
    };
    let image = manifest(OCI_CONFIG, &[tar]);
    let nginx = refused(&image, json!({"architecture": "amd64", "os": "linux"}));
    assert!(matches!(&nginx, ArtifactError::NotWasm { what } if what.contains("linux/amd64")));
    let rootfs = refused(&image, json!({"architecture": "wasm", "os": "wasi"}));
    assert!(matches!(rootfs, ArtifactError::Unsupported { form: Form::Rootfs, .. }));
    let two = refused(&manifest(SPIN_CONFIG, &[CONTENT_LAYER, CONTENT_LAYER]), json!({}));
    assert!(matches!(two, ArtifactError::Unsupported { form: Form::Spin, .. }));
    let files =
        manifest(SPIN_CONFIG, &[CONTENT_LAYER, "application/vnd.wasm.content.layer.v1+data"]);
    assert!(matches!(refused(&files, json!({})), ArtifactError::Unsupported { .. }));
    let chart = manifest("application/vnd.cncf.helm.config.v1+json", &["application/x-tar"]);
    assert!(matches!(refused(&chart, json!({})), ArtifactError::NotWasm { .. }));
    assert!(matches!(
        refused(&manifest(WASM_CONFIG, &[]), json!({})),
        ArtifactError::NotWasm { what } if what.contains("no layers")
    ));
}

fn index(platforms: &[&str]) -> ImageIndex {
    let manifests: Vec<Value> = platforms
        .iter()
        .map(|platform| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let mut entry = descriptor(platform);
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        })
        .collect();
    serde_json::from_value(json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
}

#[test]
fn the_wasm_platform_of_an_index_is_chosen() {
    let chosen = |platforms: &[&str]| {
        let index = index(platforms);
        Wasm::choose(&index).map(|d| d.platform.clone().unwrap().os)
    };
    assert_eq!(chosen(&["linux/amd64", "wasip1/wasm"]).unwrap(), "wasip1");
    assert_eq!(chosen(&["wasip1/wasm", "wasip2/wasm"]).unwrap(), "wasip2");
    assert_eq!(chosen(&["wasi/wasm", "linux/arm64"]).unwrap(), "wasi");
    let refused = chosen(&["linux/amd64", "linux/arm64"]).unwrap_err();
    assert!(refused.to_string().ends_with("only linux/amd64, linux/arm64"), "{refused}");
}
