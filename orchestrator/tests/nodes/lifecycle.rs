//! Nodes that fall silent, come back, are cordoned or deleted.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Cluster, condition, node_of, pod};

async fn taints(cluster: &Cluster, node: &str) -> Vec<String> {
    let taints = cluster.node(node).await.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let mut taints: Vec<String> =
        taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect();
    taints.sort();
    taints
}

async fn wait_for_taints(cluster: &Cluster, node: &str, alive: &[&str], wanted: &[&str]) {
    cluster
        .until("taints", alive, async || {
            let seen = taints(cluster, node).await;
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
}

async fn unreachable_since(cluster: &Cluster, node: &str) -> Timestamp {
    let taints = cluster.node(node).await.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let taint = taints.iter().find(|taint| taint.effect == "NoExecute").unwrap();
    taint.time_added.as_ref().unwrap().0
}

const UNREACHABLE: [&str; 2] =
    ["node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"];

#[tokio::test]
async fn the_pods_of_a_silent_node_come_up_elsewhere_and_it_may_come_back() {
    let cluster = Cluster::start().await;
    let all = ["n1", "n2", "n3"];
    for name in all {
        cluster.join(name, "4", "a").await;
    }
    cluster.deploy(3, &all).await;
    let lost = node_of(&cluster.pods().await[0]).unwrap();
    let alive: Vec<&str> = all.into_iter().filter(|name| *name != lost).collect();
    cluster.pass(Duration::from_secs(40), &alive).await;
    assert_eq!(taints(&cluster, &lost).await, Vec::<String>::new(), "it has 50 s");

    wait_for_taints(&cluster, &lost, &alive, &UNREACHABLE).await;
    let status = cluster.node(&lost).await.status.unwrap();
    let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "Unknown");
    assert_eq!(ready.reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(ready.message.as_deref(), Some("Kubelet stopped posting node status."));
    cluster
        .until("not ready", &alive, async || {
            let pods = cluster.pods().await;
            let of_lost = |pod: &&Pod| node_of(pod).as_deref() == Some(&lost);
            let seen: Vec<_> =
                pods.iter().filter(of_lost).map(|pod| condition(pod, "Ready")).collect();
            let is_false = |ready: &Option<(String, String)>| {
                ready.as_ref().is_some_and(|(status, _)| status == "False")
            };
            if seen.iter().all(is_false) { Ok(()) } else { Err(seen) }
        })
        .await;
    let five_minutes = unreachable_since(&cluster, &lost).await + Duration::from_secs(300);
    cluster.pass_until(five_minutes - Duration::from_secs(5), &alive).await;
    let pods = cluster.pods().await;
    assert_eq!(pods.len(), 3, "Pods tolerate it for five minutes");

    cluster.ready(3, &alive).await;
    let pods = cluster.pods().await;
    let left = pods.iter().find(|pod| node_of(pod).as_deref() == Some(&lost)).unwrap();
    assert!(left.metadata.deletion_timestamp.is_some(), "nobody there could end it");
    let target = condition(left, "DisruptionTarget").unwrap();
    assert_eq!(target, ("True".into(), "DeletionByTaintManager".into()));
    assert!(
        cluster.event("TaintManagerEviction", &alive).await.starts_with("Marking for deletion")
    );

    let patch = Patch::Strategic(json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T01:00:00Z"}]}}));
    cluster.nodes().patch_status(&lost, &PatchParams::default(), &patch).await.unwrap();
    wait_for_taints(&cluster, &lost, &all, &[]).await;
    cluster
        .until("ended", &all, async || {
            let pods = cluster.pods().await.len();
            if pods == 3 { Ok(()) } else { Err(pods) }
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn nothing_is_evicted_while_every_node_is_silent() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2"] {
        cluster.join(name, "4", "a").await;
    }
    cluster.deploy(2, &["n1", "n2"]).await;
    let no_schedule = ["node.kubernetes.io/unreachable:NoSchedule"];
    wait_for_taints(&cluster, "n1", &[], &no_schedule).await;
    cluster.pass(Duration::from_secs(400), &[]).await;
    assert_eq!(taints(&cluster, "n2").await, no_schedule);
    assert!(cluster.pods().await.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()));
    cluster.stop().await;
}

#[tokio::test]
async fn the_pods_of_a_deleted_node_are_collected() {
    let cluster = Cluster::start().await;
    let both = ["n1", "n2"];
    for name in both {
        cluster.join(name, "4", "a").await;
    }
    cluster.deploy(2, &both).await;
    cluster.nodes().delete("n1", &DeleteParams::default()).await.unwrap();
    cluster.ready(2, &["n2"]).await;
    let pods = cluster.pods().await;
    assert!(pods.iter().all(|pod| node_of(pod).as_deref() == Some("n2")), "{}", pods.len());
    cluster.stop().await;
}

#[tokio::test]
async fn a_cordoned_node_says_so_by_a_taint_and_takes_pods_again_afterwards() {
    let cluster = Cluster::start().await;
    cluster.join("n1", "4", "a").await;
    let cordon = async |unschedulable: bool| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
        cluster.nodes().patch("n1", &PatchParams::default(), &patch).await.unwrap();
    };
    cordon(true).await;
    let taint = ["node.kubernetes.io/unschedulable:NoSchedule"];
    wait_for_taints(&cluster, "n1", &["n1"], &taint).await;
    cluster.create::<Pod>(pod("one", "1", json!({}))).await;
    let told = cluster.event("FailedScheduling", &["n1"]).await;
    assert!(told.starts_with("0/1 nodes are available: 1 node(s) were unschedulable."), "{told}");
    cordon(false).await;
    wait_for_taints(&cluster, "n1", &["n1"], &[]).await;
    cluster.ready(1, &["n1"]).await;
    cluster.stop().await;
}
