//! Clients that we did not write: skopeo and curl, where they are installed.
use std::path::Path;
use std::process::{Command, Output};

use registry::Digest;
use registry::artifact::Artifact;
use registry::manifest::IMAGE_MANIFEST;
use serde_json::{Value, json};

use crate::support::{Registry, TOKEN};

/// Whether a tool is here. Where `PODIUM_REQUIRE_TOOLS=1` is set, it must be.
async fn installed(tool: &str) -> bool {
    let found = output(tool, &["--version"]).await.is_ok_and(|done| done.status.success());
    if !found {
        let required = std::env::var("PODIUM_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
        assert!(!required, "{tool} is required and not installed");
        println!("SKIPPED: {tool} is not installed");
    }
    found
}

/// Runs a tool beside the runtime, which serves it meanwhile.
async fn output(tool: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(tool);
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap()
}

async fn run(tool: &str, arguments: &[&str]) -> Vec<u8> {
    let done = output(tool, arguments).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{tool} {arguments:?}: {said}");
    done.stdout
}

/// Writes an artifact as an image layout, the form in which skopeo takes it from disk.
fn layout(dir: &Path, artifact: &Artifact) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for content in [&artifact.manifest, &artifact.config, &artifact.layer] {
        std::fs::write(blobs.join(Digest::of(content).hex()), content).unwrap();
    }
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": IMAGE_MANIFEST, "digest": artifact.digest, "size": artifact.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "v1"},
    }]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn skopeo_pushes_lists_pulls_and_deletes() {
    if !installed("skopeo").await {
        return;
    }
    let registry = Registry::new();
    let address = registry.listen().await;
    let dir = tempfile::tempdir().unwrap();
    let artifact = Artifact::build(b"\0asm\x01\0\0\0".as_slice().into()).unwrap();
    layout(&dir.path().join("in"), &artifact);
    let source = format!("oci:{}:v1", dir.path().join("in").display());
    let remote = format!("docker://{address}/team/hello:v1");
    let credentials = format!("anyone:{TOKEN}");

    let push = ["copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds"];
    run("skopeo", &[push.as_slice(), &[&credentials, &source, &remote]].concat()).await;
    let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &remote]).await;
    assert_eq!(Digest::of(&raw), artifact.digest);

    let repository = format!("docker://{address}/team/hello");
    let listed = run("skopeo", &["list-tags", "--tls-verify=false", &repository]).await;
    let listed: Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!(listed["Tags"], json!(["v1"]));

    let target = dir.path().join("out");
    let out = format!("oci:{}:v1", target.display());
    let pull = ["copy", "--preserve-digests", "--src-tls-verify=false", &remote, &out];
    run("skopeo", &pull).await;
    let layer = target.join("blobs/sha256").join(artifact.layer_descriptor.digest.hex());
    assert_eq!(std::fs::read(layer).unwrap(), artifact.layer);

    let delete = ["delete", "--tls-verify=false", "--creds", &credentials, &remote];
    run("skopeo", &delete).await;
    let gone = registry.get("/v2/team/hello/manifests/v1").await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn skopeo_without_the_token_is_told_so() {
    if !installed("skopeo").await {
        return;
    }
    let registry = Registry::new();
    let address = registry.listen().await;
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &Artifact::build(b"\0asm\x01\0\0\0".as_slice().into()).unwrap());
    let source = format!("oci:{}:v1", dir.path().display());
    let remote = format!("docker://{address}/hello:v1");
    let copy = ["copy", "--dest-tls-verify=false", "--dest-creds", "x:y", &source, &remote];
    let refused = output("skopeo", &copy).await.unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("auth"), "{said}");
}

#[tokio::test]
async fn curl_pushes_and_pulls() {
    if !installed("curl").await {
        return;
    }
    let registry = Registry::new();
    let address = registry.listen().await;
    let dir = tempfile::tempdir().unwrap();
    let artifact = Artifact::build(b"\0asm\x01\0\0\0".as_slice().into()).unwrap();
    let base = format!("http://{address}/v2/hello");
    let credentials = format!("anyone:{TOKEN}");
    let common = ["--fail", "--silent", "--show-error", "--noproxy", "*"];
    let curl = async |arguments: &[&str]| run("curl", &[&common, arguments].concat()).await;
    let file = dir.path().join("part");
    let data = format!("@{}", file.display());
    for content in [&artifact.config, &artifact.layer] {
        std::fs::write(&file, content).unwrap();
        let url = format!("{base}/blobs/uploads/?digest={}", Digest::of(content));
        curl(&["-u", &credentials, "-X", "POST", "--data-binary", &data, &url]).await;
    }
    std::fs::write(&file, &artifact.manifest).unwrap();
    let url = format!("{base}/manifests/v1");
    let media_type = format!("Content-Type: {IMAGE_MANIFEST}");
    let put = ["-u", &credentials, "-X", "PUT", "-H", &media_type, "--data-binary", &data, &url];
    curl(&put).await;

    assert_eq!(curl(&[&url]).await, artifact.manifest);
    let blob = format!("{base}/blobs/{}", artifact.layer_descriptor.digest);
    assert_eq!(curl(&[&blob]).await, artifact.layer);
    assert_eq!(curl(&["-r", "0-3", &blob]).await, b"\0asm");
}
