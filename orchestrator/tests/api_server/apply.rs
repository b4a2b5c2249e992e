//! Server-side apply, and the books about who set what.
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, CONFIG_MAPS, Cluster, DEPLOYMENTS, config_map, deployment};

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

async fn apply(cluster: &Cluster, path: &str, query: &str, config: &Value) -> Answer {
    let path = format!("{path}?{query}");
    cluster.send(Method::PATCH, &path, &[APPLY], config.to_string()).await
}

fn managers(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let found = entries.iter().map(|entry| {
        (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"))
    });
    found.collect()
}

fn manager(name: &str, operation: &str, subresource: &str) -> (String, String, String) {
    (name.into(), operation.into(), subresource.into())
}

#[tokio::test]
async fn applying_makes_changes_and_takes_back() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/c");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '2'}\n";
    let query = format!("{path}?fieldManager=one");
    let answer = cluster.send(Method::PATCH, &query, &[APPLY], yaml).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(managers(&answer.json), [manager("one", "Apply", "")]);
    let fields = &answer.json["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(*fields, json!({"f:data": {"f:a": {}, "f:b": {}}}));
    let version = answer.json["metadata"]["resourceVersion"].clone();

    let again = cluster.send(Method::PATCH, &query, &[APPLY], yaml).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json["metadata"]["resourceVersion"], version, "nothing changed");

    let mut config = config_map("c");
    let answer = apply(&cluster, &path, "fieldManager=one", &config).await;
    assert_eq!(answer.json["data"], json!({"a": "1"}));
    config["data"] = json!({"a": "2"});
    let answer = apply(&cluster, &path, "fieldManager=two", &config).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        answer.json["message"],
        r#"Apply failed with 1 conflict: conflict with "one": .data.a"#
    );
    assert_eq!(
        answer.json["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"}])
    );
    let answer = apply(&cluster, &path, "fieldManager=two&force=true", &config).await;
    assert_eq!(answer.json["data"], json!({"a": "2"}), "{}", answer.text);
    assert_eq!(managers(&answer.json), [manager("two", "Apply", "")]);
}

#[tokio::test]
async fn a_dry_run_applies_nothing() {
    let cluster = Cluster::start().await;
    let path = format!("{CONFIG_MAPS}/c");
    let query = "fieldManager=one&dryRun=All";
    let answer = apply(&cluster, &path, query, &config_map("c")).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(cluster.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_writer_is_noted_with_what_it_set() {
    let cluster = Cluster::start().await;
    let headers = [("content-type", "application/json"), ("user-agent", "curl/8.0 (linux)")];
    let body = deployment("d").to_string();
    let created = cluster.send(Method::POST, DEPLOYMENTS, &headers, body).await.json;
    assert_eq!(managers(&created), [manager("curl", "Update", "")]);
    let fields = &created["metadata"]["managedFields"][0]["fieldsV1"];
    let container = "k:{\"name\":\"main\"}";
    let spec = &fields["f:spec"]["f:template"]["f:spec"];
    assert_eq!(spec["f:containers"][container]["f:image"], json!({}), "{fields}");
    assert!(fields.get("f:status").is_none() && fields["f:metadata"].get("f:name").is_none());

    let path = format!("{DEPLOYMENTS}/d");
    let scale = json!({"spec": {"replicas": 5}});
    let answer = cluster.patch(&format!("{path}/scale?fieldManager=scaler"), "merge", scale).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let status = json!({"status": {"replicas": 3}});
    let answer = cluster.patch(&format!("{path}/status?fieldManager=seer"), "merge", status).await;
    let found = managers(&answer.json);
    for expected in [
        manager("curl", "Update", ""),
        manager("scaler", "Update", "scale"),
        manager("seer", "Update", "status"),
    ] {
        assert!(found.contains(&expected), "{found:?}");
    }
    let conflicting = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1},
    });
    let answer = apply(&cluster, &path, "fieldManager=me", &conflicting).await;
    assert_eq!(
        answer.json["message"],
        r#"Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas"#
    );
}

