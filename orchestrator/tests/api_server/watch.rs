//! list and watch.
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use crate::harness::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

fn labelled(name: &str, tier: &str) -> Value {
    let mut object = config_map(name);
    object["metadata"]["labels"] = json!({"tier": tier});
    object
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_are_selected_by_label_and_field_and_namespace() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, labelled("a", "x")).await;
    cluster.create(CONFIG_MAPS, labelled("b", "y")).await;
    let list = async |query: &str| cluster.get(&format!("{CONFIG_MAPS}?{query}")).await.json;
    assert_eq!(names(&list("labelSelector=tier%3Dx").await), ["a"]);
    assert_eq!(names(&list("labelSelector=tier+in+(x,y)").await), ["a", "b"]);
    assert_eq!(names(&list("fieldSelector=metadata.name%3Db").await), ["b"]);
    let everywhere = cluster.get("/api/v1/configmaps?labelSelector=tier").await.json;
    assert_eq!(names(&everywhere), ["a", "b"]);
    assert_eq!(everywhere["kind"], "ConfigMapList");
    assert!(everywhere["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn selectors_that_make_no_sense_are_refused() {
    let cluster = Cluster::start().await;
    for (query, message) in [
        ("fieldSelector=spec.bogus%3Dx", "field label not supported: spec.bogus"),
        ("labelSelector=a+b", "unable to parse requirement"),
        ("limit=x", "strconv.ParseInt"),
        ("resourceVersion=x", "resourceVersion: Invalid value"),
    ] {
        let answer = cluster.get(&format!("{PODS}?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}: {}", answer.text);
        assert!(answer.json["message"].as_str().unwrap().contains(message), "{}", answer.text);
    }
    let answer = cluster.get(&format!("{PODS}?fieldSelector=spec.bogus%3Dx")).await;
    assert_eq!(answer.json["message"], "field label not supported: spec.bogus");
    let answer = cluster.get(&format!("{PODS}?resourceVersionMatch=Exact")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_list_comes_in_pages_as_of_one_moment() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.create(CONFIG_MAPS, config_map(name)).await;
    }
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await.json;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    cluster.delete(&format!("{CONFIG_MAPS}/c"), json!(null)).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let second = cluster.get(&format!("{CONFIG_MAPS}?limit=9&continue={token}")).await.json;
    assert_eq!(names(&second), ["c", "d", "e"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(second["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn a_watch_follows_changes_after_a_version() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("before")).await;
    let list = cluster.get(CONFIG_MAPS).await.json;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.create(CONFIG_MAPS, config_map("after")).await;
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
    let mut lines = cluster.watch(&path, &[]).await;
    assert_eq!(lines.next_named().await, ("ADDED".into(), "after".into()));
    let path = format!("{CONFIG_MAPS}/before");
    cluster.patch(&path, "merge", json!({"data": {"b": "2"}})).await;
    let changed = lines.next().await.unwrap();
    assert_eq!(
        (changed["type"].as_str(), &changed["object"]["data"]["b"]),
        (Some("MODIFIED"), &json!("2"))
    );
    cluster.delete(&path, json!(null)).await;
    let deleted = lines.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    let version = |event: &Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(version(&deleted) > version(&changed), "a deletion has a version of its own");
}

#[tokio::test]
async fn an_object_that_begins_or_ceases_to_match_is_added_or_deleted() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=tier%3Dx");
    let mut lines = cluster.watch(&path, &[]).await;
    cluster.create(CONFIG_MAPS, labelled("a", "y")).await;
    cluster.create(CONFIG_MAPS, labelled("b", "x")).await;
    assert_eq!(lines.next_named().await, ("ADDED".into(), "b".into()));
    let tier = |tier: &str| json!({"metadata": {"labels": {"tier": tier}}});
    cluster.patch(&format!("{CONFIG_MAPS}/a"), "merge", tier("x")).await;
    assert_eq!(lines.next_named().await, ("ADDED".into(), "a".into()));
    cluster.patch(&format!("{CONFIG_MAPS}/a"), "merge", tier("y")).await;
    assert_eq!(lines.next_named().await, ("DELETED".into(), "a".into()));
}

#[tokio::test]
async fn a_streaming_list_ends_with_the_bookmark_that_clients_wait_for() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("a")).await;
    let path = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut lines = cluster.watch(&path, &[]).await;
    assert_eq!(lines.next_named().await, ("ADDED".into(), "a".into()));
    let bookmark = lines.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    for lacking in ["spec", "status"] {
        assert!(bookmark["object"].get(lacking).is_none(), "{bookmark}");
    }
    let annotations = &bookmark["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    let wrong = format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true");
    assert_eq!(cluster.get(&wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn history_that_is_gone_is_said_to_be() {
    let cluster = Cluster::start().await;
    let list = cluster.get(&format!("{CONFIG_MAPS}?limit=1")).await.json;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    for name in ["a", "b"] {
        cluster.create(CONFIG_MAPS, config_map(name)).await;
    }
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}");
    let mut lines = cluster.watch(&path, &[]).await;
    let error = lines.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert_eq!(lines.next().await, None);
    let path = format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(cluster.get(&path).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_watch_ends_when_it_was_asked_to() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1");
    let mut lines = cluster.watch(&path, &[]).await;
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn stopping_ends_every_watch() {
    let cluster = Cluster::start().await;
    let mut lines = cluster.watch(&format!("{CONFIG_MAPS}?watch=1"), &[]).await;
    cluster.server.begin_stop();
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn tables_are_watched_too() {
    let cluster = Cluster::start().await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut lines = cluster.watch(&format!("{PODS}?watch=1"), &accept).await;
    cluster.create(PODS, pod("a")).await;
    cluster.create(PODS, pod("b")).await;
    let first = lines.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    let second = lines.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
}

#[tokio::test]
async fn an_unmodified_watcher_sees_what_is_and_what_comes() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("a")).await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut names = watcher(api.clone(), config)
            .applied_objects()
            .map_ok(|object| object.metadata.name.unwrap())
            .boxed();
        assert_eq!(names.next().await.unwrap().unwrap(), "a");
        cluster.create(CONFIG_MAPS, config_map("b")).await;
        assert_eq!(names.next().await.unwrap().unwrap(), "b");
        cluster.delete(&format!("{CONFIG_MAPS}/b"), json!(null)).await;
    }
}
