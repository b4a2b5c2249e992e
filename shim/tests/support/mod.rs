//! A runtime over temporary folders, and the guests of the repository.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use shim::cri::{
    ContainerConfig, ContainerState, Exit, Id, ImageRef, PodSandboxConfig, PodSandboxMetadata,
    Runtime,
};
use shim::network::{Body, Peer, Request, Response, Switch};
use shim::runtime::{Config, Shim};
use tempfile::TempDir;

/// How long a test waits for what must happen: longer than any slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The bytes of a guest, by its path from the root of the repository.
pub fn guest(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A runtime with one sandbox.
pub struct Node {
    pub shim: Shim,
    pub switch: Switch,
    pub folder: TempDir,
    pub sandbox: Id,
}

impl Node {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let switch = Switch::default();
        let shim = shim_in(folder.path(), &switch);
        let sandbox = shim.run_pod_sandbox(pod("web", folder.path())).await.unwrap();
        Self { shim, switch, folder, sandbox }
    }

    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// Creates and starts a container.
    pub async fn run(&self, image: &ImageRef, config: ContainerConfig) -> Id {
        let config = ContainerConfig { image: image.clone(), ..config };
        let id = self.shim.create_container(&self.sandbox, config).await.unwrap();
        self.shim.start_container(&id).await.unwrap();
        id
    }

    /// Runs the toolbox with these words to its end.
    pub async fn toolbox(&self, words: &[&str], config: ContainerConfig) -> (Id, Exit) {
        let image = self.import("tests/guests/toolbox.wasm").await;
        let args = words.iter().map(|word| (*word).to_owned()).collect();
        let id = self.run(&image, ContainerConfig { args, ..named("tool", config) }).await;
        let exit = self.exit(&id).await;
        (id, exit)
    }

    pub async fn import(&self, path: &str) -> ImageRef {
        self.shim.images().import(path, guest(path).into()).await.unwrap()
    }

    /// How a container ended.
    pub async fn exit(&self, id: &Id) -> Exit {
        let ended = self.shim.container_ended(id);
        tokio::time::timeout(PATIENCE, ended.cancelled()).await.expect("the guest does not end");
        match self.shim.container_status(id).unwrap().state {
            ContainerState::Exited { exit, .. } => exit,
            other => panic!("{other:?}"),
        }
    }

    /// Everything a container has written.
    pub async fn log(&self, id: &Id) -> String {
        use futures::TryStreamExt;
        let path = self.shim.container_status(id).unwrap().log_path;
        let text = shim::logs::read(&path, shim::logs::Options::default()).await.unwrap();
        let text: Vec<Bytes> = text.try_collect().await.unwrap();
        String::from_utf8(text.concat()).unwrap()
    }

    /// Sends a request to port 8080 of the sandbox.
    pub async fn send(&self, request: http::Request<Body>) -> Response {
        let ip = self.shim.pod_sandbox_status(&self.sandbox).unwrap().ip.unwrap();
        let source = (self.switch.node_ip(), 40_000).into();
        let sent = self.switch.request((ip, 8080).into(), request, Peer { source });
        let answer = tokio::time::timeout(PATIENCE, sent).await.expect("no answer");
        answer.unwrap_or_else(|refused| panic!("refused: {:?}", refused.reason))
    }

    /// Status and text of a GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        text(self.send(request(path, "")).await).await
    }
}

pub fn shim_in(folder: &Path, switch: &Switch) -> Shim {
    let config = Config {
        data_dir: folder.join("node"),
        switch: switch.clone(),
        images: shim::images::Config::default(),
    };
    Shim::new(config).unwrap()
}

pub fn pod(name: &str, folder: &Path) -> PodSandboxConfig {
    let metadata = PodSandboxMetadata {
        name: name.into(),
        namespace: "default".into(),
        uid: format!("uid-of-{name}"),
        attempt: 0,
    };
    PodSandboxConfig {
        metadata,
        hostname: name.into(),
        log_directory: folder.join("logs").join(name),
        ..PodSandboxConfig::default()
    }
}

/// The configuration under a name, with a log of that name.
pub fn named(name: &str, config: ContainerConfig) -> ContainerConfig {
    let attempt = config.attempt;
    ContainerConfig {
        name: name.into(),
        log_path: format!("{name}/{attempt}.log").into(),
        ..config
    }
}

pub fn request(path: &str, body: &str) -> Request {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {});
    http::Request::builder()
        .method(if path.starts_with("/post") { "POST" } else { "GET" })
        .uri(format!("http://web.default:8080{path}"))
        .body(body.boxed_unsync())
        .unwrap()
}

pub async fn text(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect());
    let body = body.await.expect("the body does not end").unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
