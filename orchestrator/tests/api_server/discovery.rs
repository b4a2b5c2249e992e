//! Discovery, OpenAPI, health and version.
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::Cluster;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn an_unmodified_client_discovers_what_is_served() {
    let cluster = Cluster::start().await;
    let discovery = kube::discovery::Discovery::new(cluster.client()).run().await.unwrap();
    let groups: Vec<_> = discovery.groups().map(|group| group.name().to_owned()).collect();
    assert!(groups.contains(&"apps".to_owned()), "{groups:?}");
    let version = cluster.client().apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
}

#[tokio::test]
async fn aggregated_discovery_echoes_its_content_type() {
    let cluster = Cluster::start().await;
    let accept = format!(
        "{AGGREGATED},application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    );
    let headers = [("accept", accept.as_str())];
    let answer = cluster.send(Method::GET, "/apis?timeout=32s", &headers, "").await;
    assert_eq!(answer.headers["content-type"], AGGREGATED);
    assert_eq!(answer.json["kind"], "APIGroupDiscoveryList");
    let apps = answer.json["items"].as_array().unwrap();
    let apps = apps.iter().find(|group| group["metadata"]["name"] == "apps").unwrap();
    let deployments = apps["versions"][0]["resources"].as_array().unwrap();
    let deployments = deployments.iter().find(|row| row["resource"] == "deployments").unwrap();
    assert_eq!(
        deployments["responseKind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let scale = deployments["subresources"].as_array().unwrap();
    let scale = scale.iter().find(|subresource| subresource["subresource"] == "scale").unwrap();
    assert_eq!(
        scale["responseKind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
}

#[tokio::test]
async fn plain_discovery_lists_resources_and_subresources() {
    let cluster = Cluster::start().await;
    let list = cluster.get("/api/v1").await.json;
    let resources = list["resources"].as_array().unwrap();
    let named = |name: &str| resources.iter().find(|row| row["name"] == name).unwrap().clone();
    let config_maps = named("configmaps");
    assert_eq!(config_maps["shortNames"], json!(["cm"]));
    assert_eq!(config_maps["namespaced"], true);
    assert_eq!(named("pods/log")["verbs"], json!(["get"]));
    let token = named("serviceaccounts/token");
    assert_eq!(
        (&token["group"], &token["kind"]),
        (&json!("authentication.k8s.io"), &json!("TokenRequest"))
    );
    assert_eq!(cluster.get("/apis/apps").await.json["kind"], "APIGroup");
    assert_eq!(cluster.get("/apis/nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(cluster.get("/api/v1/nothings").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn openapi_is_named_by_its_hash() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.json;
    let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = cluster.get(url).await;
    assert_eq!(document.status, StatusCode::OK);
    let paths = document.json["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/v1/namespaces/{namespace}/configmaps/{name}"));
    let etag = document.headers["etag"].to_str().unwrap();
    let again = cluster.send(Method::GET, url, &[("if-none-match", etag)], "").await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn what_is_measured_has_schemas() {
    let cluster = Cluster::start().await;
    let document = cluster.get("/openapi/v3/apis/metrics.k8s.io/v1beta1").await.json;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let pod = &schemas["io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"];
    assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "PodMetrics");
    for name in [
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.ContainerMetrics",
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_review_needs_no_metadata() {
    let cluster = Cluster::start().await;
    let document = cluster.get("/openapi/v3/apis/authorization.k8s.io/v1").await.json;
    let schemas = &document["components"]["schemas"];
    let review = &schemas["io.k8s.api.authorization.v1.SubjectAccessReview"];
    assert_eq!(review["required"], json!(["spec"]));
}

#[tokio::test]
async fn there_are_no_definitions_of_custom_resources() {
    let cluster = Cluster::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let list = cluster.get(path).await;
    assert_eq!(list.status, StatusCode::OK);
    assert_eq!(
        (&list.json["kind"], &list.json["items"]),
        (&json!("CustomResourceDefinitionList"), &json!([]))
    );
    assert_eq!(cluster.get(&format!("{path}/a")).await.status, StatusCode::NOT_FOUND);
    let groups = cluster.get("/apis").await.text;
    assert!(!groups.contains("apiextensions"), "{groups}");
}

#[tokio::test]
async fn a_dump_finds_none_of_the_kinds_that_no_cluster_here_has() {
    let cluster = Cluster::start().await;
    for (path, version, kind) in [
        ("/api/v1/namespaces/default/replicationcontrollers", "v1", "ReplicationControllerList"),
        ("/apis/apps/v1/namespaces/default/daemonsets", "apps/v1", "DaemonSetList"),
        ("/apis/apps/v1/daemonsets", "apps/v1", "DaemonSetList"),
    ] {
        let list = cluster.get(path).await;
        assert_eq!(list.status, StatusCode::OK, "{path}");
        let expected = json!({"apiVersion": version, "kind": kind, "metadata": {}, "items": []});
        assert_eq!(list.json, expected);
        let created = cluster.send(Method::POST, path, &[], "{}").await;
        assert_eq!(created.status, StatusCode::NOT_FOUND, "{path}");
    }
    let apps = cluster.get("/apis/apps/v1").await.text;
    assert!(!apps.contains("daemonsets"), "{apps}");
}

#[tokio::test]
async fn old_clients_find_version_2_of_openapi() {
    let cluster = Cluster::start().await;
    let answer = cluster.get("/openapi/v2").await;
    assert_eq!(answer.json["swagger"], "2.0");
    let definitions = answer.json["definitions"].as_object().unwrap();
    assert!(definitions.contains_key("io.k8s.api.core.v1.ConfigMap"));
    let etag = answer.headers["etag"].to_str().unwrap();
    let get = async |headers: &[(&str, &str)]| {
        cluster.send(Method::GET, "/openapi/v2", headers, "").await
    };
    assert_eq!(get(&[("if-none-match", etag)]).await.status, StatusCode::NOT_MODIFIED);
    let kubectl = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary = get(&[("accept", kubectl)]).await;
    assert_eq!(
        binary.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert!(binary.text.contains("io.k8s.api.core.v1.ConfigMap"));
}
