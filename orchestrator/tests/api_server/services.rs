//! Addresses and node ports of Services.
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Cluster, SERVICES};

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

#[tokio::test]
async fn a_service_gets_an_address_that_nobody_else_has() {
    let cluster = Cluster::start().await;
    let first = cluster.create(SERVICES, service("a", json!({}))).await;
    let address = first["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10.43."), "{address}");
    assert_eq!(first["spec"]["clusterIPs"], json!([address]));
    let taken = cluster.post(SERVICES, service("b", json!({"clusterIP": address}))).await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        taken.json["message"],
        format!(
            r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["{address}"]: failed to allocate IP {address}: provided IP is already allocated"#
        )
    );
    cluster.delete(&format!("{SERVICES}/a"), json!(null)).await;
    cluster.create(SERVICES, service("b", json!({"clusterIP": address}))).await;
}

#[tokio::test]
async fn the_service_of_the_api_itself_has_the_first_address() {
    let cluster = Cluster::start().await;
    let api = cluster.get(&format!("{SERVICES}/kubernetes")).await.json;
    assert_eq!(api["spec"]["clusterIP"], "10.43.0.1");
    let taken = cluster.post(SERVICES, service("b", json!({"clusterIP": "10.43.0.1"}))).await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
    // Nor does anybody get it while that Service is away.
    cluster.delete(&format!("{SERVICES}/kubernetes"), json!(null)).await;
    let taken = cluster.post(SERVICES, service("b", json!({"clusterIP": "10.43.0.1"}))).await;
    assert_eq!(
        taken.json["message"],
        r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.43.0.1"]: failed to allocate IP 10.43.0.1: provided IP is already allocated"#
    );
    cluster.create(SERVICES, service("kubernetes", json!({"clusterIP": "10.43.0.1"}))).await;
}

#[tokio::test]
async fn a_dry_run_and_a_failed_create_reserve_nothing() {
    let cluster = Cluster::start().await;
    let wished = service("a", json!({"clusterIP": "10.43.0.7", "type": "NodePort"}));
    let dry = cluster.post(&format!("{SERVICES}?dryRun=All"), wished.clone()).await;
    assert_eq!(dry.status, StatusCode::CREATED, "{}", dry.text);
    cluster.create(SERVICES, service("b", json!({}))).await;
    let clash = cluster.post(SERVICES, service("b", json!({"clusterIP": "10.43.0.7"}))).await;
    assert_eq!(clash.json["reason"], "AlreadyExists", "{}", clash.text);
    cluster.create(SERVICES, wished).await;
}

#[tokio::test]
async fn a_headless_service_has_no_address() {
    let cluster = Cluster::start().await;
    let created = cluster.create(SERVICES, service("a", json!({"clusterIP": "None"}))).await;
    assert_eq!(created["spec"]["clusterIP"], "None");
    cluster.create(SERVICES, service("b", json!({"clusterIP": "None"}))).await;
}

#[tokio::test]
async fn node_ports_are_given_out_once_and_given_back() {
    let cluster = Cluster::start().await;
    let node_port = |object: &Value| object["spec"]["ports"][0]["nodePort"].as_u64();
    let first = cluster.create(SERVICES, service("a", json!({"type": "NodePort"}))).await;
    let port = node_port(&first).unwrap();
    assert!((30_000..=32_767).contains(&port), "{port}");
    let same = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let taken = cluster.post(SERVICES, service("b", same.clone())).await;
    assert_eq!(
        taken.json["message"],
        format!(
            r#"Service "b" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"#
        )
    );
    let patch = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
    let changed = cluster.patch(&format!("{SERVICES}/a"), "merge", patch).await;
    assert_eq!(node_port(&changed.json), None, "{}", changed.text);
    cluster.create(SERVICES, service("b", same)).await;
}
