//! binding, log, scale and tokens.
use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{LogParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, DEPLOYMENTS, PODS, deployment, pod};

fn binding(node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, pod("web")).await;
    let path = format!("{PODS}/web/binding");
    let answer = cluster.post(&path, binding("n1")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json["status"], "Success");
    let bound = cluster.get(&format!("{PODS}/web")).await.json;
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let conditions = bound["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"));
    let again = cluster.post(&path, binding("n2")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(
        again.json["message"],
        "Operation cannot be fulfilled on pods \"web\": pod web is already assigned to node \"n1\""
    );
}

#[tokio::test]
async fn logs_come_from_the_node() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, pod("web")).await;
    let path = format!("{PODS}/web/log");
    assert_eq!(cluster.get(&path).await.text, "");
    cluster.post(&format!("{PODS}/web/binding"), binding("n1")).await;
    let lost = cluster.get(&path).await;
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE, "{}", lost.text);

    let node = Router::new().route(
        "/containerLogs/default/web/main",
        get(|uri: http::Uri| async move {
            match uri.query() {
                Some("previous=true") => Err((
                    StatusCode::BAD_REQUEST,
                    "previous terminated container \"main\" in pod \"web\" not found",
                )),
                query => Ok(format!("hello {}\n", query.unwrap_or_default())),
            }
        }),
    );
    cluster.server.nodes().insert("n1", node);
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(cluster.client());
    let params = LogParams { tail_lines: Some(3), ..LogParams::default() };
    assert_eq!(api.logs("web", &params).await.unwrap(), "hello tailLines=3\n");
    let refused = cluster.get(&format!("{path}?previous=true")).await;
    assert_eq!(refused.json["reason"], "BadRequest");
    assert_eq!(
        refused.json["message"],
        "previous terminated container \"main\" in pod \"web\" not found"
    );
    let wrong = cluster.get(&format!("{path}?container=x")).await;
    assert_eq!(wrong.json["message"], "container x is not valid for pod web");
}

#[tokio::test]
async fn what_a_sandbox_cannot_do_is_said_with_a_way_out() {
    let cluster = Cluster::start().await;
    cluster.create(PODS, pod("web")).await;
    for (method, subresource, way_out) in [
        (Method::POST, "exec?command=ls", "kubectl logs web -n default"),
        (Method::GET, "attach", "kubectl logs -f web"),
        (Method::POST, "portforward", "/api/v1/namespaces/default/pods/web:PORT/proxy/"),
        (Method::PATCH, "ephemeralcontainers", "kubectl describe pod web"),
    ] {
        let answer = cluster.send(method, &format!("{PODS}/web/{subresource}"), &[], "").await;
        assert_eq!(answer.json["reason"], "BadRequest", "{}", answer.text);
        let message = answer.json["message"].as_str().unwrap();
        assert!(message.starts_with("cannot ") && message.contains(way_out), "{message}");
    }
    let answer = cluster.send(Method::POST, &format!("{PODS}/none/exec"), &[], "").await;
    assert_eq!(answer.json["message"], "pods \"none\" not found");
    let answer = cluster.send(Method::POST, &format!("{DEPLOYMENTS}/web/exec"), &[], "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_scale_reads_and_writes_the_replicas() {
    let cluster = Cluster::start().await;
    cluster.create(DEPLOYMENTS, deployment("d")).await;
    let api: Api<Deployment> = Api::default_namespaced(cluster.client());
    let scale = api.get_scale("d").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=d"));
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scale = api.patch_scale("d", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(5));
    let object = cluster.get(&format!("{DEPLOYMENTS}/d")).await.json;
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(object["metadata"]["generation"], 2);
    let mut put = cluster.get(&format!("{DEPLOYMENTS}/d/scale")).await.json;
    put["spec"]["replicas"] = json!(-1);
    let refused = cluster.put(&format!("{DEPLOYMENTS}/d/scale"), put).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
}

#[tokio::test]
async fn a_service_account_is_known_by_its_token_while_it_exists() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    });
    let answer = cluster.post(&format!("{accounts}/default/token"), request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json["status"]["expirationTimestamp"], "2026-11-21T04:10:00Z");
    let bearer = format!("Bearer {}", answer.json["status"]["token"].as_str().unwrap());
    let ask = async || {
        let headers = [("authorization", bearer.as_str())];
        cluster.send_as(None, Method::GET, PODS, &headers, "").await
    };
    let known = ask().await;
    assert_eq!(known.status, StatusCode::FORBIDDEN);
    let message = known.json["message"].as_str().unwrap();
    assert!(message.contains(r#"User "system:serviceaccount:default:default""#), "{message}");
    cluster.delete(&format!("{accounts}/default"), json!(null)).await;
    assert_eq!(ask().await.status, StatusCode::UNAUTHORIZED);
}
