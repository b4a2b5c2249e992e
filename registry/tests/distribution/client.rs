//! Our client against our server over a listener: round trips, and each failure by its name.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use registry::artifact::{Artifact, ArtifactError, Form, WASM_CONFIG, WASM_LAYER};
use registry::client::{Auth, Client, ClientError, Options, Progress};
use registry::manifest::{IMAGE_INDEX, IMAGE_MANIFEST};
use registry::{ContentStore, Digest, Reference};
use serde_json::{Value, json};

use crate::support::{Registry, descriptor, manifest, writer};

/// A module of a little over a MiB: its one section is custom and holds nothing.
fn module() -> Bytes {
    let mut file = b"\0asm\x01\0\0\0".to_vec();
    let padding = 1 << 20;
    file.push(0);
    // 2^20 + 2 in LEB128: a name of length one, and padding.
    file.extend([0x82, 0x80, 0x40]);
    file.extend([1, b'x']);
    file.resize(file.len() + padding, 0);
    file.into()
}

fn silent() -> Progress {
    Arc::new(|_| {})
}

struct Setting {
    registry: Registry,
    host: String,
    client: Client,
    store: ContentStore,
    _dir: tempfile::TempDir,
}

impl Setting {
    async fn new() -> Self {
        let registry = Registry::new();
        let host = registry.listen().await.to_string();
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path()).unwrap();
        Self { registry, host, client: Client::new(Options::default()), store, _dir: dir }
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    async fn pull(&self, rest: &str) -> Result<registry::client::Pulled, ClientError> {
        self.client.pull(&self.reference(rest), &Auth::Anonymous, &self.store).await
    }

    /// Pushes an artifact of the given media types by raw HTTP.
    async fn push_raw(&self, tag: &str, config: (&str, &[u8]), layer: (&str, &[u8])) -> Value {
        self.registry.push_blob("raw", config.1).await;
        self.registry.push_blob("raw", layer.1).await;
        let value = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
            "config": descriptor(config.0, config.1), "layers": [descriptor(layer.0, layer.1)],
        });
        let answer = self.registry.push_manifest("raw", tag, &value).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        value
    }
}

#[tokio::test]
async fn what_is_pushed_is_pulled_as_it_was() {
    let setting = Setting::new().await;
    let artifact = Artifact::build(module()).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let progress: Progress = Arc::new(move |bytes| {
        counter.fetch_add(bytes, Ordering::Relaxed);
    });
    let to = setting.reference("team/hello:v1");
    let digest = setting.client.push(&to, &writer(), &artifact, progress).await.unwrap();
    assert_eq!(digest, artifact.digest);
    assert_eq!(sent.load(Ordering::Relaxed), module().len() as u64);
    setting.client.push(&to, &writer(), &artifact, silent()).await.unwrap();

    let pulled = setting.pull("team/hello:v1").await.unwrap();

    assert_eq!((&pulled.digest, pulled.wasm.form), (&digest, Form::Cncf));
    let Some(layer) = pulled.wasm.sources().next() else { panic!("{:?}", pulled.wasm) };
    let path = setting.store.blob_path(&layer.digest);
    assert_eq!(std::fs::read(path).unwrap(), module());
    assert_eq!(setting.store.read(&digest).await.unwrap(), artifact.manifest);
    assert_eq!(pulled.size, pulled.layers.iter().map(|l| l.size).sum::<u64>());
    let by_digest = setting.pull(&format!("team/hello@{digest}")).await.unwrap();
    assert_eq!(by_digest.digest, digest);
    let now = setting.client.digest(&to, &Auth::Anonymous).await.unwrap();
    assert_eq!(now, digest);
}

