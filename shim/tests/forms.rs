//! Every form in which Wasm is packed, from a registry to a running guest.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Scheme;
use registry::Digest;
use registry::artifact::{
    CONTENT_LAYER, DOCKER_CONFIG, MODULE_LAYER, OCI_CONFIG, RUNWASI_COMPONENT, RUNWASI_MODULE,
    SPIN_BUNDLE, SPIN_CONFIG,
};
use registry::manifest::{DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST};
use registry::server::{Authenticator, router};
use registry::store::{ManifestName, Repositories};
use serde_json::{Value, json};
use shim::cri::{ContainerConfig, Exit, ImageRef, Mount, Runtime, RuntimeError};
use shim::network::Switch;
use shim::runtime::{Config, Shim};
use support::{Node, guest, named, pod};
use tempfile::TempDir;
use tokio::task::JoinSet;

const TOOLBOX: &str = "tests/guests/toolbox.wasm";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Lets nobody write: the tests put into the store themselves.
struct Closed;

impl Authenticator for Closed {
    fn may_write(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// A registry on loopback and a node that pulls from it.
struct Setting {
    node: Node,
    repositories: Repositories,
    host: String,
    _serving: JoinSet<()>,
}

impl Setting {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(folder.path().join("registry")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let service = router(repositories.clone(), Arc::new(Closed), Scheme::HTTP);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, service).await.unwrap() });
        let node = node(folder, &host).await;
        Self { node, repositories, host, _serving: serving }
    }

    async fn blob(&self, media_type: &str, content: impl Into<Bytes>) -> Value {
        let content = content.into();
        let size = content.len();
        let digest = self.repositories.content().put(content).await.unwrap();
        self.repositories.link_blob(&"images/app".parse().unwrap(), &digest).await.unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    async fn manifest(&self, tag: &str, media_type: &str, document: Value) -> Digest {
        let name = ManifestName::Tag(tag.parse().unwrap());
        let (repository, bytes) = ("images/app".parse().unwrap(), document.to_string());
        let put =
            self.repositories.put_manifest(&repository, &name, Some(media_type), bytes.into());
        put.await.unwrap().digest
    }

    /// Pushes an image of these layers under a tag.
    async fn push(&self, tag: &str, config: (&str, Value), layers: &[(&str, Vec<u8>)]) -> Digest {
        let mut descriptors = Vec::new();
        for (media_type, content) in layers {
            descriptors.push(self.blob(media_type, content.clone()).await);
        }
        let media_type = if config.0 == DOCKER_CONFIG { DOCKER_MANIFEST } else { IMAGE_MANIFEST };
        let config = self.blob(config.0, config.1.to_string()).await;
        let document = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors,
        });
        self.manifest(tag, media_type, document).await
    }

    async fn pull(&self, tag: &str) -> Result<ImageRef, RuntimeError> {
        self.node.shim.pull_image(&format!("{}/images/app:{tag}", self.host), None).await
    }

    /// Pulls an image and runs it to its end.
    async fn run(&self, tag: &str, config: ContainerConfig) -> (Exit, String) {
        let image = self.pull(tag).await.unwrap();
        let id = self.node.run(&image, named(tag, config)).await;
        let exit = self.node.exit(&id).await;
        (exit, self.node.log(&id).await)
    }

    /// What the guest of an image printed that ended well.
    async fn printed(&self, tag: &str, args: &[&str]) -> String {
        let (exit, log) = self.run(tag, arguments(args)).await;
        assert_eq!(exit.code, 0, "{tag}: {log}");
        log
    }
}

async fn node(folder: TempDir, host: &str) -> Node {
    let switch = Switch::default();
    let images = shim::images::Config {
        unqualified_registries: vec![host.to_owned()],
        ..shim::images::Config::default()
    };
    let config = Config { data_dir: folder.path().join("node"), switch: switch.clone(), images };
    let shim = Shim::new(config).unwrap();
    let sandbox = shim.run_pod_sandbox(pod("web", folder.path())).await.unwrap();
    Node { shim, switch, folder, sandbox }
}

fn arguments(args: &[&str]) -> ContainerConfig {
    let args = args.iter().map(|&word| word.to_owned()).collect();
    ContainerConfig { args, ..ContainerConfig::default() }
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A configuration as docker writes it.
fn image(platform: &str, entrypoint: &[&str], cmd: &[&str]) -> Value {
    let (os, architecture) = platform.split_once('/').unwrap();
    json!({
        "os": os, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []},
        "config": {
            "Entrypoint": entrypoint, "Cmd": cmd, "Env": ["PATH=/bin", "FROM=image"],
            "WorkingDir": "/etc", "User": "1000",
        },
    })
}

