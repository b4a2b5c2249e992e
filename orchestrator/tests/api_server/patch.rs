//! patch: JSON, merge and strategic merge patches.
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{CONFIG_MAPS, Cluster, DEPLOYMENTS, config_map, deployment};

#[tokio::test]
async fn each_form_of_patch_changes_its_part() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let json_patch = json!([{"op": "replace", "path": "/data/a", "value": "5"}]);
    let answer = cluster.patch(&path, "json", json_patch).await;
    assert_eq!(answer.json["data"], json!({"a": "5"}), "{}", answer.text);
    let answer = cluster.patch(&path, "merge", json!({"data": {"b": "1", "a": null}})).await;
    assert_eq!(answer.json["data"], json!({"b": "1"}));

    cluster.create(DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d");
    let containers =
        json!([{"name": "second", "image": "b:1"}, {"name": "main", "image": "hello:2"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let answer = cluster.patch(&path, "strategic-merge", patch).await;
    let containers = answer.json["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2, "{}", answer.text);
    assert!(containers.iter().any(|c| c["name"] == "main" && c["image"] == "hello:2"));
    assert_eq!(answer.json["metadata"]["generation"], 2);
}

#[tokio::test]
async fn patches_without_a_version_never_lose_one_another() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let patches = (0..8).map(|n| {
        let (cluster, path) = (&cluster, &path);
        async move {
            let patch = json!({"data": {format!("key-{n}"): "x"}});
            cluster.patch(path, "merge", patch).await.status
        }
    });
    for status in join_all(patches).await {
        assert_eq!(status, StatusCode::OK);
    }
    let data = cluster.get(&path).await.json["data"].as_object().unwrap().len();
    assert_eq!(data, 9);
}

#[tokio::test]
async fn a_patch_for_another_version_is_a_conflict() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let version = &created["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "data": {"b": "1"}});
    assert_eq!(cluster.patch(&path, "merge", patch.clone()).await.status, StatusCode::OK);
    let mut stale = patch;
    stale["data"]["b"] = json!("2");
    assert_eq!(cluster.patch(&path, "merge", stale).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn patches_that_make_no_sense_are_refused() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let failing = json!([{"op": "test", "path": "/data/a", "value": "2"}]);
    let answer = cluster.patch(&path, "json", failing).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let renamed = json!({"metadata": {"name": "c2"}});
    assert_eq!(cluster.patch(&path, "merge", renamed).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(cluster.patch(&path, "merge", json!([])).await.status, StatusCode::BAD_REQUEST);
    let strict = format!("{path}?fieldValidation=Strict");
    let answer = cluster.patch(&strict, "merge", json!({"bogus": 1})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let message = answer.json["message"].as_str().unwrap();
    assert!(
        message.starts_with(r#" "" is invalid: patch: Invalid value: "{\"apiVersion\""#),
        "{message}"
    );
    assert!(message.ends_with(r#"": strict decoding error: unknown field "bogus""#), "{message}");
    let answer = cluster.patch(&strict, "strategic-merge", json!({"bogus": [1]})).await;
    assert_eq!(
        answer.json["message"],
        r#" "" is invalid: patch: Invalid value: "map[bogus:[1]]": strict decoding error: unknown field "bogus""#
    );
    let headers = [("content-type", "application/apply-patch+cbor")];
    let answer = cluster.send(Method::PATCH, &path, &headers, "{}").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        answer.json["message"],
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
    );
}