#[tokio::test]
async fn the_wasm_platform_of_an_index_is_pulled() {
    let setting = Setting::new().await;
    let config = (WASM_CONFIG, b"{}".as_slice());
    let value = setting.push_raw("wasm", config, (WASM_LAYER, &module())).await.to_string();
    let mut entry = descriptor(IMAGE_MANIFEST, value.as_bytes());
    entry["platform"] = json!({"architecture": "wasm", "os": "wasip1"});
    let index = json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]});
    setting.registry.push_manifest("raw", "many", &index).await;

    let pulled = setting.pull("raw:many").await.unwrap();

    assert_eq!(pulled.digest, Digest::of(value.as_bytes()));
    assert_eq!(pulled.index, Some(Digest::of(index.to_string().as_bytes())));
}

#[tokio::test]
async fn what_the_registry_lacks_is_not_found() {
    let setting = Setting::new().await;
    let missing = setting.pull("nothing:v1").await.unwrap_err();
    assert!(matches!(missing, ClientError::ManifestUnknown { .. }), "{missing:?}");
    let layer = module();
    setting.push_raw("v1", (WASM_CONFIG, b"{}"), (WASM_LAYER, &layer)).await;
    let name = "raw".parse().unwrap();
    setting.registry.store.unlink_blob(&name, &Digest::of(&layer)).await.unwrap();
    let missing = setting.pull("raw:v1").await.unwrap_err();
    assert!(matches!(missing, ClientError::BlobUnknown { .. }), "{missing:?}");
}

#[tokio::test]
async fn pushing_without_the_right_token_is_denied() {
    let setting = Setting::new().await;
    let artifact = Artifact::build(module()).unwrap();
    let to = setting.reference("hello:v1");
    let wrong = Auth::Basic { username: "x".into(), password: "y".into() };
    for auth in [Auth::Anonymous, wrong] {
        let denied = setting.client.push(&to, &auth, &artifact, silent()).await.unwrap_err();
        assert!(matches!(denied, ClientError::Unauthorized { .. }), "{denied:?}");
    }
    let again = setting.client.push(&to, &writer(), &artifact, silent()).await;
    assert!(again.is_ok(), "a refused user spoils nothing for the next: {again:?}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unreachable() {
    let setting = Setting::new().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reference: Reference = format!("{free}/hello").parse().unwrap();
    let refused = setting.client.pull(&reference, &Auth::Anonymous, &setting.store).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused:?}");
    let chain = refused.chain().to_lowercase();
    assert!(chain.contains(&free.to_string()) && chain.contains("refused"), "{chain}");
}

#[tokio::test]
async fn content_changed_on_the_way_is_refused_and_not_kept() {
    let setting = Setting::new().await;
    let layer = module();
    setting.push_raw("v1", (WASM_CONFIG, b"{}"), (WASM_LAYER, &layer)).await;
    let digest = Digest::of(&layer);
    let mut changed = layer.to_vec();
    changed[500_000] ^= 1;
    for content in [changed, layer[..1000].to_vec(), [&layer[..], b"more"].concat()] {
        let host = setting.registry.listen_but_send("raw", &digest, content).await;
        let reference: Reference = format!("{host}/raw:v1").parse().unwrap();
        let pulled = setting.client.pull(&reference, &Auth::Anonymous, &setting.store).await;
        let mismatch = pulled.unwrap_err();
        assert!(matches!(mismatch, ClientError::DigestMismatch { .. }), "{mismatch:?}");
        assert!(!setting.store.contains(&digest));
    }
}

