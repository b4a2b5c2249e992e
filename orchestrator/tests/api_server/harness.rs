//! A server without a socket, and requests to it.
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::Client;
use podium::api::User;
use podium::auth::{ComponentAuthorizer, Tokens};
use podium::clock::{Entropy, ManualClock};
use podium::server::{Bootstrap, Config, Parts, Server};
use podium::storage::Storage;
use podium::store::Store;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A server with its first objects.
pub struct Cluster {
    pub server: Server,
    pub router: Router,
    pub clock: ManualClock,
    pub store: Arc<dyn Store>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
    pub text: String,
}

impl Cluster {
    /// A server that is ready, with the service account `default` in the namespace `default`.
    pub async fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let tokens = Arc::new(Tokens::new(key.serialized_der()).unwrap());
        let now: Timestamp = "2026-11-21T04:00:00Z".parse().unwrap();
        let clock = ManualClock::at(now);
        let store = podium::store::memory::open(Arc::new(clock.clone())).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let parts = Parts {
            storage: Storage::new(store.clone()),
            table: podium::apis::builtin(),
            authorizer: Arc::new(ComponentAuthorizer),
            tokens,
            clock: Arc::new(clock.clone()),
            entropy: Entropy::seeded(1),
        };
        let server = Server::new(Config::default(), parts);
        let facts = Bootstrap {
            api: "https://192.0.2.1:6443".into(),
            endpoint: Some(("192.0.2.1".parse().unwrap(), 6443)),
            authority: "the authority".into(),
            registry: Some("127.0.0.1:5001".into()),
        };
        server.bootstrap(&facts).await.unwrap();
        let cluster = Self { router: server.router(), server, clock, store };
        let account = json!({"metadata": {"name": "default"}});
        cluster.create("/api/v1/namespaces/default/serviceaccounts", account).await;
        cluster
    }

    /// An unmodified client, as an administrator.
    pub fn client(&self) -> Client {
        podium::client::in_process(self.router.clone(), admin())
    }

    /// Sends a request as an administrator.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.send_as(Some(admin()), method, path, headers, body).await
    }

    /// Sends a request as `user`, or without credentials.
    pub async fn send_as(
        &self,
        user: Option<User>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, json, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, object: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(Method::POST, path, &headers, object.to_string()).await
    }

    pub async fn put(&self, path: &str, object: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(Method::PUT, path, &headers, object.to_string()).await
    }

    pub async fn patch(&self, path: &str, form: &str, patch: Value) -> Answer {
        let form = format!("application/{form}-patch+json");
        let headers = [("content-type", form.as_str())];
        self.send(Method::PATCH, path, &headers, patch.to_string()).await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.send(Method::DELETE, path, &headers, body).await
    }

    /// Creates an object, which must succeed.
    pub async fn create(&self, path: &str, object: Value) -> Value {
        let answer = self.post(path, object).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json
    }

    /// The lines of a watch, as they come.
    pub async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(admin());
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Lines { body: response.into_body(), rest: Vec::new() }
    }
}

/// The lines of a watch.
pub struct Lines {
    body: Body,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line, or `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let patience = std::time::Duration::from_secs(60);
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(patience, self.body.frame());
            let frame = frame.await.expect("the watch sends something within a minute")?;
            self.rest.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }

    /// The type and the name of the next event.
    pub async fn next_named(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub fn admin() -> User {
    User {
        name: "kubernetes-admin".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    }
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name}, "data": {"a": "1"},
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "hello:1"}]},
    })
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "hello:1"}]},
            },
        },
    })
}
