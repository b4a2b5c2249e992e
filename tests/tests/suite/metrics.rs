//! What is used and what is counted: `kubectl top`, Prometheus, autoscaling.
use hyper::Request;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use podium_tests::{Cluster, eventually};
use serde_json::{Value, json};

use crate::support::{cluster, create, push, rolled_out, shows};

/// A program that spins within 100m.
fn burner(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burner"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "burner"}},
            "template": {
                "metadata": {"labels": {"app": "burner"}},
                "spec": {"containers": [{
                    "name": "main", "image": "toolbox:v1", "args": ["loop"],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m", "memory": "16Mi"}},
                }]},
            },
        },
    })
}

async fn burning() -> (Cluster, Client) {
    let cluster = cluster(&[]).await;
    let client = cluster.client().await.unwrap();
    push(&cluster, "tests/guests/toolbox.wasm", "toolbox:v1").await;
    create::<Deployment>(&client, &burner(1)).await;
    rolled_out(&client, "burner").await;
    (cluster, client)
}

async fn get(client: &Client, path: &str) -> Result<String, String> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    client.request_text(request).await.map_err(|error| error.to_string())
}

/// Thousandths of a CPU, of the forms that the server writes.
fn millis(amount: &str) -> u64 {
    let number = |suffix| amount.strip_suffix(suffix).and_then(|n: &str| n.parse::<u64>().ok());
    let nanos = number("n").map(|n| n / 1_000_000);
    let micros = || number("u").map(|u| u / 1_000);
    let all = nanos.or_else(micros).or_else(|| number("m"));
    all.or_else(|| amount.parse::<u64>().ok().map(|n| n * 1000)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_burns_is_shown_by_top_and_to_prometheus() {
    let (cluster, client) = burning().await;
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dburner";
    eventually("the program uses what it may", async || {
        let list: Value = serde_json::from_str(&get(&client, path).await?).unwrap();
        let Some(pod) = list["items"].as_array().and_then(|items| items.first()) else {
            return Err("it is not measured yet".to_owned());
        };
        assert_eq!(pod["kind"], "PodMetrics");
        let usage = &pod["containers"][0]["usage"];
        let cpu = millis(usage["cpu"].as_str().unwrap());
        // Half of it on a machine that has more to do, and never more than the quota.
        if (50..=115).contains(&cpu) { Ok(()) } else { Err(list.to_string()) }
    })
    .await;
    let none = "/apis/metrics.k8s.io/v1beta1/pods?labelSelector=app%3Dother";
    let none: Value = serde_json::from_str(&get(&client, none).await.unwrap()).unwrap();
    assert_eq!((&none["kind"], &none["items"]), (&json!("PodMetricsList"), &json!([])));
    eventually("the node is measured", async || {
        let list = get(&client, "/apis/metrics.k8s.io/v1beta1/nodes").await?;
        let list: Value = serde_json::from_str(&list).unwrap();
        let usage = &list["items"][0]["usage"];
        if usage["memory"].is_string() { Ok(()) } else { Err(list.to_string()) }
    })
    .await;

    let families = [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_storage_objects{resource=\"pods\"} 1",
        "etcd_request_duration_seconds_count{operation=\"create\"}",
        "process_cpu_seconds_total",
        "scheduler_schedule_attempts_total{",
        "workqueue_adds_total{name=\"replicaset\"}",
    ];
    let page = eventually("every family is there", async || {
        let page = get(&client, "/metrics").await?;
        let there = |family: &str| page.lines().any(|line| line.starts_with(family));
        match families.into_iter().find(|family| !there(family)) {
            None => Ok(page),
            Some(family) => Err(format!("{family} is not in\n{page}")),
        }
    })
    .await;
    let inflight = "apiserver_current_inflight_requests{request_kind=\"readOnly\"} ";
    let inflight = page.lines().find_map(|line| line.strip_prefix(inflight)).unwrap();
    assert!(inflight.parse::<u32>().unwrap() >= 1, "this request itself, of {inflight}");

    let Some(kubectl) = cluster.kubectl() else { return };
    shows(&kubectl, &["top", "pod", "-l", "app=burner", "--containers"], &["main"]).await;
    let top = kubectl.run(&["top", "node"]).await;
    assert!(top.contains('%') && !top.contains("<unknown>"), "{top}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_no_metrics() {
    let cluster = cluster(&[]).await;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.auth_info = Default::default();
    let stranger = Client::try_from(config).unwrap();
    for path in ["/metrics", "/apis/metrics.k8s.io/v1beta1/nodes"] {
        let refused = get(&stranger, path).await.unwrap_err();
        assert!(refused.contains("system:anonymous"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_burns_is_scaled_up_to_its_maximum() {
    let (_cluster, client) = burning().await;
    let target = json!({"type": "Utilization", "averageUtilization": 20});
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "burner"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "burner"},
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    });
    create::<HorizontalPodAutoscaler>(&client, &autoscaler).await;

    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    let autoscalers = Api::<HorizontalPodAutoscaler>::default_namespaced(client.clone());
    eventually("it is scaled up", async || {
        let deployment = deployments.get("burner").await.map_err(|error| error.to_string())?;
        if deployment.spec.and_then(|spec| spec.replicas) == Some(3) {
            return Ok(());
        }
        Err(format!("{:?}", autoscalers.get("burner").await.map(|autoscaler| autoscaler.status)))
    })
    .await;
    eventually("it says so", async || {
        let status = autoscalers.get("burner").await.unwrap().status.unwrap_or_default();
        let limited = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "ScalingLimited"
                && condition.reason.as_deref() == Some("TooManyReplicas")
        });
        if limited && status.desired_replicas == 3 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}
