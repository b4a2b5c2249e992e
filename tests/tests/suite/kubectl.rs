//! An unmodified kubectl, as its users use it.

use crate::support::{cluster, push, shows};
use podium_tests::{Cluster, Tool, eventually, file};

/// A cluster with the example `hello` applied by kubectl, if kubectl is here.
async fn with_hello() -> Option<(Cluster, Tool)> {
    let cluster = cluster(&[]).await;
    let kubectl = cluster.kubectl()?;
    push(&cluster, "examples/hello/hello.wasm", "hello:latest").await;
    push(&cluster, "tests/guests/prober.wasm", "prober:latest").await;
    let manifest = file("examples/hello/hello.yaml").display().to_string();
    let applied = kubectl.run(&["apply", "-f", &manifest]).await;
    assert_eq!(applied, "deployment.apps/hello created\nservice/hello created\n");
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=120s"]).await;
    Some((cluster, kubectl))
}

/// Asserts that `text` has every one of `parts`.
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_prints_tables_and_every_other_form() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    let pods = kubectl.run(&["get", "pods"]).await;
    has(&pods, &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "1/1", "Running"]);
    has(&kubectl.run(&["get", "pods", "-o", "wide"]).await, &["IP", "NODE", "10.64."]);
    has(
        &kubectl.run(&["get", "deploy,rs,svc", "-A"]).await,
        &["NAMESPACE", "UP-TO-DATE", "CLUSTER-IP", "10.43."],
    );
    has(
        &kubectl.run(&["get", "all"]).await,
        &["pod/hello-", "service/hello", "deployment.apps/hello", "replicaset.apps/hello-"],
    );
    has(
        &kubectl.run(&["get", "nodes", "-o", "wide"]).await,
        &["Ready", "CONTAINER-RUNTIME", "wasmtime://"],
    );
    let name = kubectl.run(&["get", "deployment", "hello", "-o", "name"]).await;
    assert_eq!(name, "deployment.apps/hello\n");
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    assert!(
        kubectl.run(&["get", "deployment", "hello", "-o", path]).await.contains("hello:latest")
    );
    let columns = "custom-columns=N:.metadata.name,R:.spec.replicas";
    has(&kubectl.run(&["get", "deployment", "-o", columns]).await, &["N ", "hello", "2"]);
    has(
        &kubectl.run(&["get", "deployment", "hello", "-o", "yaml"]).await,
        &["apiVersion: apps/v1", "availableReplicas: 2"],
    );
    has(
        &kubectl.run(&["get", "pods", "-l", "app=hello", "-o", "json"]).await,
        &["\"kind\": \"List\""],
    );
    assert_eq!(kubectl.run(&["get", "pods", "-l", "app=other"]).await, "");
    let missing = kubectl.fail(&["get", "pod", "nobody"], "").await;
    assert_eq!(missing, "Error from server (NotFound): pods \"nobody\" not found\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_logs_and_events_tell_what_happened() {
    let Some((cluster, kubectl)) = with_hello().await else { return };
    let parts = ["RollingUpdate", "NewReplicaSet", "ScalingReplicaSet", "2 available"];
    shows(&kubectl, &["describe", "deployment", "hello"], &parts).await;
    let parts = ["Scheduled", "Started", "Ready", "Limits:", "cpu:", "500m"];
    shows(&kubectl, &["describe", "pods", "-l", "app=hello"], &parts).await;
    has(
        &kubectl.run(&["describe", "node"]).await,
        &["Capacity:", "Allocatable:", "Allocated resources:"],
    );
    shows(&kubectl, &["describe", "service", "hello"], &["Endpoints:", "10.64."]).await;
    shows(&kubectl, &["events"], &["SuccessfulCreate", "Scheduled"]).await;
    push(&cluster, "examples/ticker/ticker.wasm", "ticker:latest").await;
    let manifest = file("examples/ticker/ticker.yaml").display().to_string();
    kubectl.run(&["apply", "-f", &manifest]).await;
    kubectl.run(&["rollout", "status", "deployment/ticker", "--timeout=120s"]).await;
    eventually("the program's lines are in its log", async || {
        let log = kubectl.run(&["logs", "deployment/ticker", "--tail", "2"]).await;
        if log.lines().count() == 2 && log.contains("tick ") { Ok(()) } else { Err(log) }
    })
    .await;
    let container = kubectl.fail(&["logs", "deployment/ticker", "-c", "other"], "").await;
    has(&container, &["container other is not valid for pod"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_changed_and_deleted() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    kubectl.run(&["create", "configmap", "settings", "--from-literal=a=1"]).await;
    kubectl.run(&["create", "secret", "generic", "password", "--from-literal=p=x"]).await;
    kubectl.run(&["create", "namespace", "team"]).await;
    kubectl.run(&["create", "serviceaccount", "robot", "-n", "team"]).await;
    kubectl.run(&["create", "deployment", "made", "--image=hello:latest", "--replicas=1"]).await;
    kubectl.run(&["rollout", "status", "deployment/made", "--timeout=120s"]).await;
    kubectl.run(&["label", "configmap", "settings", "tier=web"]).await;
    kubectl.run(&["annotate", "configmap", "settings", "note=hi"]).await;
    kubectl.run(&["patch", "configmap", "settings", "-p", r#"{"data":{"b":"2"}}"#]).await;
    kubectl
        .run(&[
            "patch",
            "configmap",
            "settings",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/data/a"}]"#,
        ])
        .await;
    let data = kubectl
        .run(&["get", "configmap", "settings", "-o", "jsonpath={.data}{.metadata.labels}"])
        .await;
    assert_eq!(data, r#"{"b":"2"}{"tier":"web"}"#);
    let edited = kubectl.clone().env("KUBE_EDITOR", "sed -i s/\\\"2\\\"/\\\"3\\\"/");
    has(&edited.run(&["edit", "configmap", "settings"]).await, &["edited"]);
    assert_eq!(
        kubectl.run(&["get", "configmap", "settings", "-o", "jsonpath={.data.b}"]).await,
        "3"
    );
    kubectl.run(&["delete", "configmap", "settings"]).await;
    kubectl.run(&["delete", "namespace", "team", "--timeout=120s"]).await;
    let gone = kubectl.fail(&["get", "serviceaccount", "robot", "-n", "team"], "").await;
    has(&gone, &["not found"]);
    kubectl.run(&["delete", "deployment", "made", "--cascade=foreground", "--timeout=120s"]).await;
    assert_eq!(kubectl.run(&["get", "pods", "-l", "app=made"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_scaled_rolled_out_and_undone() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    let status =
        async || kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=120s"]).await;
    kubectl.run(&["scale", "deployment", "hello", "--replicas=3"]).await;
    has(&status().await, &["successfully rolled out"]);
    kubectl.run(&["set", "image", "deployment/hello", "hello=prober:latest"]).await;
    status().await;
    kubectl.run(&["set", "env", "deployment/hello", "COLOR=blue"]).await;
    status().await;
    let history = kubectl.run(&["rollout", "history", "deployment/hello"]).await;
    has(&history, &["REVISION", "1", "2", "3"]);
    kubectl.run(&["rollout", "undo", "deployment/hello", "--to-revision=1"]).await;
    status().await;
    let image = kubectl
        .run(&[
            "get",
            "deployment",
            "hello",
            "-o",
            "jsonpath={.spec.template.spec.containers[0].image}",
        ])
        .await;
    assert!(image.contains("hello:latest"), "{image}");
    kubectl.run(&["rollout", "pause", "deployment/hello"]).await;
    kubectl.run(&["set", "env", "deployment/hello", "COLOR=red"]).await;
    let paused =
        kubectl.run(&["get", "deployment", "hello", "-o", "jsonpath={.spec.paused}"]).await;
    assert_eq!(paused, "true");
    kubectl.run(&["rollout", "resume", "deployment/hello"]).await;
    status().await;
    kubectl.run(&["rollout", "restart", "deployment/hello"]).await;
    status().await;
    kubectl.run(&["wait", "deployment/hello", "--for=condition=Available", "--timeout=120s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_describes_itself() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    has(
        &kubectl.run(&["api-resources"]).await,
        &["deployments", "deploy", "apps/v1", "configmaps", "ingresses"],
    );
    has(&kubectl.run(&["api-versions"]).await, &["apps/v1", "networking.k8s.io/v1"]);
    has(&kubectl.run(&["version"]).await, &["Server Version: v1.36"]);
    has(&kubectl.run(&["cluster-info"]).await, &["Kubernetes control plane", "is running at"]);
    has(&kubectl.run(&["auth", "whoami"]).await, &["kubernetes-admin", "system:masters"]);
    assert_eq!(kubectl.run(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    let explained = kubectl.run(&["explain", "deployment.spec.replicas"]).await;
    has(&explained, &["KIND:       Deployment", "FIELD: replicas <integer>", "DESCRIPTION"]);
    has(&kubectl.run(&["explain", "pod.spec.containers"]).await, &["image", "<string>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_words_that_help() {
    let cluster = cluster(&[]).await;
    let Some(kubectl) = cluster.kubectl() else { return };
    let apply = async |manifest: &str| kubectl.fail(&["apply", "-f", "-"], manifest).await;
    let deployment = |spec: &str| {
        format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec: {spec}\n")
    };
    let template =
        "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
    has(&apply("a: [").await, &["error"]);
    let unknown = apply(&deployment(&format!(
        "{{replicsa: 1, selector: {{matchLabels: {{a: b}}}}, {template}}}"
    )))
    .await;
    has(&unknown, &["unknown field \"spec.replicsa\""]);
    let wrong = apply(&deployment(&format!(
        "{{replicas: many, selector: {{matchLabels: {{a: b}}}}, {template}}}"
    )))
    .await;
    has(&wrong, &["replicas"]);
    let mismatch =
        apply(&deployment(&format!("{{selector: {{matchLabels: {{a: c}}}}, {template}}}"))).await;
    has(
        &mismatch,
        &[
            "spec.template.metadata.labels: Invalid value",
            "`selector` does not match template `labels`",
        ],
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: UPPER}\nspec: {containers: [{name: c, image: i}]}\n";
    has(&apply(pod).await, &["metadata.name: Invalid value", "RFC 1123"]);
    let big = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: \"{}\"}}\n",
        "x".repeat(2 << 20)
    );
    let too_big = kubectl.fail(&["create", "-f", "-"], &big).await;
    has(&too_big, &["may not be more than 1048576 bytes"]);
    let missing = "apiVersion: v1\nkind: Pod\nmetadata: {name: missing}\nspec: {containers: [{name: c, image: 'nothing:here'}]}\n";
    kubectl.run_with(&["create", "-f", "-"], missing).await;
    eventually("the Pod says why it does not start", async || {
        let described = kubectl.run(&["describe", "pod", "missing"]).await;
        let told = described.contains("ErrImagePull") || described.contains("ImagePullBackOff");
        if told && described.contains("not found") { Ok(()) } else { Err(described) }
    })
    .await;
}