/// An image of three layers: the guest, a file, and a file over it.
async fn push_rootfs(setting: &Setting, tag: &str, platform: &str) {
    let toolbox = guest(TOOLBOX);
    let zstd = ruzstd::encoding::compress_to_vec(
        tar(&[("etc/motd", b"from above\n"), ("etc/.wh.gone", b"")]).as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let layers = [
        (TAR_GZIP, gzip(&tar(&[("bin/toolbox.wasm", &toolbox), ("bin/second.wasm", &toolbox)]))),
        (TAR, tar(&[("etc/motd", b"from below\n"), ("etc/gone", b"x")])),
        ("application/vnd.oci.image.layer.v1.tar+zstd", zstd),
    ];
    let config = image(platform, &["/bin/toolbox.wasm"], &["cat", "/etc/motd"]);
    setting.push(tag, (OCI_CONFIG, config), &layers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_tar_layers_runs_over_its_root_file_system() {
    let setting = Setting::new().await;
    for (tag, platform) in [("wasi", "wasi/wasm"), ("p1", "wasip1/wasm"), ("any", "linux/amd64")] {
        push_rootfs(&setting, tag, platform).await;
        assert!(setting.printed(tag, &[]).await.contains("from above"), "{tag}");
    }
    let command = |command: &[&str]| ContainerConfig {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        ..ContainerConfig::default()
    };
    let (exit, log) =
        setting.run("wasi", command(&["/bin/toolbox.wasm", "cat", "/etc/gone"])).await;
    assert_ne!(exit.code, 0, "{log}");
    // The container's arguments stand in the place of the image's.
    assert!(setting.printed("wasi", &["env"]).await.contains("FROM=image"));
    let (_, log) = setting.run("wasi", command(&["second.wasm", "env"])).await;
    for wanted in ["FROM=image", "PWD=/etc"] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    let image = setting.pull("wasi").await.unwrap();
    let config = ContainerConfig { image, ..named("bad", command(&["/bin/sh"])) };
    let refused = setting.node.shim.create_container(&setting.node.sandbox, config).await;
    let Err(RuntimeError::NotRunnable { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("\"/bin/sh\": executable file not found"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_container_writes_into_a_root_of_its_own_if_it_may() {
    let setting = Setting::new().await;
    push_rootfs(&setting, "v1", "wasi/wasm").await;
    let (exit, log) = setting.run("v1", write("/etc/motd")).await;
    assert_eq!(exit.code, 0, "{log}");
    assert!(setting.printed("v1", &[]).await.contains("from above"));

    let readonly = ContainerConfig { readonly_rootfs: true, ..write("/etc/motd") };
    let (exit, log) = setting.run("v1", readonly).await;
    assert_ne!(exit.code, 0, "{log}");
    let readonly = ContainerConfig { readonly_rootfs: true, ..ContainerConfig::default() };
    let (_, log) = setting.run("v1", readonly).await;
    assert!(log.contains("from above"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_the_disk_damaged_is_pulled_again_before_it_is_unpacked() {
    let setting = Setting::new().await;
    push_rootfs(&setting, "v1", "wasi/wasm").await;
    setting.pull("v1").await.unwrap();
    let images = setting.node.folder.path().join("node/images");
    let unpacked = std::fs::read_dir(images.join("rootfs")).unwrap().next().unwrap().unwrap();
    std::fs::remove_dir_all(unpacked.path()).unwrap();
    let store = registry::ContentStore::open(&images).unwrap();
    for blob in store.blobs().unwrap() {
        let file = store.blob_path(&blob.digest);
        let mut content = std::fs::read(&file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(&file, content).unwrap();
    }
    assert!(setting.printed("v1", &[]).await.contains("from above"));
}

fn write(path: &str) -> ContainerConfig {
    let command = ["/bin/toolbox.wasm", "write", path, "mine"];
    let command = command.iter().map(|&word| word.to_owned()).collect();
    ContainerConfig { command, ..ContainerConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mounted_lies_over_the_root_file_system() {
    let setting = Setting::new().await;
    push_rootfs(&setting, "v1", "wasi/wasm").await;
    let host = setting.node.folder.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("motd"), "from the volume").unwrap();
    let mounted = |container: &str, host: &std::path::Path| ContainerConfig {
        mounts: vec![Mount {
            container_path: container.to_owned(),
            host_path: host.to_owned(),
            within: host.to_owned(),
            readonly: false,
        }],
        ..ContainerConfig::default()
    };
    let (_, log) = setting.run("v1", mounted("/etc", &host)).await;
    assert!(log.contains("from the volume"), "{log}");
    let (_, log) = setting.run("v1", mounted("/etc/motd", &host.join("motd"))).await;
    assert!(log.contains("from the volume"), "{log}");
    let (exit, log) = setting
        .run("v1", ContainerConfig { mounts: mounted("/data", &host).mounts, ..write("/data/new") })
        .await;
    assert_eq!(exit.code, 0, "{log}");
    assert_eq!(std::fs::read_to_string(host.join("new")).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_file_system_stays_for_who_uses_it_and_goes_with_its_image() {
    let setting = Setting::new().await;
    push_rootfs(&setting, "v1", "wasi/wasm").await;
    let image = setting.pull("v1").await.unwrap();
    let unpacked = setting.node.folder.path().join("node/images/rootfs");
    let count = || std::fs::read_dir(&unpacked).unwrap().count();
    let config = ContainerConfig { readonly_rootfs: true, image, ..arguments(&[]) };
    let created = setting.node.shim.create_container(&setting.node.sandbox, named("c", config));
    let container = created.await.unwrap();
    assert_eq!(count(), 1);

    setting.node.shim.remove_image(&format!("{}/images/app:v1", setting.host)).await.unwrap();
    assert_eq!(count(), 1, "taken from under a container");
    setting.node.shim.remove_container(&container).await.unwrap();

    setting.pull("v1").await.unwrap();
    setting.node.shim.remove_image("images/app:v1").await.unwrap();
    assert_eq!(count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_leads_out_of_its_folder_is_refused() {
    let setting = Setting::new().await;
    let config = image("wasi/wasm", &["/app.wasm"], &[]);
    let layers = [(TAR, tar(&[("../../escaped", b"x")]))];
    setting.push("evil", (OCI_CONFIG, config), &layers).await;
    let refused = setting.pull("evil").await;
    let Err(RuntimeError::NotRunnable { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("leads out of the image"), "{why}");
    assert!(!setting.node.folder.path().join("node/escaped").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_images_and_indexes_are_taken() {
    let setting = Setting::new().await;
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layers = [(docker, gzip(&tar(&[("./app.wasm", &guest(TOOLBOX))])))];
    let config = image("wasi/wasm", &["app.wasm"], &["env"]);
    let wasm = setting.push("docker", (DOCKER_CONFIG, config), &layers).await;
    assert!(setting.printed("docker", &[]).await.contains("FROM=image"));

    let entry = |digest: &Digest, os: &str, architecture: &str| {
        let size = setting.repositories.content().size(digest).unwrap();
        json!({"mediaType": DOCKER_MANIFEST, "digest": digest, "size": size,
            "platform": {"os": os, "architecture": architecture}})
    };
    let native = [(docker, gzip(&tar(&[("bin/sh", b"\x7fELF")])))];
    let config = image("linux/amd64", &["/bin/sh"], &[]);
    let linux = setting.push("linux", (DOCKER_CONFIG, config), &native).await;
    let index = |manifests: Value| json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests});
    let both = json!([entry(&linux, "linux", "amd64"), entry(&wasm, "wasi", "wasm")]);
    setting.manifest("both", IMAGE_INDEX, index(both)).await;
    assert!(setting.printed("both", &[]).await.contains("FROM=image"));
    let natives = json!([entry(&linux, "linux", "amd64"), entry(&linux, "linux", "arm64")]);
    setting.manifest("natives", IMAGE_INDEX, index(natives)).await;
    let refused = setting.pull("natives").await.unwrap_err().to_string();
    assert!(refused.contains("only linux/amd64, linux/arm64"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_wasm_layers_run_under_every_media_type() {
    let setting = Setting::new().await;
    let config = image("wasip1/wasm", &["/toolbox"], &["env"]);
    for (tag, layer, config) in [
        ("component", RUNWASI_COMPONENT, (OCI_CONFIG, config.clone())),
        ("module", RUNWASI_MODULE, (OCI_CONFIG, config)),
        ("older", MODULE_LAYER, ("application/vnd.wasm.config.v1+json", json!({}))),
        ("oldest", CONTENT_LAYER, ("application/vnd.oci.empty.v1+json", json!({}))),
    ] {
        setting.push(tag, config, &[(layer, guest(TOOLBOX))]).await;
        assert!(setting.printed(tag, &["env"]).await.contains("HOSTNAME=web"), "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spin_application_of_one_component_runs_with_its_files_and_variables() {
    const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
    let setting = Setting::new().await;
    let (toolbox, page) = (guest(TOOLBOX), b"<p>a page</p>".to_vec());
    let files = json!([
        {"path": "/static/page.html", "digest": Digest::of(&page)},
        {"path": "bundled.txt", "digest": Digest::of(b"bundled")},
        {"path": "/inline.txt", "inline": "aW5saW5l"},
    ]);
    let web = component("web", &toolbox, json!({"MODE": "spin"}), files);
    let lock = json!({"spin_lock_version": 1, "components": [web]});
    let layers = [
        (CONTENT_LAYER, toolbox.clone()),
        (DATA, page.clone()),
        (SPIN_BUNDLE, gzip(&tar(&[("whatever", b"bundled")]))),
    ];
    setting.push("v1", (SPIN_CONFIG, lock), &layers).await;
    for (file, wanted) in
        [("/static/page.html", "a page"), ("/bundled.txt", "bundled"), ("/inline.txt", "inline")]
    {
        assert!(setting.printed("v1", &["cat", file]).await.contains(wanted), "{file}");
    }
    assert!(setting.printed("v1", &["env"]).await.contains("MODE=spin"));
}

/// A component of a Spin application, and the trigger that leads to it.
fn component(id: &str, wasm: &[u8], env: Value, files: Value) -> Value {
    let source = json!({"content_type": "application/wasm", "digest": Digest::of(wasm)});
    json!({"id": id, "source": source, "env": env, "files": files})
}

fn trigger(component: &str, route: &str) -> Value {
    let config = json!({"component": component, "route": route, "executor": {"type": "http"}});
    json!({"id": format!("trigger-{route}"), "trigger_type": "http", "trigger_config": config})
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_a_spin_application_get_the_requests_of_their_routes() {
    let setting = Setting::new().await;
    let (page, prober) = (guest("tests/guests/page.wasm"), guest("tests/guests/prober.wasm"));
    let file = json!([{"path": "/motd.txt", "inline": "b2YgdGhlIHNpdGU="}]);
    let mut private = trigger("inner", "");
    private["trigger_config"]["route"] = json!({"private": true});
    let lock = json!({
        "spin_lock_version": 1,
        "triggers": [
            trigger("site", "/a/..."), trigger("other", "/b"), trigger("site", "/users/:id"),
            trigger("probe", "/count"), trigger("probe", "/fetch"), private,
        ],
        "components": [
            component("site", &page, json!({"MODE": "site", "COLOR": "own"}), file),
            component("other", &page, json!({"MODE": "other"}), json!([])),
            component("probe", &prober, json!({}), json!([])),
            component("inner", &page, json!({"MODE": "inner"}), json!([])),
            {"id": "unused", "source": {"digest": Digest::of(b"nowhere")}},
        ],
    });
    let layers = [(CONTENT_LAYER, page), (CONTENT_LAYER, prober)];
    setting.push("app", (SPIN_CONFIG, lock), &layers).await;
    let image = setting.pull("app").await.unwrap();
    let config = ContainerConfig {
        envs: vec![("COLOR".into(), "pod".into())],
        reuse: std::num::NonZeroU64::new(100),
        ..ContainerConfig::default()
    };
    let node = &setting.node;
    let id = node.run(&image, named("app", config)).await;

    let (status, said) = node.get("/a/x/?motd.txt").await;
    assert_eq!(status, 200);
    for line in [
        "/a/x/?motd.txt",
        "MODE=site",
        "COLOR=pod",
        "of the site",
        "spin-path-info: /x/",
        "spin-component-route: /a",
        "spin-raw-component-route: /a/...",
        "spin-full-url: http://web.default:8080/a/x/?motd.txt",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let (_, said) = node.get("/b?motd.txt").await;
    assert!(said.contains("MODE=other") && said.contains("no such file"), "{said}");
    let (_, said) = node.get("/users/42").await;
    assert!(said.contains("MODE=site\n") && said.contains("spin-path-match-id: 42"), "{said}");
    assert_eq!(node.get("/count").await, (200, "1\n".into()));
    assert_eq!(node.get("/b/c").await.0, 404);
    assert_eq!(node.get("/.well-known/spin/health").await.0, 200);

    let status = node.shim.container_status(&id).unwrap();
    assert!(status.function);
    assert_eq!(status.own_files.len(), 1);
    let answered = |wanted: u64| {
        let (shim, id) = (&node.shim, &id);
        support::eventually("those that guests answered are counted", move || {
            shim.container_stats(id).unwrap().requests == wanted
        })
    };
    answered(4).await;
    // Each component goes on in its own instances.
    for count in 2..5 {
        assert!(node.get("/b").await.1.contains("MODE=other"));
        assert_eq!(node.get("/count").await, (200, format!("{count}\n")));
        answered(2 * count + 2).await;
    }

    let (status, said) = node.get("/fetch?inner.spin.internal/x/y").await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("MODE=inner\n") && said.contains("spin-path-info: /x/y\n"), "{said}");
    assert_eq!(node.get("/fetch?nobody.spin.internal/").await.0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_cannot_run_is_refused_by_its_id() {
    let setting = Setting::new().await;
    let (prober, toolbox) = (guest("tests/guests/prober.wasm"), guest(TOOLBOX));
    let mut foreign = prober.clone();
    let (from, to) = (b"wasi:cli/environment@0.2.12", b"fermyon:spin/variable@2.0.0");
    let at = foreign.windows(from.len()).position(|window| window == from).unwrap();
    foreign[at..at + to.len()].copy_from_slice(to);
    for (tag, wasm, route, wanted) in [
        ("import", foreign, "/b", "component b: it imports fermyon:spin/variable@2.0.0"),
        ("program", toolbox, "/b", "component b: requests cannot reach it"),
        ("route", prober.clone(), "/.../b", r#"component b: its route "/.../b" has"#),
    ] {
        let lock = json!({
            "triggers": [trigger("a", "/a"), trigger("b", route)],
            "components": [
                component("a", &prober, json!({}), json!([])),
                component("b", &wasm, json!({}), json!([])),
            ],
        });
        let layers = [(CONTENT_LAYER, prober.clone()), (CONTENT_LAYER, wasm)];
        setting.push(tag, (SPIN_CONFIG, lock), &layers).await;
        let image = setting.pull(tag).await.unwrap();
        let config = ContainerConfig { image, ..named(tag, ContainerConfig::default()) };
        let refused = setting.node.shim.create_container(&setting.node.sandbox, config).await;
        let Err(RuntimeError::NotRunnable { why, .. }) = refused else { panic!("{refused:?}") };
        assert!(why.contains(wanted), "{why}");
    }
}

/// The toolbox, built for another release of WASI 0.2: a name of the same length in its place.
fn toolbox_of(version: &str) -> Vec<u8> {
    let (from, mut wasm) = (b"@0.2.12", guest(TOOLBOX));
    let places: Vec<usize> =
        wasm.windows(from.len()).enumerate().filter(|(_, w)| w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty() && version.len() == from.len());
    for at in places {
        wasm[at..at + version.len()].copy_from_slice(version.as_bytes());
    }
    wasm
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_later_and_earlier_releases_of_wasi_run() {
    let setting = Setting::new().await;
    for (tag, version) in [("earlier", "@0.2.10"), ("later", "@0.2.99")] {
        let layers = [(CONTENT_LAYER, toolbox_of(version))];
        setting.push(tag, ("application/vnd.oci.empty.v1+json", json!({})), &layers).await;
        assert!(setting.printed(tag, &["env"]).await.contains("HOSTNAME=web"), "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_does_not_offer_is_refused_by_name() {
    let setting = Setting::new().await;
    let mut spin = guest(TOOLBOX);
    let (from, to) = (b"wasi:cli/environment@0.2.12", b"fermyon:spin/variable@2.0.0");
    let at = spin.windows(from.len()).position(|window| window == from).unwrap();
    spin[at..at + to.len()].copy_from_slice(to);
    for (tag, wasm, wanted) in [
        ("spin", spin, "imports fermyon:spin/variable@2.0.0"),
        ("newer", toolbox_of("@0.3.00"), "wasi:cli/run@0.3.00"),
    ] {
        let layers = [(CONTENT_LAYER, wasm)];
        setting.push(tag, ("application/vnd.oci.empty.v1+json", json!({})), &layers).await;
        let image = setting.pull(tag).await.unwrap();
        let config = ContainerConfig { image, ..named(tag, ContainerConfig::default()) };
        let refused = setting.node.shim.create_container(&setting.node.sandbox, config).await;
        let Err(RuntimeError::NotRunnable { why, .. }) = refused else { panic!("{refused:?}") };
        assert!(why.contains(wanted), "{why}");
    }
}
