//! The forms of an answer.
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{CONFIG_MAPS, Cluster, DEPLOYMENTS, config_map, deployment};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn a_table_is_what_kubectl_prints() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    cluster.clock.set("2026-11-21T04:05:00Z".parse().unwrap());
    let get = async |query: &str| {
        let path = format!("{CONFIG_MAPS}{query}");
        cluster.send(Method::GET, &path, &[("accept", TABLE)], "").await.json
    };
    let table = get("").await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
    let columns = table["columnDefinitions"].as_array().unwrap();
    let columns: Vec<_> = columns.iter().map(|c| (&c["name"], &c["type"])).collect();
    assert_eq!(
        columns,
        [
            (&json!("Name"), &json!("string")),
            (&json!("Data"), &json!("integer")),
            (&json!("Age"), &json!("string"))
        ]
    );
    assert_eq!(table["rows"][0]["cells"], json!(["c1", 1, "5m"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "c1");
    assert!(get("?includeObject=None").await["rows"][0].get("object").is_none());
    assert_eq!(get("?includeObject=Object").await["rows"][0]["object"]["data"]["a"], "1");
    let one = get("/c1").await;
    assert_eq!((&one["kind"], &one["rows"][0]["cells"][0]), (&json!("Table"), &json!("c1")));
}

#[tokio::test]
async fn a_subresource_is_shown_as_a_table() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, deployment("d")).await;
    cluster.clock.set("2026-11-21T04:05:00Z".parse().unwrap());
    let get = async |subresource: &str| {
        let path = format!("{DEPLOYMENTS}/d/{subresource}");
        let table = cluster.send(Method::GET, &path, &[("accept", TABLE)], "").await.json;
        let columns = table["columnDefinitions"].as_array().unwrap().iter();
        let columns = columns.filter(|column| column["priority"] == 0);
        let names: Vec<_> = columns.map(|column| column["name"].clone()).collect();
        (names, table["rows"][0]["cells"].clone())
    };
    let (columns, cells) = get("scale").await;
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(cells, json!(["d", 2, 0, "5m"]));
    let (columns, cells) = get("status").await;
    assert_eq!(columns, ["Name", "Ready", "Up-to-date", "Available", "Age"]);
    assert_eq!(cells[1], "0/2");
}

#[tokio::test]
async fn metadata_can_be_had_alone() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let accept = [("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")];
    let list = cluster.send(Method::GET, CONFIG_MAPS, &accept, "").await.json;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn answers_are_json_unless_yaml_is_asked_for() {
    let cluster = Cluster::start().await;
    cluster.create(CONFIG_MAPS, config_map("c1")).await;
    let path = format!("{CONFIG_MAPS}/c1");
    let get =
        async |accept: &str| cluster.send(Method::GET, &path, &[("accept", accept)], "").await;
    let answer = get("application/vnd.kubernetes.protobuf,application/json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(get("application/yaml").await.text.contains("kind: ConfigMap\n"));
    let refused = get("application/cbor").await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(refused.json["reason"], "NotAcceptable");
    let pretty = cluster.get(&format!("{path}?pretty=true")).await;
    assert!(pretty.text.contains("\n  \"kind\""), "{}", pretty.text);
}
