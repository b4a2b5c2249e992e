//! Evictions, and the budgets that allow them.
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};

use crate::harness::{Cluster, condition, pod};

const NODES: [&str; 2] = ["n1", "n2"];

fn budget(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name}, "spec": spec,
    })
}

async fn web_with(spec: Value, allowed: i32) -> Cluster {
    let cluster = Cluster::start().await;
    for name in NODES {
        cluster.join(name, "4", "a").await;
    }
    cluster.deploy(3, &NODES).await;
    cluster.create::<PodDisruptionBudget>(budget("web", spec)).await;
    wait_for_allowed(&cluster, allowed).await;
    cluster
}

async fn wait_for_allowed(cluster: &Cluster, allowed: i32) {
    cluster
        .until("allowed disruptions", &NODES, async || {
            let status = cluster.api::<PodDisruptionBudget>().get("web").await.unwrap().status;
            let seen = status.clone().unwrap_or_default();
            let right = seen.disruptions_allowed == Some(allowed)
                && seen.observed_generation == Some(1)
                && seen.disrupted_pods.is_none();
            if right { Ok(()) } else { Err(status) }
        })
        .await;
}

async fn evict(cluster: &Cluster, name: &str, dry_run: bool) -> Result<(), Box<Status>> {
    let post_options = PostParams { dry_run, ..PostParams::default() };
    let params = EvictParams { post_options, ..EvictParams::default() };
    match cluster.api::<Pod>().evict(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("{error}"),
    }
}

async fn names(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.pods().await;
    let there = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    there.map(|pod| pod.metadata.name.clone().unwrap()).collect()
}

#[tokio::test]
async fn a_budget_allows_evictions_one_after_another() {
    let cluster = web_with(json!({"minAvailable": 2}), 1).await;
    let pods = names(&cluster).await;
    evict(&cluster, &pods[0], true).await.unwrap();
    assert_eq!(names(&cluster).await.len(), 3, "a dry run");
    evict(&cluster, &pods[0], false).await.unwrap();
    let going = cluster.api::<Pod>().get(&pods[0]).await.unwrap();
    let target = condition(&going, "DisruptionTarget").unwrap();
    assert_eq!(target, ("True".into(), "EvictionByEvictionAPI".into()));

    let refused = evict(&cluster, &pods[1], false).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(
        refused.message,
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert!(cause.message.starts_with("The disruption budget web needs 2 healthy pods and has"));

    cluster.ready(3, &NODES).await;
    wait_for_allowed(&cluster, 1).await;
    evict(&cluster, &pods[1], false).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn what_may_be_missing_is_counted_from_what_the_deployment_asks_for() {
    let cluster = web_with(json!({"maxUnavailable": "50%"}), 2).await;
    let status = cluster.api::<PodDisruptionBudget>().get("web").await.unwrap().status.unwrap();
    assert_eq!((status.expected_pods, status.desired_healthy), (Some(3), Some(1)));
    let condition = &status.conditions.unwrap()[0];
    assert_eq!((&*condition.type_, &*condition.reason), ("DisruptionAllowed", "SufficientPods"));
    cluster.stop().await;
}

#[tokio::test]
async fn two_budgets_for_one_pod_are_too_many_and_none_is_enough() {
    let cluster = web_with(json!({"minAvailable": 1}), 2).await;
    cluster.create::<PodDisruptionBudget>(budget("again", json!({"minAvailable": 1}))).await;
    let refused = evict(&cluster, &names(&cluster).await[0], false).await.unwrap_err();
    assert_eq!(refused.code, 500);
    assert_eq!(
        refused.message,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
    cluster.create::<Pod>(pod("alone", "1", json!({}))).await;
    cluster.ready(4, &NODES).await;
    evict(&cluster, "alone", false).await.unwrap();
    let refused = evict(&cluster, "nobody", false).await.unwrap_err();
    assert_eq!(refused.code, 404);
    cluster.stop().await;
}
