//! Probes, hooks and sidecars.
use crate::support::{TOOLBOX, cluster, create, events, logs, pod, push, seen};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use podium_tests::eventually;
use serde_json::{Value, json};

const PROBER: &str = "tests/guests/prober.wasm";

fn containers(pod: &Pod) -> Vec<ContainerStatus> {
    let status = pod.status.clone().unwrap_or_default();
    let inits = status.init_container_statuses.unwrap_or_default();
    inits.into_iter().chain(status.container_statuses.unwrap_or_default()).collect()
}

fn named(pod: &Pod, name: &str) -> ContainerStatus {
    containers(pod).into_iter().find(|status| status.name == name).unwrap_or_default()
}

fn has_ended(pod: &Pod, name: &str) -> bool {
    named(pod, name).state.is_some_and(|state| state.terminated.is_some())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A Pod of the function for tests.
fn function(name: &str, more: &Value) -> Value {
    let mut object = pod(name, &[]);
    let container = object["spec"]["containers"][0].as_object_mut().unwrap();
    container.insert("image".into(), json!("prober:v1"));
    container.remove("args");
    container.extend(more.as_object().unwrap().clone());
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_about_start_traffic_and_restart() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, PROBER, "prober:v1").await;
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let get = |path: &str| json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    let well = json!({
        "startupProbe": get("/"), "readinessProbe": get("/"), "livenessProbe": get("/"),
    });
    create::<Pod>(&client, &function("well", &well)).await;
    let unready = json!({"readinessProbe": get("/status?503")});
    create::<Pod>(&client, &function("unready", &unready)).await;
    let dying = json!({"livenessProbe": get("/status?500")});
    create::<Pod>(&client, &function("dying", &dying)).await;
    let never = json!({"startupProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1}});
    create::<Pod>(&client, &function("never", &never)).await;

    seen(&client, "well", is_ready).await;
    let unready = seen(&client, "unready", |pod| named(pod, "main").started == Some(true)).await;
    assert!(!named(&unready, "main").ready);
    let conditions = unready.status.unwrap().conditions.unwrap();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [main]"));
    let words = "Readiness probe failed: HTTP probe failed with statuscode: 503";
    events(&client, "unready", "Unhealthy", words).await;
    seen(&client, "dying", |pod| named(pod, "main").restart_count > 0).await;
    events(&client, "dying", "Killing", "Container main failed liveness probe, will be restarted")
        .await;
    let never = seen(&client, "never", |pod| named(pod, "main").restart_count > 0).await;
    assert!(!named(&never, "main").ready);
    events(&client, "never", "Unhealthy", "Startup probe failed: dial tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_probe_asks_for_the_health_of_a_service() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    let serving = |name: &str, state: &str| {
        let mut object = pod(name, &["grpc-health", "0.0.0.0", "9000", state]);
        object["spec"]["containers"][0]["readinessProbe"] =
            json!({"grpc": {"port": 9000, "service": "db"}, "periodSeconds": 1});
        object
    };
    create::<Pod>(&client, &serving("well", "1")).await;
    create::<Pod>(&client, &serving("ill", "2")).await;
    seen(&client, "well", is_ready).await;
    let words = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
    events(&client, "ill", "Unhealthy", words).await;
    assert!(!is_ready(&seen(&client, "ill", |_| true).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sandbox_cannot_do_is_refused_in_words_that_help() {
    let cluster = cluster(&[]).await;
    let Some(kubectl) = cluster.kubectl() else { return };
    let mut object = pod("exec", &[]);
    object["spec"]["containers"][0]["livenessProbe"] = json!({"exec": {"command": ["true"]}});
    let refused = kubectl.fail(&["apply", "-f", "-"], &object.to_string()).await;
    assert!(
        refused.contains("spec.containers[0].livenessProbe.exec: Forbidden: a WebAssembly sandbox"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, PROBER, "prober:v1").await;
    let hooks = json!({"lifecycle": {
        "postStart": {"httpGet": {"path": "/log", "port": 8080}},
        "preStop": {"sleep": {"seconds": 1}},
    }});
    let mut object = function("hooked", &hooks);
    object["spec"]["terminationGracePeriodSeconds"] = json!(20);
    create::<Pod>(&client, &object).await;
    let failing = json!({"lifecycle": {
        "postStart": {"httpGet": {"path": "/status?500", "port": 8080}},
        "preStop": {"httpGet": {"path": "/status?500", "port": 8080}},
    }});
    let mut failing = function("failing", &failing);
    failing["spec"]["terminationGracePeriodSeconds"] = json!(5);
    create::<Pod>(&client, &failing).await;

    seen(&client, "hooked", is_ready).await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    // The hook runs beside the container, which may be ready before.
    logs(&client, "hooked", "a line from the function\n").await;
    let begun = std::time::Instant::now();
    api.delete("hooked", &DeleteParams::default()).await.unwrap();
    eventually("the Pod is gone", async || match api.get_opt("hooked").await.unwrap() {
        None => Ok(()),
        Some(pod) => Err(format!("{:?}", pod.status)),
    })
    .await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "the hook came first");
    events(&client, "failing", "FailedPostStartHook", "statuscode: 500").await;
    events(&client, "failing", "FailedPreStopHook", "statuscode: 500").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_before_the_others_and_stops_after_them() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, TOOLBOX, "toolbox:v1").await;
    push(&cluster, PROBER, "prober:v1").await;
    let sidecar = |name: &str, port: u16| {
        json!({
            "name": name, "image": "prober:v1", "restartPolicy": "Always",
            "ports": [{"containerPort": port}],
            "startupProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        })
    };
    let mut job = pod("job", &["log", "3", "50"]);
    job["spec"]["restartPolicy"] = json!("Never");
    job["spec"]["terminationGracePeriodSeconds"] = json!(10);
    job["spec"]["initContainers"] = json!([sidecar("side", 8081)]);
    create::<Pod>(&client, &job).await;
    let mut server = pod("server", &["log", "0", "50"]);
    server["spec"]["terminationGracePeriodSeconds"] = json!(10);
    server["spec"]["initContainers"] = json!([
        sidecar("first", 8081),
        {"name": "plain", "image": "toolbox:v1", "args": ["exit", "0"]},
        sidecar("second", 8082),
    ]);
    let short = json!({"name": "short", "image": "prober:v1", "ports": [{"containerPort": 8083}]});
    server["spec"]["containers"].as_array_mut().unwrap().push(short);
    create::<Pod>(&client, &server).await;

    // What has ended is told while others still stop.
    let stopping = seen(&client, "job", |pod| has_ended(pod, "main")).await;
    assert!(named(&stopping, "side").state.unwrap().running.is_some());
    assert!(!named(&stopping, "main").ready && !is_ready(&stopping));
    assert_eq!(stopping.status.unwrap().phase.as_deref(), Some("Running"));

    // A sidecar does not keep a Pod from its end, and is no failure of it.
    let done = seen(&client, "job", |pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
    })
    .await;
    assert_eq!(named(&done, "main").state.unwrap().terminated.unwrap().exit_code, 0);
    assert!(named(&done, "side").state.unwrap().terminated.is_some());

    let running = seen(&client, "server", is_ready).await;
    let started =
        |name: &str| named(&running, name).state.unwrap().running.unwrap().started_at.unwrap().0;
    assert!(started("first") <= started("second") && started("second") <= started("main"));
    if let Some(kubectl) = cluster.kubectl() {
        let row = kubectl.run(&["get", "pod", "server", "--no-headers"]).await;
        assert_eq!(row.split_whitespace().nth(1), Some("4/4"), "{row}");
    }
    // Watched to the end: the last status shows in which order they ended.
    let api = Api::<Pod>::default_namespaced(client.clone());
    let keep = json!({"metadata": {"finalizers": ["example.com/keep"]}});
    api.patch("server", &PatchParams::default(), &Patch::Merge(keep)).await.unwrap();
    api.delete("server", &DeleteParams::default()).await.unwrap();
    let stopping = seen(&client, "server", |pod| has_ended(pod, "short")).await;
    assert!(named(&stopping, "main").state.unwrap().running.is_some(), "it has its grace");
    let ended = seen(&client, "server", |pod| {
        let all = containers(pod);
        all.iter().all(|c| c.state.as_ref().is_some_and(|state| state.terminated.is_some()))
    })
    .await;
    let finished =
        |name: &str| named(&ended, name).state.unwrap().terminated.unwrap().finished_at.unwrap().0;
    assert!(finished("main") <= finished("second") && finished("second") <= finished("first"));
    let release = json!({"metadata": {"finalizers": null}});
    api.patch("server", &PatchParams::default(), &Patch::Merge(release)).await.unwrap();
}
