//! `podium` for those without kubectl: objects are made, seen, changed and deleted.

use std::process::{Command, Stdio};

use crate::support::{cluster, get, push, served, shows};
use podium_tests::{Cluster, Tool, eventually, file};

/// A cluster with the example `hello` applied by `podium apply`.
async fn with_hello() -> (Cluster, Tool) {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    push(&cluster, "examples/hello/hello.wasm", "hello:latest").await;
    let manifest = file("examples/hello/hello.yaml").display().to_string();
    let applied = podium.run(&["apply", "-f", &manifest]).await;
    assert_eq!(applied, "deployment.apps/hello created\nservice/hello created\n");
    podium.run(&["rollout", "status", "deployment/hello", "--timeout=120s"]).await;
    (cluster, podium)
}

/// Asserts that `text` has every one of `parts`.
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_prints_tables_and_every_other_form() {
    let (_cluster, podium) = with_hello().await;
    let pods = podium.run(&["get", "pods"]).await;
    has(&pods, &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "1/1", "Running"]);
    assert!(!pods.contains('\u{1b}'), "no colours in a pipe: {pods}");
    has(&podium.run(&["get", "po", "-o", "wide"]).await, &["IP", "NODE", "10.64."]);
    has(
        &podium.run(&["get", "deploy,rs,svc", "-A"]).await,
        &["NAMESPACE", "deployment.apps/hello", "replicaset.apps/hello-", "service/hello"],
    );
    has(&podium.run(&["get", "all"]).await, &["pod/hello-", "service/hello"]);
    let name = podium.run(&["get", "Deployment", "hello", "-o", "name"]).await;
    assert_eq!(name, "deployment.apps/hello\n");
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(podium.run(&["get", "deploy/hello", "-o", path]).await, "hello:latest");
    let columns = "custom-columns=N:.metadata.name,R:.spec.replicas";
    assert_eq!(podium.run(&["get", "deploy", "-o", columns]).await, "N       R\nhello   2\n");
    let plain = podium.run(&["get", "deploy", "-o", columns, "--no-headers"]).await;
    assert_eq!(plain, "hello   2\n");
    has(&podium.run(&["get", "deploy", "hello", "-o", "yaml"]).await, &["availableReplicas: 2"]);
    has(
        &podium.run(&["get", "pods", "-l", "app=hello", "-o", "json"]).await,
        &["\"kind\": \"List\"", "\"kind\": \"Pod\""],
    );
    assert_eq!(podium.run(&["get", "pods", "-l", "app=other"]).await, "");
    has(
        &podium.fail(&["get", "deploy", "helo"], "").await,
        &["not found", "did you mean \"hello\""],
    );
    has(&podium.fail(&["get", "deploymets"], "").await, &["did you mean \"deployments\""]);
    has(&podium.fail(&["get", "pods", "-o", "xml"], "").await, &["json, yaml, wide"]);
    has(&podium.fail(&["get", "pvc"], "").await, &["no PersistentVolumeClaim: use an emptyDir"]);
    let unset = podium.clone().env("PODIUM_DATA_DIR", "").env("HOME", "/nowhere");
    let unset = unset.env("XDG_DATA_HOME", "/nowhere").env("KUBECONFIG", "");
    has(&unset.fail(&["get", "pods"], "").await, &["no cluster is known here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_events_and_port_tell_how_things_are() {
    let (cluster, podium) = with_hello().await;
    let parts = ["2 desired", "RollingUpdate", "hello:latest", "ScalingReplicaSet", "complete"];
    shows(&podium, &["describe", "deployment", "hello"], &parts).await;
    let parts = ["Scheduled", "Started", "Ready", "cpu=500m", "http-get"];
    shows(&podium, &["describe", "pods", "-l", "app=hello"], &parts).await;
    has(&podium.run(&["describe", "node"]).await, &["Allocatable", "Allocated resources"]);
    shows(&podium, &["describe", "service", "hello"], &["Endpoints", "10.64."]).await;
    has(&podium.run(&["describe", "ns", "default"]).await, &["Kind:", "Namespace", "Phase"]);
    shows(&podium, &["events"], &["SuccessfulCreate", "Scheduled"]).await;
    let events = podium.run(&["events", "--for", "deployment/hello"]).await;
    has(&events, &["ScalingReplicaSet"]);
    assert!(!events.contains("Scheduled "), "of the Deployment alone: {events}");
    let gateway = format!("http://{}", cluster.addresses.gateway);
    assert_eq!(podium.run(&["port", "gateway"]).await, format!("{gateway}\n"));
    let part = podium.run(&["port", "gateway", "-o", "jsonpath={.cluster}"]).await;
    assert_eq!(part, format!("{{\"gateway\":{gateway:?}}}"));
    assert_eq!(podium.run(&["port", "hello", "-o", "name"]).await, "service/hello\n");
    has(&podium.fail(&["port", "-o", "wide"], "").await, &["say json, yaml, name or jsonpath"]);
    has(&podium.run(&["port"]).await, &["registry", "http://hello.localhost:", "hello.default:80"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_scaled_set_rolled_out_undone_and_deleted() {
    let (cluster, podium) = with_hello().await;
    push(&cluster, "tests/guests/prober.wasm", "prober:latest").await;
    let status =
        async || podium.run(&["rollout", "status", "deploy/hello", "--timeout=120s"]).await;
    assert_eq!(
        podium.run(&["scale", "deploy/hello", "--replicas=3"]).await,
        "deployment.apps/hello scaled\n"
    );
    has(&status().await, &["successfully rolled out"]);
    podium.run(&["set", "image", "deploy/hello", "hello=prober:latest"]).await;
    status().await;
    podium.run(&["set", "env", "deploy/hello", "COLOR=blue"]).await;
    has(&podium.run(&["set", "env", "deploy/hello", "--list"]).await, &["COLOR", "blue"]);
    podium.run(&["set", "resources", "deploy/hello", "--limits=memory=32Mi"]).await;
    status().await;
    has(&podium.run(&["rollout", "history", "deploy/hello"]).await, &["REVISION", "1", "4"]);
    podium.run(&["rollout", "undo", "deploy/hello", "--to-revision=1"]).await;
    status().await;
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(podium.run(&["get", "deploy/hello", "-o", image]).await, "hello:latest");
    podium.run(&["rollout", "pause", "deploy/hello"]).await;
    has(&podium.fail(&["rollout", "undo", "deploy/hello"], "").await, &["podium rollout resume"]);
    podium.run(&["rollout", "resume", "deploy/hello"]).await;
    podium.run(&["rollout", "restart", "deploy/hello"]).await;
    status().await;
    podium.run(&["wait", "deploy/hello", "--for=condition=Available", "--timeout=120s"]).await;
    podium.run(&["wait", "deploy/hello", "--for=jsonpath={.status.replicas}=3"]).await;
    let unmet = ["wait", "deploy/hello", "--for=condition=Nothing", "--timeout=0s"];
    has(&podium.fail(&unmet, "").await, &["not within", "podium describe"]);
    let unknown = podium.fail(&["set", "image", "deploy/hello", "other=x"], "").await;
    has(&unknown, &["no container \"other\"", "hello"]);
    has(&podium.fail(&["delete", "pods"], "").await, &["--all"]);
    let kept = podium.run(&["delete", "deploy/hello", "--dry-run"]).await;
    has(&kept, &["deployment.apps \"hello\" deleted (server dry run)"]);
    has(&podium.run(&["get", "deploy/hello", "-o", "name"]).await, &["deployment.apps/hello"]);
    let deleted =
        podium.run(&["delete", "deploy/hello", "svc/hello", "--cascade=foreground"]).await;
    has(&deleted, &["deployment.apps \"hello\" deleted"]);
    assert_eq!(podium.run(&["get", "deploy,rs,pods"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_run_logged_and_its_exit_code_passed_on() {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let ran = podium.run(&["run", &hello, "--replicas=2", "--env", "A=b"]).await;
    has(
        &ran,
        &["deployment.apps/hello created", "service/hello created", "http://hello.localhost:"],
    );
    podium.run(&["rollout", "status", "deploy/hello", "--timeout=120s"]).await;
    served(&cluster, "hello.localhost", "/").await;
    has(&podium.fail(&["run", &hello], "").await, &["is there already", "podium delete"]);
    // What is refused has moved no tag.
    let nowhere = podium.fail(&["run", &hello, "-n", "nope", "--name", "other"], "").await;
    assert!(nowhere.contains("\"nope\" not found") && !nowhere.contains("pushed"), "{nowhere}");

    let ticker = file("examples/ticker/ticker.wasm").display().to_string();
    podium.run(&["run", &ticker, "--replicas=2"]).await;
    podium.run(&["rollout", "status", "deploy/ticker", "--timeout=120s"]).await;
    eventually("both Pods' lines are interleaved", async || {
        let log = podium.run(&["logs", "deploy/ticker", "--tail=2"]).await;
        let pods: std::collections::BTreeSet<_> =
            log.lines().filter_map(|line| line.split(' ').next()).collect();
        if pods.len() == 2 && log.contains(" | tick ") { Ok(()) } else { Err(log) }
    })
    .await;

    let toolbox = file("tests/guests/toolbox.wasm").display().to_string();
    let once = podium.try_run(&["run", "--rm", &toolbox, "--", "exit", "3"], "").await;
    assert_eq!(once.code, Some(3), "{once:?}");
    let again = podium.try_run(&["run", "--rm", &toolbox, "--", "exit", "4"], "").await;
    assert_eq!(again.code, Some(4), "{again:?}");
    assert_eq!(podium.run(&["get", "pods", "-l", "app=toolbox", "-o", "name"]).await, "");
    let refused = podium.try_run(&["run", &hello, "--port", "0"], "").await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    has(&refused.stderr, &["0 is not in 1..=65535"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_run_once_serves_until_it_is_interrupted() {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let mut running = Command::new(env!("CARGO_BIN_EXE_podium-under-test"));
    running.args(["run", "--rm", &hello]).env("PODIUM_DATA_DIR", cluster.data_dir());
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("stderr");
    running.stdout(Stdio::null()).stderr(std::fs::File::create(&told).unwrap());
    let mut running = running.spawn().unwrap();
    let told = || std::fs::read_to_string(&told).unwrap();
    let words = "hello is a function: it serves until Ctrl-C at http://hello.localhost:";
    eventually("it says where it serves", async || {
        let told = told();
        if told.contains(words) { Ok(()) } else { Err(told) }
    })
    .await;
    eventually("it serves", async || match get(&cluster, "hello.localhost", "/").await {
        Ok((200, _)) => Ok(()),
        other => Err(other),
    })
    .await;
    Tool::at("kill").run(&["-INT", &running.id().to_string()]).await;
    let ended = tokio::task::spawn_blocking(move || running.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(130), "{}", told());
    has(&told(), &["interrupted: pod/hello deleted"]);
    assert_eq!(podium.run(&["get", "pod/hello", "svc/hello", "--ignore-not-found"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_names_its_file_and_field() {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yaml").display().to_string();
    let apply = async |manifest: &str| {
        std::fs::write(&path, manifest).unwrap();
        podium.fail(&["apply", "-f", &path], "").await
    };
    has(&apply("a: [").await, &["web.yaml, document 1"]);
    has(&apply("kind: ConfigMap\n").await, &["web.yaml, document 1: ", "it has no apiVersion"]);
    has(&apply("apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n").await, &["apps/v1"]);
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndtaa: {}\n";
    has(&apply(unknown).await, &["web.yaml, document 1", ".dtaa: field not declared in schema"]);
    let url = podium.fail(&["apply", "-f", "https://example.com/a.yaml"], "").await;
    has(&url, &["read from files only"]);
    has(&podium.fail(&["apply", "-f", "/nowhere.yaml"], "").await, &["read /nowhere.yaml"]);
    let stdin = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";
    assert_eq!(podium.run_with(&["apply", "-f", "-"], stdin).await, "configmap/a created\n");
    assert_eq!(podium.run_with(&["apply", "-f", "-"], stdin).await, "configmap/a unchanged\n");
    let nobody = tempfile::tempdir().unwrap();
    let elsewhere = podium.clone().env("PODIUM_DATA_DIR", &nobody.path().display().to_string());
    has(&elsewhere.fail(&["get", "pods"], "").await, &["no cluster has run", "podium up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_finds_what_is_wrong() {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: lost}\nspec: {containers: [{name: c, image: 'nothing:here'}]}\n";
    podium.run_with(&["apply", "-f", "-"], pod).await;
    eventually("the Pod without an image is found", async || {
        let found = podium.try_run(&["doctor", "-o", "json"], "").await;
        let told = found.stdout.contains("default/lost: ") && found.stdout.contains("podium push");
        if told { Ok(()) } else { Err(found) }
    })
    .await;
    let kubeconfig = cluster.kubeconfig();
    std::fs::write(&kubeconfig, "{}").unwrap();
    let broken = podium.try_run(&["doctor", "-q"], "").await;
    assert!(!broken.success, "{broken:?}");
    has(&broken.stdout, &["kubeconfig", "fix:"]);
}
