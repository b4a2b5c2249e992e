//! update: PUT of a whole object.
use http::StatusCode;
use serde_json::json;

use crate::harness::{CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment, pod};

#[tokio::test]
async fn a_stale_update_is_a_conflict_and_one_without_version_overwrites() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/c1");
    let first = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    let second = cluster.put(&path, second).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    let stale = cluster.put(&path, first).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert_eq!(
        stale.json["message"],
        "Operation cannot be fulfilled on configmaps \"c1\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let forced = cluster.put(&path, config_map("c1")).await;
    assert_eq!(forced.json["data"]["a"], "1");
    assert_eq!(forced.json["metadata"]["uid"], second.json["metadata"]["uid"]);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let again = cluster.put(&format!("{CONFIG_MAPS}/c1"), created.clone()).await;
    assert_eq!(again.json, created);
}

#[tokio::test]
async fn what_names_the_object_cannot_change() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/c1");
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let answer = cluster.put(&path, config_map("c2")).await;
    assert_eq!(
        answer.json["message"],
        "the name of the object (c2) does not match the name on the URL (c1)"
    );
    let mut other = created.clone();
    other["metadata"]["uid"] = json!("other");
    assert_eq!(cluster.put(&path, other).await.status, StatusCode::CONFLICT);
    let mut older = created;
    older["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    let answer = cluster.put(&path, older).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.contains("metadata.creationTimestamp: Invalid value"), "{message}");
    assert!(message.ends_with("field is immutable"), "{message}");
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let mut wished = deployment("d");
    wished["status"] = json!({"replicas": 7});
    let created = cluster.create(DEPLOYMENTS, wished).await;
    assert_eq!(created["metadata"]["generation"], 1);
    assert!(created["status"].get("replicas").is_none(), "{}", created["status"]);

    let mut seen = created.clone();
    seen["spec"]["replicas"] = json!(9);
    seen["status"] = json!({"replicas": 2});
    let seen = cluster.put(&format!("{path}/status"), seen).await.json;
    assert_eq!(seen["spec"]["replicas"], 2);
    assert_eq!(seen["status"]["replicas"], 2);
    assert_eq!(seen["metadata"]["generation"], 1);

    let mut wished = seen.clone();
    wished["spec"]["replicas"] = json!(3);
    wished["status"] = json!({"replicas": 3});
    let wished = cluster.put(&path, wished).await.json;
    assert_eq!(wished["spec"]["replicas"], 3);
    assert_eq!(wished["status"]["replicas"], 2);
    assert_eq!(wished["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/c1");
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let mut wished = created.clone();
    wished["data"]["a"] = json!("2");
    let answer = cluster.put(&format!("{path}?dryRun=All"), wished).await;
    assert_eq!(answer.json["data"]["a"], "2");
    assert_eq!(cluster.get(&path).await.json, created);
}

#[tokio::test]
async fn lists_and_maps_of_nothing_are_as_if_they_were_not_there() {
    let cluster = Cluster::start().await;
    let mut empty = pod("web");
    empty["spec"]["containers"][0]["args"] = json!([]);
    empty["spec"]["nodeSelector"] = json!({});
    empty["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    let created = cluster.create(PODS, empty).await;
    assert_eq!(created["spec"]["containers"][0].get("args"), None);
    assert_eq!(created["spec"].get("nodeSelector"), None);
    assert_eq!(created["spec"]["volumes"][0]["emptyDir"], json!({}));
    let mut again = created.clone();
    again["spec"]["containers"][0]["args"] = json!([]);
    let answer = cluster.put(&format!("{PODS}/web"), again).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);

    let created = cluster.create(DEPLOYMENTS, deployment("d")).await;
    let mut again = created.clone();
    again["spec"]["template"]["spec"]["nodeSelector"] = json!({});
    let answer = cluster.put(&format!("{DEPLOYMENTS}/d"), again).await;
    assert_eq!(answer.json["metadata"]["generation"], 1, "{}", answer.text);
}
