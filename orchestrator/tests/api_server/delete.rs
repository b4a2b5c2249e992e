//! delete and deletecollection.
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{CONFIG_MAPS, Cluster, DEPLOYMENTS, PODS, config_map, deployment, pod};

#[tokio::test]
async fn a_deleted_object_is_gone() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let answer = cluster.delete(&path, json!({"propagationPolicy": "Background"})).await;
    assert_eq!(
        answer.json,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {
                "name": "c1", "kind": "configmaps", "uid": created["metadata"]["uid"],
            },
        })
    );
    assert_eq!(cluster.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(cluster.delete(&path, json!(null)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_precondition_that_fails_keeps_the_object() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let answer = cluster.delete(&path, json!({"preconditions": {"uid": "other"}})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        answer.json["message"].as_str().unwrap(),
        format!(
            "Operation cannot be fulfilled on configmaps \"c1\": Precondition failed: UID in precondition: other, UID in object meta: {uid}"
        )
    );
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(cluster.delete(&path, stale).await.status, StatusCode::CONFLICT);
    let right = json!({"preconditions": {"uid": uid}});
    assert_eq!(cluster.delete(&path, right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let cluster = Cluster::start().await;
    let mut held = config_map("c1");
    held["metadata"]["finalizers"] = json!(["podium.dev/hold"]);
    cluster.create(CONFIG_MAPS, held).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let marked = cluster.delete(&path, json!(null)).await.json;
    assert_eq!(marked["kind"], "ConfigMap");
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-11-21T04:00:00Z");
    let more = json!({"metadata": {"finalizers": ["podium.dev/hold", "podium.dev/more"]}});
    let refused = cluster.patch(&path, "merge", more).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let none = json!({"metadata": {"finalizers": null}});
    assert_eq!(cluster.patch(&path, "merge", none).await.status, StatusCode::OK);
    assert_eq!(cluster.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn propagation_is_left_to_the_garbage_collector() {
    let cluster = Cluster::start().await;
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        let path = format!("{DEPLOYMENTS}/{}", finalizer.to_lowercase());
        cluster.create(DEPLOYMENTS, deployment(&finalizer.to_lowercase())).await;
        let answer = cluster.delete(&path, json!({"propagationPolicy": policy})).await;
        let accepted = answer.status == StatusCode::ACCEPTED;
        assert_eq!(accepted, policy == "Foreground", "{}", answer.status);
        let marked = answer.json;
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        assert_eq!(marked["metadata"]["generation"], 2);
        let gone = cluster.delete(&path, json!({"propagationPolicy": "Background"})).await;
        assert_eq!(gone.json["status"], "Success", "{}", gone.text);
    }
    let wrong = cluster.delete(CONFIG_MAPS, json!({"propagationPolicy": "Sideways"})).await;
    assert_eq!(
        wrong.json["message"],
        r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan""#
    );
}

#[tokio::test]
async fn a_job_keeps_its_pods_unless_the_deletion_says_otherwise() {
    const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
    let cluster = Cluster::start().await;
    let template = json!({
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "hello:1"}]},
    });
    for name in ["a", "b", "c"] {
        let job = json!({"metadata": {"name": name}, "spec": {"template": template}});
        cluster.create(JOBS, job).await;
    }
    let kept = cluster.delete(&format!("{JOBS}/a"), json!(null)).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.text);
    assert_eq!(kept.json["metadata"]["finalizers"], json!(["orphan"]));
    let warning = kept.headers["warning"].to_str().unwrap();
    assert!(warning.contains("child pods are preserved by default when jobs are deleted"));
    let background = json!({"propagationPolicy": "Background"});
    let gone = cluster.delete(&format!("{JOBS}/b"), background).await;
    assert_eq!(gone.json["status"], "Success", "{}", gone.text);
    assert!(!gone.headers.contains_key("warning"));
    let all = cluster.delete(JOBS, json!(null)).await;
    assert!(all.headers.contains_key("warning"), "{}", all.text);
    let left = cluster.get(&format!("{JOBS}/c")).await.json;
    assert_eq!(left["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn a_pod_on_a_node_is_given_time_that_can_only_be_shortened() {
    let cluster = Cluster::start().await;
    let mut running = pod("web");
    running["spec"]["nodeName"] = json!("n1");
    cluster.create(PODS, running).await;
    let path = format!("{PODS}/web");
    let grace = |object: &Value| {
        let metadata = &object["metadata"];
        (metadata["deletionGracePeriodSeconds"].clone(), metadata["deletionTimestamp"].clone())
    };
    let marked = cluster.delete(&path, json!(null)).await.json;
    assert_eq!(grace(&marked), (json!(30), json!("2026-11-21T04:00:30Z")));
    cluster.clock.set("2026-11-21T04:00:05Z".parse().unwrap());
    let longer = cluster.delete(&path, json!({"gracePeriodSeconds": 60})).await.json;
    assert_eq!(longer, marked);
    let shorter = cluster.delete(&path, json!({"gracePeriodSeconds": 10})).await.json;
    assert_eq!(grace(&shorter), (json!(10), json!("2026-11-21T04:00:10Z")));
    let now = cluster.delete(&format!("{path}?gracePeriodSeconds=0"), json!(null)).await;
    assert_eq!(now.status, StatusCode::OK, "{}", now.text);
    assert_eq!(cluster.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"keep": if name == "b" { "yes" } else { "no" }});
        cluster.create(CONFIG_MAPS, object).await;
    }
    let answer =
        cluster.delete(&format!("{CONFIG_MAPS}?labelSelector=keep%3Dno"), json!(null)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let left = cluster.get(CONFIG_MAPS).await.json;
    let names: Vec<_> =
        left["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let answer = cluster.delete(&path, json!({"dryRun": ["All"]})).await;
    assert_eq!(answer.json["status"], "Success");
    assert_eq!(cluster.get(&path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_priority_classes_of_the_cluster_stay() {
    let cluster = Cluster::start().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let path = format!("{classes}/system-node-critical");
    let answer = cluster.delete(&path, json!(null)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer.json["message"],
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted"
    );
    assert_eq!(cluster.get(&path).await.status, StatusCode::OK);
    cluster.create(classes, json!({"metadata": {"name": "high"}, "value": 5})).await;
    let answer = cluster.delete(&format!("{classes}/high"), json!(null)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn a_namespace_goes_when_its_last_finalizer_does() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/shop";
    cluster.create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let mut going = cluster.delete(path, json!(null)).await.json;
    assert_eq!(going["status"]["phase"], "Terminating", "{going}");
    going["spec"]["finalizers"] = json!([]);
    let answer = cluster.put(&format!("{path}/finalize"), going).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(cluster.get(path).await.status, StatusCode::NOT_FOUND);
    let answer = cluster.delete("/api/v1/namespaces/default", json!(null)).await;
    assert_eq!(
        answer.json["message"],
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}
