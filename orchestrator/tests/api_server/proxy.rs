//! `proxy` of Pods, Services and nodes.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use podium::server::{Config, Dialer};
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::harness::{Cluster, PODS, SERVICES, admin, pod};

/// A pod network that answers with what it was asked.
struct Echo;

#[async_trait::async_trait]
impl Dialer for Echo {
    async fn request(
        &self,
        to: SocketAddr,
        request: Request<Body>,
    ) -> Result<http::Response<Body>, String> {
        if to.port() == 1 {
            return Err(format!("dial tcp {to}: connect: connection refused"));
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        let asked = format!("{to} {} {} {body}", parts.method, parts.uri);
        let credentials = parts.headers.contains_key("authorization");
        let headers =
            [("location", "/login"), ("x-credentials", if credentials { "1" } else { "0" })];
        let status = if parts.uri.path() == "/moved" { StatusCode::FOUND } else { StatusCode::OK };
        Ok((status, headers, asked).into_response())
    }
}

/// A pod network in which nobody answers, with how many requests wait there.
#[derive(Default)]
struct Silent(AtomicUsize);

#[async_trait::async_trait]
impl Dialer for Silent {
    async fn request(
        &self,
        _: SocketAddr,
        _: Request<Body>,
    ) -> Result<http::Response<Body>, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.server.connect(Arc::new(Echo));
    cluster
}

#[tokio::test]
async fn a_service_is_reached_by_its_address() {
    let cluster = cluster().await;
    let ports = json!([{"name": "web", "port": 80}, {"name": "gone", "port": 1}]);
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.43.7.7", "ports": ports}});
    cluster.create(SERVICES, service).await;
    let answer = cluster
        .send(
            Method::PUT,
            &format!("{SERVICES}/http:s:web/proxy/a%2Fb?c=d"),
            &[("authorization", "x")],
            "hello",
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.text, "10.43.7.7:80 PUT /a%2Fb?c=d hello");
    assert_eq!(answer.headers["x-credentials"], "0");
    let answer = cluster.get(&format!("{SERVICES}/s:80/proxy/moved")).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], format!("{SERVICES}/s:80/proxy/login"));
    let answer = cluster.get(&format!("{SERVICES}/s:80/proxy?x=y")).await;
    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(answer.headers["location"], format!("{SERVICES}/s:80/proxy/?x=y"));
    for (name, code, message) in [
        (
            "s:gone",
            503,
            "error trying to reach service: dial tcp 10.43.7.7:1: connect: connection refused",
        ),
        ("s:81", 503, r#"no service port 81 found for service "s""#),
        ("s:main", 503, r#"no endpoints available for service "s:main""#),
        ("a:b:c", 400, r#"invalid service request "a:b:c""#),
        ("none", 404, r#"services "none" not found"#),
    ] {
        let answer = cluster.get(&format!("{SERVICES}/{name}/proxy/")).await;
        assert_eq!(answer.json["message"], message);
        assert_eq!(answer.status.as_u16(), code);
    }
}

#[tokio::test]
async fn a_pod_is_reached_once_it_has_an_address() {
    let cluster = cluster().await;
    let mut wanted = pod("p");
    wanted["spec"]["containers"][0]["ports"] = json!([{"name": "web", "containerPort": 8080}]);
    cluster.create(PODS, wanted).await;
    let path = format!("{PODS}/p/proxy/x");
    assert_eq!(cluster.get(&path).await.json["message"], "address not allowed");
    let status = json!({"status": {"podIP": "10.64.0.9"}});
    cluster.patch(&format!("{PODS}/p/status"), "merge", status).await;
    assert_eq!(cluster.get(&path).await.text, "10.64.0.9:8080 GET /x ");
    let answer = cluster.get(&format!("{PODS}/p:web/proxy/x")).await;
    assert_eq!(answer.text, "10.64.0.9:8080 GET /x ");
    let answer = cluster.get(&format!("{PODS}/p:90/proxy/x")).await;
    assert_eq!(answer.text, "10.64.0.9:90 GET /x ");
}

#[tokio::test]
async fn a_node_answers_for_itself() {
    let cluster = cluster().await;
    cluster.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let path = "/api/v1/nodes/n/proxy/healthz";
    assert_eq!(cluster.get(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let api = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
    cluster.server.nodes().insert("n", api);
    assert_eq!(cluster.get(path).await.text, "ok");
    let answer = cluster.get("/api/v1/nodes/https:n:10250/proxy/healthz").await;
    assert_eq!(answer.text, "ok");
    let answer = cluster.get("/api/v1/nodes/n:9100/proxy/metrics").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.json["message"],
        r#"error trying to reach service: of node "n" only port 10250 is reached, its API"#
    );
    let answer = cluster.get("/api/v1/nodes/m/proxy/healthz").await;
    assert_eq!(answer.json["message"], r#"nodes "m" not found"#);
}

#[tokio::test]
async fn who_waits_for_a_pod_holds_up_nobody_else() {
    let cluster = Cluster::start().await;
    let network = Arc::new(Silent::default());
    cluster.server.connect(network.clone());
    cluster.create(PODS, pod("p")).await;
    let status = json!({"status": {"podIP": "10.64.0.9"}});
    cluster.patch(&format!("{PODS}/p/status"), "merge", status).await;
    let Config { max_in_flight, max_long_running, .. } = Config::default();
    let mut waiting = JoinSet::new();
    for _ in 0..max_long_running + max_in_flight {
        let request = Request::get(format!("{PODS}/p:80/proxy/")).extension(admin());
        waiting.spawn(cluster.router.clone().oneshot(request.body(Body::empty()).unwrap()));
    }
    let patience = Duration::from_secs(60);
    let all_wait = async {
        while network.0.load(Ordering::Relaxed) < max_long_running {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, all_wait).await.expect("they are passed on");
    let answer = tokio::time::timeout(patience, cluster.get(PODS)).await;
    assert_eq!(answer.expect("it does not wait for the Pod").status, StatusCode::OK);
    assert_eq!(network.0.load(Ordering::Relaxed), max_long_running);
}
