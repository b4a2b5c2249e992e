//! Images that other tools pack and push, in a whole cluster.
use crate::support::{cluster, create, push};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use podium_tests::{Cluster, Tool, eventually, file};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes an image layout, as builders leave it on disk: one layer with these files.
fn layout(folder: &Path, config: &Value, files: &[(&str, &[u8])]) {
    let mut layer = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        layer.append_data(&mut header, name, *content).unwrap();
    }
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, content: &[u8]| {
        let hex = hex::encode(Sha256::digest(content));
        std::fs::write(blobs.join(&hex), content).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()})
    };
    let layer = layer.into_inner().unwrap();
    let diff = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let mut config = config.clone();
    config["rootfs"] = json!({"type": "layers", "diff_ids": [diff]});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": put(CONFIG, config.to_string().as_bytes()), "layers": [put(TAR, &layer)],
    });
    let mut entry = put(MANIFEST, manifest.to_string().as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Waits until a Pod has a status that satisfies.
async fn pod_is(cluster: &Cluster, name: &str, what: &str, is: impl Fn(&Value) -> bool) {
    let pods = Api::<Pod>::default_namespaced(cluster.client().await.unwrap());
    eventually(what, async || {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        let status = serde_json::to_value(pod.status).unwrap();
        if is(&status) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_root_file_system_is_pushed_by_skopeo_and_runs() {
    let Some(skopeo) = Tool::find("skopeo") else { return };
    let cluster = cluster(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let toolbox = std::fs::read(file("tests/guests/toolbox.wasm")).unwrap();
    let config = json!({
        "os": "wasi", "architecture": "wasm",
        "config": {"Entrypoint": ["/toolbox.wasm"], "Cmd": ["cat", "/etc/motd"]},
    });
    let files = [("toolbox.wasm", toolbox.as_slice()), ("etc/motd", b"of the image\n")];
    layout(folder.path(), &config, &files);
    let token = cluster.podium().run(&["kubeconfig", "token"]).await;
    let source = format!("oci:{}:v1", folder.path().display());
    let remote = format!("docker://{}/team/motd:v1", cluster.addresses.registry);
    let credentials = format!("anyone:{}", token.trim());

    let anonymous = ["copy", "--dest-tls-verify=false", "--dest-no-creds", &source, &remote];
    skopeo.fail(&anonymous, "").await;
    let push = ["copy", "--dest-tls-verify=false", "--dest-creds", &credentials, &source, &remote];
    skopeo.run(&push).await;
    let raw = ["inspect", "--raw", "--no-creds", "--tls-verify=false", &remote];
    assert!(skopeo.run(&raw).await.contains(TAR));

    let client = cluster.client().await.unwrap();
    create::<Pod>(&client, &pod("motd", "team/motd:v1")).await;
    pod_is(&cluster, "motd", "it succeeds", |status| status["phase"] == "Succeeded").await;
    let pods = Api::<Pod>::default_namespaced(client);
    assert_eq!(pods.logs("motd", &Default::default()).await.unwrap(), "of the image\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_for_another_host_waits_with_the_imports_name_and_never_restarts() {
    let cluster = cluster(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (b"wasi:cli/environment@0.2.12", b"fermyon:spin/variable@2.0.0");
    let mut guest = std::fs::read(file("tests/guests/toolbox.wasm")).unwrap();
    let at = guest.windows(from.len()).position(|window| window == from).unwrap();
    guest[at..at + to.len()].copy_from_slice(to);
    let path = folder.path().join("spin.wasm");
    std::fs::write(&path, guest).unwrap();
    let path = path.display().to_string();

    let pushed = cluster.podium().try_run(&["push", &path, "spin:v1"], "").await;
    assert!(pushed.success, "{pushed:?}");
    assert!(pushed.stderr.contains("warning"), "{pushed:?}");
    assert!(pushed.stderr.contains("fermyon:spin/variable@2.0.0"), "{pushed:?}");

    let client = cluster.client().await.unwrap();
    let mut pod = pod("spin", "spin:v1");
    pod["spec"]["restartPolicy"] = json!("Always");
    create::<Pod>(&client, &pod).await;
    pod_is(&cluster, "spin", "it waits and says for what", |status| {
        let container = &status["containerStatuses"][0];
        let waiting = &container["state"]["waiting"];
        waiting["reason"] == "ErrImageNotRunnable"
            && waiting["message"]
                .as_str()
                .is_some_and(|m| m.contains("fermyon:spin/variable@2.0.0"))
            && container["restartCount"] == 0
    })
    .await;
    let events = Api::<Event>::default_namespaced(client);
    eventually("an event names the import", async || {
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let messages: Vec<_> = events.items.into_iter().filter_map(|e| e.message).collect();
        let named = messages.iter().any(|m| m.contains("fermyon:spin/variable@2.0.0"));
        if named { Ok(()) } else { Err(messages.join("\n")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_announced_where_tools_look() {
    let cluster = cluster(&[]).await;
    push(&cluster, "examples/hello/hello.wasm", "hello:v1").await;
    let client = cluster.client().await.unwrap();
    let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client, "kube-public");
    let hosting = maps.get("local-registry-hosting").await.unwrap().data.unwrap();
    let hosting: Value = serde_yaml::from_str(&hosting["localRegistryHosting.v1"]).unwrap();
    assert_eq!(hosting["host"], cluster.addresses.registry.as_str());
}
