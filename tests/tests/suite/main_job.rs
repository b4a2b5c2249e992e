//! From a .wasm file to a served, scaled, rolled-out, self-healing Deployment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{
    cluster, create, get, patch_deployment, pods, push, readiness, rolled_out, web,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::DeleteParams;
use podium_tests::{Cluster, Connection, eventually, file};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deployed_and_served_under_its_name() {
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let cluster = cluster(&[&hello]).await;
    let answer = get(&cluster, "hello.localhost", "/world").await.unwrap();
    assert_eq!(answer, (200, "Hello from Podium! You asked for /world.\n".to_owned()));
    assert!(cluster.log().contains("http://hello.localhost:"), "{}", cluster.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_replaced() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "examples/hello/hello.wasm", "hello:v1").await;
    let (deployment, _) = web("hello", "hello:v1", 2);
    create::<Deployment>(&client, &deployment).await;
    rolled_out(&client, "hello").await;
    let before = pods(&client, "hello").await;
    let lost = before[0].metadata.name.clone().unwrap();

    Api::<Pod>::default_namespaced(client.clone())
        .delete(&lost, &DeleteParams::default())
        .await
        .unwrap();

    eventually("another Pod takes its place", async || {
        let names: Vec<_> =
            pods(&client, "hello").await.into_iter().map(|p| p.metadata.name.unwrap()).collect();
        if names.len() == 2 && !names.contains(&lost) { Ok(()) } else { Err(names) }
    })
    .await;
    rolled_out(&client, "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_call_each_other_by_the_name_of_a_service() {
    let cluster = cluster(&[]).await;
    let podium = cluster.podium();
    for guest in ["greeter", "frontend"] {
        let path = file(&format!("examples/greeting/{guest}.wasm")).display().to_string();
        podium.run(&["push", &path]).await;
    }
    let Some(kubectl) = cluster.kubectl() else { return };
    let manifest = file("examples/greeting/greeting.yaml").display().to_string();
    kubectl.run(&["apply", "-f", &manifest]).await;
    kubectl.run(&["rollout", "status", "deployment/frontend", "--timeout=120s"]).await;
    kubectl.run(&["rollout", "status", "deployment/greeter", "--timeout=120s"]).await;
    let expected = "The greeter says: Welcome, Ada! (signed the management)\n";
    for host in ["frontend.localhost", "greeting.example"] {
        eventually("the frontend passes the greeting on", async || {
            match get(&cluster, host, "/Ada").await {
                Ok((200, body)) if body == expected => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_pods_come_and_go() {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "examples/hello/hello.wasm", "hello:v1").await;
    push(&cluster, "tests/guests/prober.wasm", "hello:v2").await;
    let (deployment, service) = web("hello", "hello:v1", 4);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    rolled_out(&client, "hello").await;

    let load = Load::start(&cluster, 8);
    let image = |image: &str| {
        json!({"spec": {"template": {"spec": {"containers": [
        {"name": "web", "image": image, "ports": [{"containerPort": 8080}],
         "readinessProbe": readiness()}]}}}})
    };
    patch_deployment(&client, "hello", &image("hello:v2")).await;
    rolled_out(&client, "hello").await;
    patch_deployment(&client, "hello", &image("hello:v1")).await;
    rolled_out(&client, "hello").await;
    let api = Api::<Pod>::default_namespaced(client.clone());
    // Those of the image before may still be on their way out.
    let staying = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    for pod in pods(&client, "hello").await.iter().filter(staying).take(2) {
        api.delete(pod.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
    }
    rolled_out(&client, "hello").await;
    for replicas in [12, 2] {
        patch_deployment(&client, "hello", &json!({"spec": {"replicas": replicas}})).await;
        rolled_out(&client, "hello").await;
        eventually("the Pods are counted", async || {
            let found = pods(&client, "hello").await.len();
            if found == replicas { Ok(()) } else { Err(found) }
        })
        .await;
    }

    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new(), "of {answered} requests");
    assert!(answered > 100, "only {answered} requests: no load");
}

/// A steady load through the gateway, over connections that are kept.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(cluster: &Cluster, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let gateway = cluster.addresses.gateway.clone();
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
                    let mut connection =
                        Connection::open(&gateway, "hello.localhost").await.unwrap();
                    for _ in 0..50 {
                        match connection.get("/").await {
                            Ok((200, _)) => answered.fetch_add(1, Ordering::Relaxed),
                            Ok((status, body)) => {
                                failures
                                    .push(format!("{status}: {}", String::from_utf8_lossy(&body)));
                                break;
                            }
                            Err(error) => {
                                failures.push(format!("{error:#}"));
                                break;
                            }
                        };
                        // Steady, not all that the machine can do: the cluster works beside it.
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, answered, clients }
    }

    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        (self.answered.load(Ordering::Relaxed), failures)
    }
}