#[tokio::test]
async fn status_and_scale_can_be_applied() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d");
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 9}, "status": {"replicas": 2},
    });
    let answer = apply(&cluster, &format!("{path}/status"), "fieldManager=seer", &status).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        (&answer.json["status"]["replicas"], &answer.json["spec"]["replicas"]),
        (&json!(2), &json!(2))
    );
    let entries = answer.json["metadata"]["managedFields"].as_array().unwrap().clone();
    let seer = entries.iter().find(|entry| entry["manager"] == "seer").unwrap();
    assert_eq!(seer["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));

    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 7},
    });
    let query = "fieldManager=scaler&force=true";
    let answer = apply(&cluster, &format!("{path}/scale"), query, &scale).await;
    assert_eq!(answer.json["kind"], "Scale", "{}", answer.text);
    assert_eq!(answer.json["spec"]["replicas"], 7);
    let found = managers(&cluster.get(&path).await.json);
    assert!(found.contains(&manager("scaler", "Apply", "scale")), "{found:?}");
}

#[tokio::test]
async fn managers_are_kept_replaced_and_cleared() {
    let cluster = Cluster::start().await;
    let created = cluster.create(CONFIG_MAPS, config_map("c")).await;
    let path = format!("{CONFIG_MAPS}/c");
    let kept = cluster.put(&path, config_map("c")).await.json;
    assert_eq!(kept["metadata"]["managedFields"], created["metadata"]["managedFields"]);
    // As kubectl does when it goes over from client-side to server-side apply.
    let mut entries = created["metadata"]["managedFields"].clone();
    entries[0]["operation"] = json!("Apply");
    entries[0]["manager"] = json!("kubectl");
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": created["metadata"]["resourceVersion"]},
    ]);
    let answer = cluster.patch(&path, "json", patch).await;
    assert_eq!(managers(&answer.json), [manager("kubectl", "Apply", "")], "{}", answer.text);

    let wrong = json!({"metadata": {"managedFields": [{"operation": "Guess"}]}});
    let answer = cluster.patch(&path, "merge", wrong).await;
    assert_eq!(
        answer.json["message"],
        r#"ConfigMap "c" is invalid: metadata.managedFields[0].operation: Invalid value: "Guess": must be `Apply` or `Update`"#
    );
    let clear = json!({"metadata": {"managedFields": [{}]}});
    let answer = cluster.patch(&path, "merge", clear).await;
    assert_eq!(managers(&answer.json), [], "{}", answer.text);
    let answer = cluster.patch(&path, "merge", json!({"data": {"z": "1"}})).await;
    assert_eq!(managers(&answer.json), [], "an untracked object stays so");
    let answer = apply(&cluster, &path, "fieldManager=me", &config_map("c")).await;
    assert_eq!(
        managers(&answer.json),
        [manager("me", "Apply", ""), manager("before-first-apply", "Update", "")]
    );
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_refused() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let refused = async |query: &str, config: Value| {
        let answer = apply(&cluster, &path, query, &config).await;
        (answer.status.as_u16(), answer.json["message"].as_str().unwrap_or_default().to_owned())
    };
    let good = deployment("d");
    assert_eq!(
        refused("", good.clone()).await,
        (422, r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#.into())
    );
    let mut other = good.clone();
    other["apiVersion"] = json!("apps/v2");
    assert_eq!(
        refused("fieldManager=x", other).await,
        (400, "Incorrect version specified in apply patch. Specified patch version: apps/v2, expected: apps/v1".into())
    );
    let mut tracked = good.clone();
    tracked["metadata"]["managedFields"] = json!([]);
    let answer = refused("fieldManager=x", tracked).await;
    assert_eq!(answer, (400, "metadata.managedFields must be nil".into()));
    let mut unknown = good.clone();
    unknown["spec"]["bogus"] = json!(1);
    assert_eq!(
        refused("fieldManager=x", unknown).await,
        (500, "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): .spec.bogus: field not declared in schema".into())
    );
    let mut twice = good.clone();
    twice["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "a", "image": "a"}, {"name": "a", "image": "b"}]);
    let (code, message) = refused("fieldManager=x", twice).await;
    assert!(
        code == 500 && message.ends_with(r#": duplicate entries for key [name="a"]"#),
        "{message}"
    );
    let (code, message) = refused("fieldManager=x", json!([1])).await;
    assert!(code == 400 && message.starts_with("error decoding YAML"), "{message}");
    let merge = cluster.patch(&format!("{path}?force=true"), "merge", json!({})).await;
    assert_eq!(
        merge.json["message"],
        r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
    );
    assert_eq!(cluster.get(&path).await.status, StatusCode::NOT_FOUND);
}
