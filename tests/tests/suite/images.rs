//! Images that other tools pack and push, in a whole cluster.
use crate::support::{cluster, create, get, push, rolled_out, served, web};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::Api;
use kube::api::ListParams;
use podium_tests::{Cluster, Tool, eventually, file};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SPIN: &str = "application/vnd.fermyon.spin.application.v1+config";
const CONTENT: &str = "application/vnd.wasm.content.layer.v1+wasm";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image layout, as builders leave it on disk.
struct Layout(tempfile::TempDir);

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .unwrap();
        Self(folder)
    }

    fn put(&self, media_type: &str, content: &[u8]) -> Value {
        let hex = hex::encode(Sha256::digest(content));
        std::fs::write(self.0.path().join("blobs/sha256").join(&hex), content).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()})
    }

    /// Makes it an image, `v1`.
    fn finish(&self, config: Value, layers: Vec<Value>) {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        let mut entry = self.put(MANIFEST, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
    }

    fn source(&self) -> String {
        format!("oci:{}:v1", self.0.path().display())
    }
}

/// An image whose one layer has these files.
fn rootfs(config: &Value, files: &[(&str, &[u8])]) -> Layout {
    let mut layer = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        layer.append_data(&mut header, name, *content).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let diff = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let mut config = config.clone();
    config["rootfs"] = json!({"type": "layers", "diff_ids": [diff]});
    let layout = Layout::new();
    let config = layout.put(CONFIG, config.to_string().as_bytes());
    layout.finish(config, vec![layout.put(TAR, &layer)]);
    layout
}

/// A Spin application of components with an id, a file, a route and files of their own.
fn spin(components: &[(&str, &[u8], &str, Value)]) -> Layout {
    let layout = Layout::new();
    let layers = components.iter().map(|(_, wasm, ..)| layout.put(CONTENT, wasm));
    let layers: Vec<Value> = layers.collect();
    let parts = components.iter().zip(&layers).map(|((id, _, _, files), layer)| {
        let source = json!({"content_type": "application/wasm", "digest": layer["digest"]});
        json!({"id": id, "source": source, "env": {"MODE": id, "COLOR": "own"}, "files": files})
    });
    let triggers = components.iter().map(|(id, _, route, _)| {
        let config = json!({"component": id, "route": route, "executor": null});
        json!({"id": format!("trigger--{id}"), "trigger_type": "http", "trigger_config": config})
    });
    let lock = json!({
        "spin_lock_version": 1,
        "metadata": {"name": "app", "trigger": {"type": "http", "base": "/"}},
        "triggers": triggers.collect::<Vec<_>>(), "components": parts.collect::<Vec<_>>(),
    });
    let config = layout.put(SPIN, lock.to_string().as_bytes());
    layout.finish(config, layers);
    layout
}

