//! The whole proxy between an API that is scripted and a client we did not write.
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response as AxumResponse};
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shim::network::{AttachConfig, Body, HttpHandler, Peer, Refused, Response};
use tokio::sync::broadcast;

use super::*;
use crate::client::User;
use crate::client::in_process;
use crate::clock::SystemClock;

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/ingresses";
const CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";

/// An API server of a few kinds: lists what it was given, watches what comes after.
struct ScriptedApi {
    lists: HashMap<&'static str, Vec<Value>>,
    events: broadcast::Sender<(&'static str, String)>,
    patches: Mutex<Vec<(String, Value)>>,
}

async fn answer(State(api): State<Arc<ScriptedApi>>, request: Request<AxumBody>) -> AxumResponse {
    let path = request.uri().path().to_string();
    if request.method() == Method::PATCH {
        let patch = request.into_body().collect().await.unwrap().to_bytes();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        api.patches.lock().push((path, patch));
        let ingress = json!({"metadata": {"name": "web", "namespace": "default"}});
        return axum::Json(ingress).into_response();
    }
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        let events = futures::stream::unfold(api.events.subscribe(), |mut events| async {
            Some((events.recv().await.ok()?, events))
        });
        let mine = events.filter_map(move |(kind, event)| {
            let event = (kind == path).then_some(Ok::<_, std::convert::Infallible>(event));
            std::future::ready(event)
        });
        return AxumBody::from_stream(mine).into_response();
    }
    let items = api.lists.get(path.as_str()).cloned().unwrap_or_default();
    axum::Json(json!({"metadata": {"resourceVersion": "1"}, "items": items})).into_response()
}

/// Answers with the name it was given.
struct Named(&'static str);

#[async_trait]
impl HttpHandler for Named {
    async fn handle(&self, _: shim::network::Request, _: Peer) -> Result<Response, Refused> {
        let body = http_body_util::Full::from(self.0).map_err(|never| match never {});
        Ok(Response::new(Body::new(body)))
    }
}

fn service() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"},
        "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn slice(version: &str, ip: IpAddr) -> Value {
    json!({
        "metadata": {
            "name": "web-abc", "namespace": "default", "resourceVersion": version,
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
    })
}

fn ingress() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"},
        "spec": {"ingressClassName": "podium", "rules": [{"host": "shop.test", "http": {"paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]},
    })
}

fn class() -> Value {
    json!({"metadata": {"name": "podium"}, "spec": {"controller": "podium.dev/gateway"}})
}

async fn get(gateway: SocketAddr, host: &str) -> String {
    let client = HttpClient::builder(TokioExecutor::new()).build_http();
    let request = Request::get(format!("http://{gateway}/"))
        .header("host", host)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let body = client.request(request).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn eventually(what: &str, mut seen: impl AsyncFnMut() -> String, wanted: &str) {
    let mut last = String::new();
    let waiting = async {
        while last != wanted {
            tokio::task::yield_now().await;
            last = seen().await;
        }
    };
    if timeout(Duration::from_secs(30), waiting).await.is_err() {
        panic!("{what}: last seen {last:?}");
    }
}

#[tokio::test]
async fn the_gateway_follows_what_the_api_says() {
    let switch = Switch::default();
    let attach = || switch.attach(AttachConfig::default()).unwrap();
    let (first, second) = (attach(), attach());
    let _first = first.listen_http(8080, Arc::new(Named("first"))).unwrap();
    let _second = second.listen_http(8080, Arc::new(Named("second"))).unwrap();
    let api = Arc::new(ScriptedApi {
        lists: HashMap::from([
            (SERVICES, vec![service()]),
            (SLICES, vec![slice("1", first.ip())]),
            (INGRESSES, vec![ingress()]),
            (CLASSES, vec![class()]),
        ]),
        events: broadcast::channel(16).0,
        patches: Mutex::default(),
    });
    let router = Router::new().fallback(answer).with_state(api.clone());
    let client = in_process(router, User::component("system:podium:proxy"));
    let informers = Informers::new(client.clone());
    let config = Config {
        node_port_ip: "127.0.0.1".parse().unwrap(),
        advertised_ip: "127.0.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".to_string(),
    };
    let free = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::new(config, free().await, free().await).unwrap();
    let gateway = proxy.gateway_addr();
    let shutdown = CancellationToken::new();
    let issue: Issue = Arc::new(|_: &str| Err("no authority".into()));
    let running = tokio::spawn(proxy.run(
        client,
        informers.clone(),
        switch.clone(),
        issue,
        Arc::new(SystemClock),
        shutdown.clone(),
    ));

    assert_eq!(get(gateway, "shop.test").await, "first", "no client is served too early");
    assert_eq!(get(gateway, "web.localhost:8080").await, "first");
    assert_eq!(second.resolve("web.default").await, ["10.43.0.9".parse::<IpAddr>().unwrap()]);

    let status = async || {
        let patches = api.patches.lock();
        let Some((path, patch)) = patches.first() else { return String::new() };
        format!("{path} {}", patch["status"]["loadBalancer"]["ingress"][0]["ip"])
    };
    let wanted = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web/status \"127.0.0.1\"";
    eventually("the ingress is told the address", status, wanted).await;

    let event = json!({"type": "MODIFIED", "object": slice("2", second.ip())}).to_string() + "\n";
    api.events.send((SLICES, event)).unwrap();
    let ask = async || get(gateway, "shop.test").await;
    eventually("the service leads to the second Pod", ask, "second").await;

    shutdown.cancel();
    running.await.unwrap();
    assert!(tokio::net::TcpStream::connect(gateway).await.is_err());
    informers.shutdown().await;
    switch.shutdown().await;
}
