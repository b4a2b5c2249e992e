//! What Pods use, as their nodes tell.
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::harness::{Cluster, PODS, pod};

/// What a node says of Pods with one young container each.
fn summary(pods: &[&str]) -> Value {
    let at = "2026-11-21T04:00:05Z";
    let of_pod = |name: &&str| {
        json!({
            "podRef": {"name": name, "namespace": "default", "uid": "u"},
            "containers": [{
                "name": "main", "startTime": "2026-11-21T04:00:00Z",
                "cpu": {"time": at, "usageCoreNanoSeconds": 1_000_000},
                "memory": {"time": at, "workingSetBytes": 1_024},
            }],
        })
    };
    json!({"node": {"nodeName": "n"}, "pods": pods.iter().map(of_pod).collect::<Value>()})
}

#[tokio::test]
async fn a_list_of_what_is_used_has_no_pages() {
    let cluster = Cluster::start().await;
    let pods = ["a", "b", "c"];
    for name in pods {
        let mut running = pod(name);
        running["spec"]["nodeName"] = json!("n");
        cluster.create(PODS, running).await;
    }
    let api =
        Router::new().route("/stats/summary", get(move || async move { Json(summary(&pods)) }));
    cluster.server.nodes().insert("n", api);
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let answer = cluster.get(&format!("{path}?limit=1")).await;
    assert_eq!(answer.json["items"].as_array().unwrap().len(), 3, "{}", answer.text);
    assert_eq!(answer.json["metadata"], json!({}));
}
