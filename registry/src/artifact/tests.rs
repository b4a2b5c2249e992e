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
    let [Component { source: Source::Layer(layer), .. }] = wasm.components.as_slice() else {
        panic!("{wasm:?}")
    };
    assert_eq!(layer.digest, Digest::of(&file));
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
        assert_eq!((wasm.entrypoint, wasm.cmd), (vec!["/app.wasm".into()], vec!["serve".into()]));
        assert_eq!(wasm.components[0].env, ["A=1"]);
        assert_eq!(wasm.working_dir, "/w");
    }
}

/// A Spin component whose source is the layer of this media type.
fn component(id: &str, files: Value) -> Value {
    json!({
        "id": id, "env": {"MODE": "quick"}, "files": files,
        "source": {"content_type": "application/wasm", "digest": Digest::of(CONTENT_LAYER.as_bytes())},
    })
}

#[test]
fn a_spin_application_brings_environment_and_files() {
    const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
    let image = manifest(SPIN_CONFIG, &[DATA, CONTENT_LAYER, SPIN_BUNDLE, "text/unneeded"]);
    let bundled = Digest::of(b"bundled");
    let files = json!([
        {"path": "/a.txt", "digest": Digest::of(DATA.as_bytes())},
        {"path": "b.txt", "digest": bundled.hex()},
        {"path": "c.txt", "inline": "aGk="},
    ]);
    let lock = json!({"spin_lock_version": 1, "components": [component("web", files)]});

    let wasm = Wasm::recognise(&image, lock.to_string().as_bytes()).unwrap();

    let web = Component {
        id: "web".into(),
        source: Source::Layer(image.layers[1].clone()),
        env: vec!["MODE=quick".into()],
    };
    assert_eq!((wasm.components, wasm.routes), (vec![web], Vec::new()));
    let Files::Spin { files, layers } = &wasm.files else { panic!("{:?}", wasm.files) };
    assert_eq!(layers.as_slice(), [image.layers[0].clone(), image.layers[2].clone()]);
    let contents: Vec<_> = files.iter().map(|file| file.content.clone()).collect();
    let expected = [
        SpinContent::Named(Digest::of(DATA.as_bytes())),
        SpinContent::Named(bundled),
        SpinContent::Inline(b"hi".to_vec()),
    ];
    assert_eq!(contents, expected);
}

/// A trigger that leads to a component.
fn trigger(component: &str, route: Value) -> Value {
    json!({
        "id": format!("trigger--{component}"), "trigger_type": "http",
        "trigger_config": {"component": component, "executor": null, "route": route},
    })
}

#[test]
fn a_spin_application_runs_the_components_that_routes_lead_to() {
    let image = manifest(SPIN_CONFIG, &[CONTENT_LAYER]);
    let files = json!([{"path": "/page", "inline": "aGk="}]);
    let lock = json!({
        "host_requirements": {"local_service_chaining": "required", "telepathy": "optional"},
        "triggers": [
            trigger("web", json!("/...")),
            trigger("inner", json!({"private": true})),
            trigger("api", json!("/api/:id")),
            trigger("web", json!("/home")),
        ],
        "components": [
            component("unused", json!([])), component("api", files.clone()),
            component("inner", files), component("web", json!([])),
        ],
    });

    let wasm = Wasm::recognise(&image, lock.to_string().as_bytes()).unwrap();

    let ids: Vec<_> = wasm.components.iter().map(|component| component.id.as_str()).collect();
    assert_eq!(ids, ["web", "inner", "api"]);
    let routes: Vec<_> = wasm.routes.iter().map(|r| (r.path.as_str(), r.component)).collect();
    assert_eq!(routes, [("/...", 0), ("/api/:id", 2), ("/home", 0)]);
    let Files::Spin { files, layers } = &wasm.files else { panic!("{:?}", wasm.files) };
    let whose: Vec<_> = files.iter().map(|file| file.component).collect();
    assert_eq!((whose, layers.len()), (vec![1, 2], 0));
    assert_eq!(wasm.sources().count(), 3);
}

