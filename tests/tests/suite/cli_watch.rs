//! `podium up -f DIR --watch`: what changes on disk is redeployed.

use std::path::Path;

use crate::support::{cluster, get};
use podium_tests::{Cluster, eventually, file};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n";

fn write(folder: &Path, name: &str, contents: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), contents).unwrap();
}

fn guest(path: &str) -> Vec<u8> {
    std::fs::read(file(path)).unwrap()
}

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: ./once.wasm, args: [exit, '0']}]}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_guest_changed_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "job.yaml", JOB);
    write(path, "once.wasm", guest("tests/guests/toolbox.wasm"));
    let cluster = cluster(&["-f", &path.display().to_string(), "--watch"]).await;
    let podium = cluster.podium();
    let complete = ["wait", "job/once", "--for=condition=Complete", "--timeout=120s"];
    podium.run(&["wait", "job/once", "--for=create", "--timeout=120s"]).await;
    podium.run(&complete).await;
    let uid = ["get", "job", "once", "-o", "jsonpath={.metadata.uid}"];
    let first = podium.run(&uid).await;
    write(path, "once.wasm", guest("examples/ticker/ticker.wasm"));
    told(&cluster, "job.batch/once deleted: its template has changed").await;
    eventually("the Job is another one", async || {
        let now = podium.try_run(&uid, "").await;
        if now.success && now.stdout != first { Ok(()) } else { Err(now) }
    })
    .await;
}

async fn answers(cluster: &Cluster, part: &str) {
    eventually(&format!("web answers {part:?}"), async || {
        match get(cluster, "web.localhost", "/").await {
            Ok((200, body)) if body.contains(part) => Ok(()),
            other => Err((other, cluster.log())),
        }
    })
    .await;
}

async fn told(cluster: &Cluster, part: &str) {
    eventually(&format!("{part:?} is told"), async || {
        let log = cluster.log();
        if log.contains(part) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_guest_rolls_out_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "web.yaml", MANIFEST);
    write(path, "settings.yaml", SETTINGS);
    write(path, "app.wasm", guest("examples/hello/hello.wasm"));
    let cluster = cluster(&["-f", &path.display().to_string(), "--watch"]).await;
    let podium = cluster.podium();
    answers(&cluster, "Hello from Podium!").await;

    // A guest that exports nothing that runs, then one that is no guest at all.
    write(path, "app.wasm", b"\0asm\x01\0\0\0");
    told(&cluster, "core module without `_start`").await;
    write(path, "web.yaml", "a: [");
    told(&cluster, "web.yaml, document 1").await;
    answers(&cluster, "Hello from Podium!").await;

    write(path, "web.yaml", MANIFEST);
    told(&cluster, "web.yaml can be read again").await;
    write(path, "web.yaml", MANIFEST.replace("replicas: 1", "replicas: 2"));
    write(path, "app.wasm", guest("examples/greeting/greeter.wasm"));
    told(&cluster, "web rolled out in ").await;
    answers(&cluster, "signed nobody").await;
    let replicas = "jsonpath={.spec.replicas}";
    assert_eq!(podium.run(&["get", "deploy", "web", "-o", replicas]).await, "2");

    let theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\n";
    podium.run_with(&["apply", "-f", "-"], theirs).await;
    std::fs::remove_file(path.join("settings.yaml")).unwrap();
    told(&cluster, "configmap/settings deleted").await;
    podium.run(&["get", "configmap", "theirs"]).await;
    std::fs::remove_file(path.join("app.wasm")).unwrap();
    told(&cluster, "app.wasm is gone: the image app is what the registry has").await;
}
