//! Guests that other people's tool chains made: Python, JavaScript, Go.
//!
//! `tests/guests/foreign/build.sh` fetches the tool chains and builds the guests; where it has not
//! run, or a tool chain could not be had, a test says so and passes.
use std::time::Duration;

use crate::support::{cluster, create, get, push_file, rolled_out, web};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use kube::api::ListParams;
use podium_tests::{eventually, eventually_within, foreign_guest};
use serde_json::{Value, json};

/// As long as the largest may take to compile on a loaded machine: 15 s of CPU on an idle one.
const COMPILATION: Duration = Duration::from_secs(300);

/// A function answers through the gateway what its language made of its variables.
async fn answers(name: &str, language: &str) {
    let Some(guest) = foreign_guest(&format!("{name}.wasm")) else { return };
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push_file(&cluster, &guest, &format!("{name}:v1")).await;
    let (mut deployment, service) = web(name, &format!("{name}:v1"), 2);
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = json!([
        {"name": "GREETING", "value": "hello"}, {"name": "WORDS", "value": "pear apple fig"},
    ]);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    eventually_within(COMPILATION, "it is compiled and started", async || {
        let status = deployments.get(name).await.map_err(|error| error.to_string())?.status;
        let ready = status.as_ref().and_then(|status| status.ready_replicas);
        if ready == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    rolled_out(&client, name).await;
    let host = format!("{name}.localhost");
    eventually("the gateway leads to it", async || match get(&cluster, &host, "/a/b?c=d").await {
        Ok((200, body)) => {
            let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            assert_eq!(answer["language"], language);
            assert_eq!(answer["path"], "/a/b?c=d");
            assert_eq!(answer["greeting"], "hello");
            assert_eq!(answer["sorted"], json!(["apple", "fig", "pear"]));
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .await;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let restarts = pod.status.unwrap().container_statuses.unwrap()[0].restart_count;
        assert_eq!(restarts, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_component_is_a_function() {
    answers("python", "CPython").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_component_is_a_function() {
    answers("javascript", "JavaScript").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_program_has_arguments_environment_and_files() {
    let Some(guest) = foreign_guest("go.wasm") else { return };
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push_file(&cluster, &guest, "count:v1").await;
    let text = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text"},
        "data": {"poem.txt": "roses are red\nviolets are blue\n"},
    });
    create::<ConfigMap>(&client, &text).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "count"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "count", "image": "count:v1", "args": ["/text/poem.txt", "/out/count"],
                "env": [{"name": "TITLE", "value": "poem"}],
                "volumeMounts": [
                    {"name": "text", "mountPath": "/text"}, {"name": "out", "mountPath": "/out"},
                ],
            }],
            "volumes": [
                {"name": "text", "configMap": {"name": "text"}}, {"name": "out", "emptyDir": {}},
            ],
        },
    });
    create::<Pod>(&client, &pod).await;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    eventually("the program succeeds", async || {
        let status = pods.get("count").await.map_err(|error| error.to_string())?.status;
        match status.as_ref().and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    let log = pods.logs("count", &Default::default()).await.unwrap();
    assert_eq!(log, "poem: 6 words\n");
}