#[tokio::test]
async fn what_is_not_wasm_is_told_before_its_layers_are_fetched() {
    let setting = Setting::new().await;
    setting.registry.push_blob("raw", b"{}").await;
    setting.registry.push_blob("raw", b"chart").await;
    setting.registry.push_manifest("raw", "chart", &manifest(b"chart")).await;
    let refused = setting.pull("raw:chart").await.unwrap_err();
    let ClientError::Artifact { source: ArtifactError::NotWasm { .. }, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(!setting.store.contains(&Digest::of(b"chart")));

    setting.push_raw("elf", (WASM_CONFIG, b"{}"), (WASM_LAYER, b"\x7fELF and so on")).await;
    let refused = setting.pull("raw:elf").await.unwrap_err();
    assert!(refused.chain().contains("ELF"), "{}", refused.chain());
}

#[tokio::test]
async fn a_part_that_is_too_large_is_refused_before_it_is_fetched() {
    let setting = Setting::new().await;
    let mut value = setting.push_raw("v1", (WASM_CONFIG, b"{}"), (WASM_LAYER, &module())).await;
    value["layers"][0]["size"] = json!(1_u64 << 40);
    setting.registry.push_manifest("raw", "huge", &value).await;
    let refused = setting.pull("raw:huge").await.unwrap_err();
    assert!(matches!(refused, ClientError::TooLarge { what: "image", .. }), "{refused:?}");
}

#[tokio::test]
async fn a_broken_ca_certificate_is_an_error_and_not_a_weaker_client() {
    let setting = Setting::new().await;
    let options = Options { extra_ca: vec![b"not a certificate".to_vec()], ..Options::default() };
    let reference: Reference = "registry.invalid/hello".parse().unwrap();
    let refused = Client::new(options).pull(&reference, &Auth::Anonymous, &setting.store).await;
    assert!(matches!(refused, Err(ClientError::Certificate(_))), "{refused:?}");
}

#[tokio::test]
async fn over_tls_a_registry_is_trusted_by_the_given_ca_alone() {
    let setting = Setting::new().await;
    let (address, ca) = setting.registry.listen_tls().await;
    let host = address.to_string();
    let reference: Reference = format!("{host}/hello:v1").parse().unwrap();
    let trusting =
        |extra_ca| Client::new(Options { extra_ca, tls: vec![host.clone()], ..Options::default() });
    let artifact = Artifact::build(module()).unwrap();

    let client = trusting(vec![ca]);
    client.push(&reference, &writer(), &artifact, silent()).await.unwrap();
    let pulled = client.pull(&reference, &Auth::Anonymous, &setting.store).await.unwrap();
    assert_eq!(pulled.digest, artifact.digest);

    let distrusting = trusting(vec![]);
    let refused = distrusting.pull(&reference, &Auth::Anonymous, &setting.store).await.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused:?}");
    assert!(refused.chain().contains("certificate"), "{}", refused.chain());
}

#[tokio::test]
async fn pushing_again_mends_what_the_registrys_disk_damaged() {
    let setting = Setting::new().await;
    let artifact = Artifact::build(module()).unwrap();
    let to = setting.reference("team/hello:v1");
    let writer = writer();
    let push = || setting.client.push(&to, &writer, &artifact, silent());
    push().await.unwrap();
    for digest in [&artifact.layer_descriptor.digest, &artifact.config_descriptor.digest] {
        setting.registry.damage(digest);
        push().await.unwrap();
        setting.pull("team/hello:v1").await.unwrap();
        let content = setting.registry.store.content();
        assert!(content.is_intact(digest).await.unwrap(), "{digest}");
    }
    setting.registry.damage(&artifact.layer_descriptor.digest);
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = ContentStore::open(dir.path()).unwrap();
    let refused = setting.client.pull(&to, &Auth::Anonymous, &elsewhere).await.unwrap_err();
    assert!(matches!(refused, ClientError::BlobUnknown { .. }), "{refused}");
    assert!(refused.to_string().contains("push the image again"), "{refused}");
}

#[tokio::test]
async fn a_pull_mends_what_it_reads_damaged_in_the_store() {
    let setting = Setting::new().await;
    let artifact = Artifact::build(module()).unwrap();
    let to = setting.reference("team/hello:v1");
    setting.client.push(&to, &writer(), &artifact, silent()).await.unwrap();
    setting.pull("team/hello:v1").await.unwrap();
    for digest in [&artifact.layer_descriptor.digest, &artifact.config_descriptor.digest] {
        let file = setting.store.blob_path(digest);
        let mut content = std::fs::read(&file).unwrap();
        content[0] ^= 1;
        std::fs::write(&file, content).unwrap();
        setting.pull("team/hello:v1").await.unwrap();
        assert!(setting.store.is_intact(digest).await.unwrap(), "{digest}");
    }
}