/// Copies an image into the cluster's registry.
async fn copy(cluster: &Cluster, skopeo: &Tool, layout: &Layout, reference: &str) {
    let token = cluster.podium().run(&["kubeconfig", "token"]).await;
    let credentials = format!("anyone:{}", token.trim());
    let remote = format!("docker://{}/{reference}", cluster.addresses.registry);
    let source = layout.source();
    let push = ["copy", "--dest-tls-verify=false", "--dest-creds", &credentials, &source, &remote];
    skopeo.run(&push).await;
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
    let toolbox = std::fs::read(file("tests/guests/toolbox.wasm")).unwrap();
    let config = json!({
        "os": "wasi", "architecture": "wasm",
        "config": {"Entrypoint": ["/toolbox.wasm"], "Cmd": ["cat", "/etc/motd"]},
    });
    let files = [("toolbox.wasm", toolbox.as_slice()), ("etc/motd", b"of the image\n")];
    let layout = rootfs(&config, &files);
    let remote = format!("docker://{}/team/motd:v1", cluster.addresses.registry);

    let source = layout.source();
    let anonymous = ["copy", "--dest-tls-verify=false", "--dest-no-creds", &source, &remote];
    skopeo.fail(&anonymous, "").await;
    copy(&cluster, &skopeo, &layout, "team/motd:v1").await;
    let raw = ["inspect", "--raw", "--no-creds", "--tls-verify=false", &remote];
    assert!(skopeo.run(&raw).await.contains(TAR));

    let client = cluster.client().await.unwrap();
    create::<Pod>(&client, &pod("motd", "team/motd:v1")).await;
    pod_is(&cluster, "motd", "it succeeds", |status| status["phase"] == "Succeeded").await;
    let pods = Api::<Pod>::default_namespaced(client);
    assert_eq!(pods.logs("motd", &Default::default()).await.unwrap(), "of the image\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_image_has_no_files_writes_into_a_root_of_its_own() {
    let cluster = cluster(&[]).await;
    push(&cluster, "tests/guests/toolbox.wasm", "toolbox:v1").await;
    let client = cluster.client().await.unwrap();
    for (name, readonly, phase) in [("writes", false, "Succeeded"), ("may-not", true, "Failed")] {
        let mut pod = pod(name, "toolbox:v1");
        let container = &mut pod["spec"]["containers"][0];
        container["workingDir"] = json!("/data/deep");
        container["securityContext"] = json!({"readOnlyRootFilesystem": readonly});
        container["args"] = json!(["write", "/data/deep/a", "hello"]);
        create::<Pod>(&client, &pod).await;
        pod_is(&cluster, name, phase, |status| status["phase"] == phase).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spin_application_of_several_components_is_served_by_its_routes() {
    let Some(skopeo) = Tool::find("skopeo") else { return };
    let cluster = cluster(&[]).await;
    let read = |path: &str| std::fs::read(file(path)).unwrap();
    let (page, prober) = (read("tests/guests/page.wasm"), read("tests/guests/prober.wasm"));
    let files = json!([{"path": "/motd.txt", "inline": "b2YgdGhlIHNpdGU="}]);
    let app = spin(&[("site", &page, "/a/...", files), ("probe", &prober, "/b", json!([]))]);
    copy(&cluster, &skopeo, &app, "app:v1").await;
    let client = cluster.client().await.unwrap();
    let (mut deployment, service) = web("app", "app:v1", 1);
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["readinessProbe"]["httpGet"]["path"] = json!("/.well-known/spin/health");
    container["env"] = json!([{"name": "COLOR", "value": "pod"}]);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    rolled_out(&client, "app").await;

    let said = served(&cluster, "app.localhost", "/a/x?motd.txt").await;
    for line in ["MODE=site", "COLOR=pod", "of the site", "spin-path-info: /x"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert_eq!(served(&cluster, "app.localhost", "/b").await, "/b\n");
    assert_eq!(get(&cluster, "app.localhost", "/c").await.unwrap().0, 404);

    let (from, to) = (b"wasi:cli/environment@0.2.12", b"fermyon:spin/variable@2.0.0");
    let mut foreign = prober.clone();
    let at = foreign.windows(from.len()).position(|window| window == from).unwrap();
    foreign[at..at + to.len()].copy_from_slice(to);
    let app = spin(&[("site", &page, "/a/...", json!([])), ("odd", &foreign, "/b", json!([]))]);
    copy(&cluster, &skopeo, &app, "odd:v1").await;
    let odd = serde_json::from_value(pod("odd", "odd:v1")).unwrap();
    let pods = Api::<Pod>::default_namespaced(client);
    let refused = pods.create(&Default::default(), &odd).await.unwrap_err().to_string();
    let why = "component odd: it imports fermyon:spin/variable@2.0.0";
    assert!(refused.contains("spec.containers[0].image") && refused.contains(why), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_for_another_host_is_refused_by_the_imports_name() {
    let cluster = cluster(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (b"wasi:cli/environment@0.2.12", b"fermyon:spin/variable@2.0.0");
    let mut guest = std::fs::read(file("tests/guests/toolbox.wasm")).unwrap();
    let at = guest.windows(from.len()).position(|window| window == from).unwrap();
    guest[at..at + to.len()].copy_from_slice(to);
    let path = folder.path().join("spin.wasm");
    std::fs::write(&path, guest).unwrap();
    let path = path.display().to_string();

    // A Pod that was there before its image is refused where it was scheduled.
    let client = cluster.client().await.unwrap();
    let mut early = pod("spin", "spin:v1");
    early["spec"]["restartPolicy"] = json!("Always");
    create::<Pod>(&client, &early).await;
    let pushed = cluster.podium().try_run(&["push", &path, "spin:v1"], "").await;
    assert!(pushed.success, "{pushed:?}");
    assert!(pushed.stderr.contains("warning"), "{pushed:?}");
    assert!(pushed.stderr.contains("fermyon:spin/variable@2.0.0"), "{pushed:?}");

    // Those that come later are not even made.
    let (deployment, _) = web("late", "spin:v1", 1);
    create::<Deployment>(&client, &deployment).await;
    let events = Api::<Event>::default_namespaced(client);
    eventually("an event of the ReplicaSet names the import", async || {
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let failed = events.items.iter().filter(|e| e.reason.as_deref() == Some("FailedCreate"));
        let messages: Vec<_> = failed.filter_map(|e| e.message.clone()).collect();
        let named = messages.iter().any(|m| m.contains("fermyon:spin/variable@2.0.0"));
        if named { Ok(()) } else { Err(messages.join("\n")) }
    })
    .await;
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
