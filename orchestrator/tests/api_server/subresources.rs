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
        "Operation cannot be fulfilled on pods/binding \"web\": pod web is already assigned to node \"n1\""
    );
}

#[tokio::test]
async fn a_pod_with_scheduling_gates_is_not_bound() {
    let cluster = Cluster::start().await;
    let mut gated = pod("web");
    gated["spec"]["schedulingGates"] = json!([{"name": "podium.dev/wait"}]);
    cluster.create(PODS, gated).await;
    let path = format!("{PODS}/web");
    let refused = cluster.post(&format!("{path}/binding"), binding("n1")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(
        refused.json["message"],
        "Operation cannot be fulfilled on pods/binding \"web\": pod web has non-empty .spec.schedulingGates"
    );
    cluster.patch(&path, "merge", json!({"spec": {"schedulingGates": null}})).await;
    let answer = cluster.post(&format!("{path}/binding"), binding("n1")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
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

#[tokio::test]
async fn a_token_is_void_without_the_object_it_is_bound_to() {
    let cluster = Cluster::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = cluster.create(secrets, json!({"metadata": {"name": "s"}})).await;
    let node = cluster.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let pod_of = cluster.create(PODS, pod("web")).await;
    let mut other = pod("other");
    other["spec"]["serviceAccountName"] = json!("robot");
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.create(accounts, json!({"metadata": {"name": "robot"}})).await;
    cluster.create(PODS, other).await;
    let ask = async |reference: Value| {
        let request = json!({"spec": {"audiences": [], "boundObjectRef": reference}});
        cluster.post(&format!("{accounts}/default/token"), request).await
    };
    for (reference, code, message) in [
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "x"}), 404, "pods \"x\" not found"),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "name": "other"}),
            400,
            "cannot bind token for serviceaccount \"default\" to pod running with different serviceaccount name.",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "old"}),
            409,
            "Operation cannot be fulfilled on Secret \"s\": the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let refused = ask(reference).await;
        assert_eq!(refused.json["message"], message);
        assert_eq!(refused.status.as_u16(), code);
    }
    for (object, path) in [
        (&secret, format!("{secrets}/s")),
        (&node, "/api/v1/nodes/n".to_owned()),
        (&pod_of, format!("{PODS}/web")),
    ] {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let answer = ask(json!({"apiVersion": "v1", "kind": kind, "name": name})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let bearer = format!("Bearer {}", answer.json["status"]["token"].as_str().unwrap());
        let use_it = async || {
            let headers = [("authorization", bearer.as_str())];
            cluster.send_as(None, Method::GET, PODS, &headers, "").await.status
        };
        assert_eq!(use_it().await, StatusCode::FORBIDDEN, "{kind}");
        cluster.delete(&path, json!({"gracePeriodSeconds": 0})).await;
        assert_eq!(use_it().await, StatusCode::UNAUTHORIZED, "{kind}");
    }
}

#[tokio::test]
async fn a_token_for_somebody_else_is_reviewed_for_them_alone() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"spec": {"audiences": ["vault", "mail"]}});
    let token = cluster.post(path, request).await.json["status"]["token"].clone();
    let review = async |audiences: Value| {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        let answer = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json["status"].clone()
    };
    let known = review(json!(["other", "mail"])).await;
    assert_eq!(known["authenticated"], true, "{known}");
    assert_eq!(known["audiences"], json!(["mail"]));
    assert_eq!(known["user"]["username"], "system:serviceaccount:default:default");
    for (audiences, target) in [
        (json!(["other"]), "[\"other\"]"),
        (json!([]), "[\"https://kubernetes.default.svc.cluster.local\"]"),
    ] {
        let status = review(audiences).await;
        assert_eq!(status["authenticated"], Value::Null, "{status}");
        assert_eq!(
            status["error"],
            format!(
                "token audiences [\"vault\" \"mail\"] is invalid for the target audiences {target}"
            )
        );
    }
}
