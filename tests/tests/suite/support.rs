//! What the suites of this folder share.
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use podium_tests::{Cluster, Options, eventually, file};
use serde_json::{Value, json};

/// A cluster of the program under test.
pub async fn cluster(arguments: &[&str]) -> Cluster {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let program = vec![env!("CARGO_BIN_EXE_podium-under-test").into()];
    Cluster::start(Options { program, arguments }).await.unwrap()
}

/// Pushes a guest of the repository and answers its reference.
pub async fn push(cluster: &Cluster, path: &str, reference: &str) {
    push_file(cluster, &file(path), reference).await;
}

/// Pushes a `.wasm` file from anywhere.
pub async fn push_file(cluster: &Cluster, path: &Path, reference: &str) {
    let path = path.display().to_string();
    cluster.podium().run(&["push", &path, reference]).await;
}

/// A Deployment of one container and the Service before it.
pub fn web(name: &str, image: &str, replicas: u32) -> (Value, Value) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web", "image": image, "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    (deployment, service)
}

/// Creates an object of a kind that kube knows.
pub async fn create<K>(client: &Client, object: &Value) -> K
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object.clone()).unwrap();
    Api::<K>::default_namespaced(client.clone()).create(&Default::default(), &object).await.unwrap()
}

/// Merge-patches a Deployment.
pub async fn patch_deployment(client: &Client, name: &str, patch: &Value) {
    let api = Api::<Deployment>::default_namespaced(client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Waits until every replica of the newest template is there, and no other.
pub async fn rolled_out(client: &Client, name: &str) {
    let api = Api::<Deployment>::default_namespaced(client.clone());
    eventually(&format!("deployment {name} is rolled out"), async || {
        let deployment = api.get(name).await.map_err(|error| error.to_string())?;
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let generation = deployment.metadata.generation;
        let status = deployment.status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        let done = counts.iter().all(|count| count.or(Some(0)) == wanted);
        if done && status.observed_generation == generation {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

/// The Pods that carry `app=NAME`.
pub async fn pods(client: &Client, name: &str) -> Vec<Pod> {
    let selector = ListParams::default().labels(&format!("app={name}"));
    Api::<Pod>::default_namespaced(client.clone()).list(&selector).await.unwrap().items
}

/// A plain HTTP request to the gateway, as any client makes it.
pub async fn get(cluster: &Cluster, host: &str, path: &str) -> Result<(u16, String), String> {
    get_within(cluster, host, path, Duration::from_secs(30)).await
}

/// The same, bounded.
pub async fn get_within(
    cluster: &Cluster,
    host: &str,
    path: &str,
    limit: Duration,
) -> Result<(u16, String), String> {
    let request = podium_tests::http_get(&cluster.addresses.gateway, host, path);
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}
