//! What the suites of this folder share.
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use podium_tests::{Cluster, Options, Tool, eventually, file};
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
                    "readinessProbe": readiness(),
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

/// Whether a function answers, asked often; a loaded machine may take its time.
pub fn readiness() -> Value {
    json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30})
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

/// Waits until the gateway answers with 200, which it does once it has seen an endpoint.
pub async fn served(cluster: &Cluster, host: &str, path: &str) -> String {
    eventually(&format!("{host}{path} is served"), async || match get(cluster, host, path).await {
        Ok((200, body)) => Ok(body),
        other => Err(other),
    })
    .await
}

/// The program for tests.
pub const TOOLBOX: &str = "tests/guests/toolbox.wasm";

/// A Pod with one container `main` of the program for tests.
pub fn pod(name: &str, args: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "toolbox:v1", "args": args}],
        },
    })
}

/// Waits until a Pod is as wished.
pub async fn seen(client: &Client, name: &str, wished: impl Fn(&Pod) -> bool) -> Pod {
    let api = Api::<Pod>::default_namespaced(client.clone());
    eventually(&format!("pod {name} is as wished"), async || {
        let pod = api.get(name).await.map_err(|error| error.to_string())?;
        if wished(&pod) { Ok(pod) } else { Err(format!("{:?}", pod.status)) }
    })
    .await
}

/// Waits for an Event about an object whose message has these words.
pub async fn events(client: &Client, name: &str, reason: &str, words: &str) {
    let api = Api::<Event>::default_namespaced(client.clone());
    eventually(&format!("{name}: {reason}: {words}"), async || {
        let all = api.list(&Default::default()).await.map_err(|error| error.to_string())?;
        let of_it = |event: &&Event| event.involved_object.name.as_deref() == Some(name);
        let told: Vec<_> = all
            .items
            .iter()
            .filter(of_it)
            .map(|event| (event.reason.clone(), event.message.clone().unwrap_or_default()))
            .collect();
        let is = |(r, message): &(Option<String>, String)| {
            r.as_deref() == Some(reason) && message.contains(words)
        };
        if told.iter().any(is) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// Waits until a tool prints all of these parts: events and endpoints come after what they tell of.
pub async fn shows(tool: &Tool, arguments: &[&str], parts: &[&str]) {
    eventually(&format!("{arguments:?} shows {parts:?}"), async || {
        let output = tool.try_run(arguments, "").await;
        let all = parts.iter().all(|part| output.stdout.contains(part));
        if output.success && all { Ok(()) } else { Err(output) }
    })
    .await;
}

/// Waits until a Pod has written exactly this.
pub async fn logs(client: &Client, name: &str, text: &str) {
    let api = Api::<Pod>::default_namespaced(client.clone());
    eventually(&format!("pod {name} has written {text:?}"), async || {
        match api.logs(name, &Default::default()).await {
            Ok(log) if log == text => Ok(()),
            Ok(log) => Err(log),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
