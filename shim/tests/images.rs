//! Images from a registry: pulled, run, found after a restart, removed.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry::artifact::Artifact;
use registry::client::{Auth, Client, Options};
use registry::server::{Authenticator, router};
use registry::store::Repositories;
use registry::{ContentStore, Reference};
use shim::cri::{ContainerConfig, Image, Runtime, RuntimeError};
use shim::network::Switch;
use shim::runtime::{Config, Shim};
use support::{guest, named, pod};
use tokio::task::JoinSet;

/// Lets everyone write.
struct Open;

impl Authenticator for Open {
    fn may_write(&self, _: &str, _: &str) -> bool {
        true
    }
}

/// A registry on loopback with one artifact, `tools/toolbox:v1`.
struct Registry {
    host: String,
    _serving: JoinSet<()>,
}

impl Registry {
    async fn start(folder: &Path) -> Self {
        let repositories = Repositories::open(folder.join("registry")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, router(repositories, Arc::new(Open), http::uri::Scheme::HTTP))
                .await
                .unwrap();
        });
        let registry = Self { host, _serving: serving };
        registry.push().await;
        registry
    }

    async fn push(&self) {
        let artifact = Artifact::build(guest("tests/guests/toolbox.wasm").into()).unwrap();
        let reference: Reference = format!("{}/tools/toolbox:v1", self.host).parse().unwrap();
        let auth = Auth::Basic { username: "anyone".into(), password: "secret".into() };
        let client = Client::new(Options::default());
        client.push(&reference, &auth, &artifact, Arc::new(|_| {})).await.unwrap();
    }

    fn shim(&self, folder: &Path) -> Shim {
        let images = shim::images::Config {
            unqualified_registries: vec![self.host.clone()],
            client: Options::default(),
        };
        let data_dir = folder.join("node");
        Shim::new(Config { data_dir, switch: Switch::default(), images }).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_run_and_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let full = format!("{}/tools/toolbox:v1", registry.host);
    let shim = registry.shim(folder.path());

    let id = shim.pull_image("tools/toolbox:v1", None).await.unwrap();
    let sandbox = shim.run_pod_sandbox(pod("web", folder.path())).await.unwrap();
    let config = ContainerConfig {
        image: id.clone(),
        args: vec!["env".into()],
        ..named("c", ContainerConfig::default())
    };
    let container = shim.create_container(&sandbox, config).await.unwrap();
    shim.start_container(&container).await.unwrap();
    shim.container_ended(&container).cancelled().await;
    shim.shutdown().await;
    drop(shim);

    let shim = registry.shim(folder.path());
    let digest = format!("{}/tools/toolbox@{}", registry.host, id.0);
    for name in ["tools/toolbox:v1", &full, &digest, &id.0] {
        let Image { id: found, repo_tags, repo_digests, .. } = shim.image_status(name).unwrap();
        assert_eq!(found, id, "{name}");
        assert_eq!(repo_tags, std::slice::from_ref(&full));
        assert_eq!(repo_digests, std::slice::from_ref(&digest));
    }
    assert_eq!(shim.pull_image(&digest, None).await.unwrap(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_one_image_at_once_agree() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let shim = registry.shim(folder.path());

    let pulls = (0..8).map(|_| shim.pull_image("tools/toolbox:v1", None));
    let pulled = futures::future::join_all(pulls).await;

    let first = pulled[0].as_ref().unwrap();
    assert!(pulled.iter().all(|id| id.as_ref().unwrap() == first));
    assert_eq!(shim.list_images().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_named_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let shim = registry.shim(folder.path());

    let missing = shim.pull_image("tools/toolbox:v2", None).await.unwrap_err();

    let RuntimeError::Pull { image, why } = missing else { panic!("{missing}") };
    assert_eq!(image, format!("{}/tools/toolbox:v2", registry.host));
    assert!(why.contains("not found"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_image_leaves_neither_blobs_nor_compiled_code() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let shim = registry.shim(folder.path());
    let id = shim.pull_image("tools/toolbox:v1", None).await.unwrap();
    let sandbox = shim.run_pod_sandbox(pod("web", folder.path())).await.unwrap();
    let config = ContainerConfig { image: id, ..named("c", ContainerConfig::default()) };
    shim.create_container(&sandbox, config).await.unwrap();
    let compiled = || std::fs::read_dir(folder.path().join("node/compiled")).unwrap().count();
    assert_eq!(compiled(), 2);

    shim.remove_image("tools/toolbox:v1").await.unwrap();

    assert_eq!(compiled(), 0);
    assert_eq!(shim.image_status("tools/toolbox:v1"), None);
    let store = ContentStore::open(folder.path().join("node/images")).unwrap();
    assert_eq!(store.blobs().unwrap(), []);
    shim.remove_image("tools/toolbox:v1").await.unwrap();
}

/// Changes a byte of the largest blob of a store, which is the program; answers its file.
fn damage(store: &Path) -> PathBuf {
    let store = ContentStore::open(store).unwrap();
    let largest = store.blobs().unwrap().into_iter().max_by_key(|blob| blob.size).unwrap();
    let file = store.blob_path(&largest.digest);
    let mut content = std::fs::read(&file).unwrap();
    content[100] ^= 1;
    std::fs::write(&file, content).unwrap();
    // The clock of a file system may tick more slowly than we pull.
    let changed = std::fs::File::options().write(true).open(&file).unwrap();
    changed.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_program_is_not_blamed_on_its_image_and_is_pulled_again() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).await;
    let shim = registry.shim(folder.path());
    let sandbox = shim.run_pod_sandbox(pod("web", folder.path())).await.unwrap();
    let create = async |image| {
        let config = ContainerConfig { image, ..named("c", ContainerConfig::default()) };
        shim.create_container(&sandbox, config).await
    };
    let pull = || shim.pull_image("tools/toolbox:v1", None);
    let id = pull().await.unwrap();
    let file = damage(&folder.path().join("node/images"));
    let path = file.to_str().unwrap();

    let refused = create(id).await.unwrap_err();

    let RuntimeError::FailedPrecondition(why) = &refused else { panic!("{refused:?}") };
    assert!(why.contains(path), "{why}");
    assert!(!file.exists());
    assert_eq!(shim.image_status("tools/toolbox:v1"), None);

    let id = pull().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    create(id).await.unwrap_err();
    damage(&folder.path().join("registry"));
    let lost = pull().await.unwrap_err();
    let RuntimeError::Pull { why, .. } = &lost else { panic!("{lost:?}") };
    assert!(why.contains(path) && why.contains("push the image again"), "{why}");

    registry.push().await;
    create(pull().await.unwrap()).await.unwrap();
}
