//! What kubectl does with the API beyond reading and writing: server-side apply,
//! diff, replace, prune, proxying, reviews.
use podium_tests::{Cluster, Tool, eventually, file};

use crate::support::{cluster, push, shows};

/// A cluster and kubectl, if kubectl is here.
async fn with_kubectl() -> Option<(Cluster, Tool)> {
    let cluster = cluster(&[]).await;
    let kubectl = cluster.kubectl()?;
    Some((cluster, kubectl))
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn config(data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, labels: {{set: one}}}}\ndata: {data}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_keeps_managers_apart() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    let apply = ["apply", "--server-side", "-f", "-"];
    let applied = kubectl.run_with(&apply, &config("{a: '1', b: '1'}")).await;
    assert_eq!(applied, "configmap/c serverside-applied\n");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let refused = kubectl.fail(&other, &config("{a: '2'}")).await;
    has(&refused, &["conflict with \"kubectl\": .data.a", "--force-conflicts"]);
    let forced = [&other[..], &["--force-conflicts"]].concat();
    kubectl.run_with(&forced, &config("{a: '2'}")).await;
    kubectl.run_with(&apply, &config("{}")).await;
    let data = kubectl.run(&["get", "cm", "c", "-o", "jsonpath={.data}"]).await;
    assert_eq!(data, r#"{"a":"2"}"#, "b was kubectl's alone, a is the other's");
    let shown = kubectl.run(&["get", "cm", "c", "-o", "yaml", "--show-managed-fields"]).await;
    has(&shown, &["manager: other", "operation: Apply", "f:data:"]);
    assert!(!kubectl.run(&["get", "cm", "c", "-o", "yaml"]).await.contains("managedFields"));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_side_apply_goes_over_to_the_server() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    kubectl.run_with(&["apply", "-f", "-"], &config("{a: '1', b: '1'}")).await;
    let last = kubectl.run(&["apply", "view-last-applied", "cm", "c"]).await;
    has(&last, &["a: \"1\"", "set: one"]);
    let applied =
        kubectl.run_with(&["apply", "--server-side", "-f", "-"], &config("{a: '2'}")).await;
    assert_eq!(applied, "configmap/c serverside-applied\n");
    let data = kubectl.run(&["get", "cm", "c", "-o", "jsonpath={.data}"]).await;
    assert_eq!(data, r#"{"a":"2"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_shows_what_apply_would_do() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    let Some(_diff) = Tool::find("diff") else { return };
    // Applied in the same way before: the two write the last applied configuration differently.
    for flags in [&["-f", "-"][..], &["--server-side", "--force-conflicts", "-f", "-"]] {
        kubectl.run_with(&[&["apply"], flags].concat(), &config("{a: '1'}")).await;
        let diff = [&["diff"], flags].concat();
        let same = kubectl.try_run(&diff, &config("{a: '1'}")).await;
        assert!(same.success && same.stdout.is_empty(), "{}{}", same.stdout, same.stderr);
        let differs = kubectl.try_run(&diff, &config("{a: '7'}")).await;
        assert_eq!(differs.code, Some(1), "{}", differs.stderr);
        has(&differs.stdout, &["-  a: \"1\"", "+  a: \"7\""]);
    }
    let data = kubectl.run(&["get", "cm", "c", "-o", "jsonpath={.data.a}"]).await;
    assert_eq!(data, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_can_be_written_back() {
    let Some((cluster, kubectl)) = with_kubectl().await else { return };
    push(&cluster, "examples/hello/hello.wasm", "hello:latest").await;
    let manifest = file("examples/hello/hello.yaml").display().to_string();
    kubectl.run(&["apply", "-f", &manifest]).await;
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=120s"]).await;
    kubectl.run_with(&["create", "-f", "-"], &config("{a: '1'}")).await;
    let served = kubectl.run(&["api-resources", "--verbs=get,list,update", "-o", "name"]).await;
    for resource in served.lines() {
        let listed = ["get", resource, "-A", "-o", "yaml"];
        eventually(&format!("{resource} is written back"), async || {
            let text = kubectl.run(&listed).await;
            if text.contains("items: []") {
                return Ok(());
            }
            // Somebody may write in between; then it is a conflict and is tried again.
            let output = kubectl.try_run(&["replace", "-f", "-"], &text).await;
            if output.success { Ok(()) } else { Err(output.stderr) }
        })
        .await;
    }
    let forced = kubectl.run_with(&["replace", "--force", "-f", "-"], &config("{b: '1'}")).await;
    has(&forced, &["configmap \"c\" deleted", "configmap/c replaced"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_deletes_what_is_left_out() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    let second = config("{a: '1'}").replace("name: c", "name: d");
    let both = format!("{}---\n{second}", config("{a: '1'}"));
    let prune =
        ["apply", "--prune", "-l", "set=one", "-f", "-", "--prune-allowlist=core/v1/ConfigMap"];
    kubectl.run_with(&prune, &both).await;
    let pruned = kubectl.run_with(&prune, &second).await;
    has(&pruned, &["configmap/d unchanged", "configmap/c pruned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_services_and_nodes_are_reached_through_the_server() {
    let Some((cluster, kubectl)) = with_kubectl().await else { return };
    push(&cluster, "examples/hello/hello.wasm", "hello:latest").await;
    let manifest = file("examples/hello/hello.yaml").display().to_string();
    kubectl.run(&["apply", "-f", &manifest]).await;
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=120s"]).await;
    let raw = async |path: &str| kubectl.run(&["get", "--raw", path]).await;
    let service = "/api/v1/namespaces/default/services/hello/proxy/";
    shows(&kubectl, &["get", "--raw", service], &["Hello"]).await;
    let direct = raw(service).await;
    assert_eq!(raw("/api/v1/namespaces/default/services/http:hello:80/proxy/").await, direct);
    let pod = kubectl.run(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]).await;
    let path = format!("/api/v1/namespaces/default/pods/{pod}:8080/proxy/");
    assert_eq!(raw(&path).await, direct);
    let node = kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).await;
    assert_eq!(raw(&format!("/api/v1/nodes/{node}/proxy/healthz")).await, "ok");
    has(&raw(&format!("/api/v1/nodes/{node}/proxy/stats/summary")).await, &["\"node\""]);
    let refused = kubectl
        .fail(&["get", "--raw", "/api/v1/namespaces/default/services/hello:81/proxy/"], "")
        .await;
    has(&refused, &["no service port 81 found for service \"hello\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_tell_who_may_do_what() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    let list = kubectl.run(&["auth", "can-i", "--list"]).await;
    has(&list, &["*.*", "[*]"]);
    let token = kubectl.run(&["create", "token", "default"]).await;
    let review = format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}}"#,
        token.trim()
    );
    let answer = kubectl.run_with(&["create", "-f", "-", "-o", "yaml"], &review).await;
    has(&answer, &["authenticated: true", "username: system:serviceaccount:default:default"]);
    let review = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview",
        "spec":{"user":"eve","resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let answer = kubectl.run_with(&["create", "-f", "-", "-o", "yaml"], review).await;
    has(&answer, &["allowed: false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_of_openapi_is_there_for_old_clients() {
    let Some((_cluster, kubectl)) = with_kubectl().await else { return };
    let text = kubectl.run(&["get", "--raw", "/openapi/v2"]).await;
    has(&text, &["\"swagger\":\"2.0\"", "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"]);
    // kubectl reads the binary form here, to tell which fields a kind has.
    let explained =
        kubectl.run(&["explain", "deployment.spec.strategy", "--output=plaintext-openapiv2"]).await;
    has(&explained, &["rollingUpdate", "KIND:"]);
}