#[test]
fn what_a_spin_application_asks_in_vain_is_refused_by_name() {
    let image = manifest(SPIN_CONFIG, &[CONTENT_LAYER]);
    let components = json!([component("api", json!([])), component("web", json!([]))]);
    let refused =
        |lock: Value| Wasm::recognise(&image, lock.to_string().as_bytes()).unwrap_err().to_string();
    let mut redis = trigger("web", json!("/"));
    redis["trigger_type"] = json!("redis");
    let mut wagi = trigger("web", json!("/"));
    wagi["trigger_config"]["executor"] = json!({"type": "wagi"});
    let mut middleware = trigger("web", json!("/"));
    middleware["trigger_dependencies"] = json!({"middleware": []});
    let mut fixed = trigger("web", json!("/"));
    fixed["trigger_config"] = json!({"static_response": {}, "route": "/"});
    for (trigger, wanted) in [
        (redis, "trigger trigger--web is of type redis"),
        (wagi, "has the executor wagi"),
        (middleware, "has middleware"),
        (fixed, "names no component"),
        (trigger("none", json!("/")), "names a component none that it does not have"),
        (trigger("web", json!({"private": true})), "none of whose components has a route"),
        (trigger("web", json!({"private": false})), "is private = false"),
        (trigger("web", json!("/x".repeat(257))), "a route of more than 512 bytes"),
    ] {
        let said = refused(json!({"triggers": [trigger], "components": components}));
        assert!(said.contains(wanted), "{said}");
    }
    for (lock, wanted) in [
        (json!({"components": components}), "of 2 components (api, …) without a trigger"),
        (
            json!({"components": vec![component("x", json!([])); 65]}),
            "of 65 components, more than 64",
        ),
        (
            json!({"components": components, "triggers": vec![trigger("web", json!("/")); 257]}),
            "of 257 triggers, more than 256",
        ),
        (
            json!({"components": components, "host_requirements": {"telepathy": "required"}}),
            "requires telepathy of its host",
        ),
    ] {
        let said = refused(lock);
        assert!(said.contains(wanted), "{said}");
    }
    let mut chained = component("web", json!([]));
    chained["host_requirements"] = json!({"middleware": "required"});
    let lock = json!({"components": [chained], "triggers": [trigger("web", json!("/"))]});
    assert!(refused(lock).contains("requires middleware of its host"));
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn an_image_is_run_if_it_is_for_wasm_or_starts_a_wasm_file() {
    let recognised = |image: &ImageManifest, config: Value| {
        let wasm = Wasm::recognise(image, config.to_string().as_bytes()).unwrap();
        assert_eq!((wasm.form, &wasm.components[0].source), (Form::Rootfs, &Source::Rootfs));
        assert_eq!(wasm.files, Files::Layers(image.layers.clone()));
        wasm.entrypoint
    };
    let image = manifest(OCI_CONFIG, &[TAR]);
    for (os, architecture) in [("wasi", "wasm"), ("wasip1", "wasm"), ("js", "wasm32")] {
        recognised(&image, json!({"architecture": architecture, "os": os}));
    }
    let linux = json!({"architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/app.wasm"], "Cmd": ["serve"]}});
    assert_eq!(recognised(&image, linux), ["/app.wasm"]);
    let mut marked = image.clone();
    marked.annotations.insert(VARIANT.to_owned(), "compat".to_owned());
    recognised(&marked, json!({"architecture": "amd64", "os": "linux"}));
    let docker = manifest(DOCKER_CONFIG, &["application/vnd.docker.image.rootfs.diff.tar.gzip"]);
    recognised(&docker, json!({"architecture": "wasm", "os": "wasi"}));
}

#[test]
fn what_is_not_run_says_what_it_is() {
    let refused = |manifest: &ImageManifest, config: Value| {
        Wasm::recognise(manifest, config.to_string().as_bytes()).unwrap_err().to_string()
    };
    let image = manifest(OCI_CONFIG, &[TAR]);
    let nginx = json!({"architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/docker-entrypoint.sh"]}});
    let said = refused(&image, nginx);
    assert!(said.ends_with("it is an image for linux/amd64 that starts /docker-entrypoint.sh"));
    let spin = manifest(SPIN_CONFIG, &[CONTENT_LAYER]);
    assert!(refused(&spin, json!({})).contains("without a component"));
    let missing = json!({"components": [{"id": "web", "source": {"digest": Digest::of(b"x")}}]});
    assert!(refused(&spin, missing).contains("web is none of its layers"));
    let chart = manifest("application/vnd.cncf.helm.config.v1+json", &["application/x-tar"]);
    assert!(refused(&chart, json!({})).contains("helm"));
    assert!(refused(&manifest(WASM_CONFIG, &[]), json!({})).contains("no layers"));
    let mixed = manifest(OCI_CONFIG, &[TAR, "application/vnd.in-toto+json"]);
    assert!(refused(&mixed, json!({"os": "wasi"})).contains("in-toto"));
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
    assert_eq!(chosen(&["linux/amd64"]).unwrap(), "linux");
    let refused = chosen(&["linux/amd64", "linux/arm64"]).unwrap_err();
    assert!(refused.to_string().ends_with("only linux/amd64, linux/arm64"), "{refused}");
    let mut built = index(&["linux/amd64", "unknown/unknown"]);
    built.manifests[1].annotations.insert(ATTESTATION.to_owned(), "attestation-manifest".into());
    assert_eq!(Wasm::choose(&built).unwrap(), &built.manifests[0]);
}
