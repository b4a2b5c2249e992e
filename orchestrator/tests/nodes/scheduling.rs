//! Decisions that change what is there, and waits that end when something changes.
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, condition, node_of, pod};

const NODES: [&str; 1] = ["n1"];

async fn wait_for_node(cluster: &Cluster, name: &str, node: &str) {
    cluster
        .until("bound", &NODES, async || {
            let pod = cluster.api::<Pod>().get(name).await.unwrap();
            if node_of(&pod).as_deref() == Some(node) { Ok(()) } else { Err(pod.status) }
        })
        .await;
}

async fn class(cluster: &Cluster, class: Value) {
    let class: PriorityClass = serde_json::from_value(class).unwrap();
    let api = Api::all(cluster.client.clone());
    api.create(&PostParams::default(), &class).await.unwrap();
}

#[tokio::test]
async fn a_pod_of_higher_priority_takes_the_place_of_lower_ones() {
    let cluster = Cluster::start().await;
    cluster.join("n1", "2", "a").await;
    class(&cluster, json!({"metadata": {"name": "high"}, "value": 1000})).await;
    let meek = json!({"metadata": {"name": "meek"}, "value": 10, "preemptionPolicy": "Never"});
    class(&cluster, meek).await;
    for name in ["low-1", "low-2"] {
        cluster.create::<Pod>(pod(name, "1", json!({}))).await;
    }
    cluster.ready(2, &NODES).await;
    cluster.create::<Pod>(pod("high", "1", json!({"priorityClassName": "high"}))).await;
    let told = cluster.event("Preempted", &[]).await;
    assert!(told.starts_with("Preempted by pod ") && told.ends_with(" on node n1"), "{told}");
    let victim = cluster
        .until("a victim", &[], async || {
            let pods = cluster.pods().await;
            pods.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_some()).ok_or("none")
        })
        .await;
    let target = condition(&victim, "DisruptionTarget").unwrap();
    assert_eq!(target, ("True".into(), "PreemptionByScheduler".into()));
    cluster
        .until("a nomination", &[], async || {
            let status = cluster.api::<Pod>().get("high").await.unwrap().status.unwrap();
            if status.nominated_node_name.as_deref() == Some("n1") { Ok(()) } else { Err(status) }
        })
        .await;
    wait_for_node(&cluster, "high", "n1").await;
    assert_eq!(cluster.pods().await.len(), 2);

    cluster.create::<Pod>(pod("meek", "1", json!({"priorityClassName": "meek"}))).await;
    let told = cluster
        .until("no preemption", &NODES, async || {
            let pod = cluster.api::<Pod>().get("meek").await.unwrap();
            let conditions = pod.status.clone().and_then(|s| s.conditions).unwrap_or_default();
            conditions.iter().find_map(|c| c.message.clone()).ok_or(pod.status)
        })
        .await;
    assert_eq!(
        told,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    );
    cluster.stop().await;
}

#[tokio::test]
async fn what_fits_nowhere_is_tried_again_when_that_changes() {
    let cluster = Cluster::start().await;
    cluster.join("n1", "2", "a").await;
    cluster.create::<Pod>(pod("picky", "1", json!({"nodeSelector": {"zone": "b"}}))).await;
    cluster.create::<Pod>(pod("big", "2", json!({}))).await;
    wait_for_node(&cluster, "big", "n1").await;
    cluster.create::<Pod>(pod("late", "2", json!({}))).await;
    cluster.event("FailedScheduling", &NODES).await;
    cluster.api::<Pod>().delete("big", &DeleteParams::default()).await.unwrap();
    wait_for_node(&cluster, "late", "n1").await;
    cluster.api::<Pod>().delete("late", &DeleteParams::default()).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"labels": {"zone": "b"}}}));
    cluster.nodes().patch("n1", &PatchParams::default(), &patch).await.unwrap();
    wait_for_node(&cluster, "picky", "n1").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_gated_pod_waits_for_its_gates() {
    let cluster = Cluster::start().await;
    cluster.join("n1", "2", "a").await;
    let gates = json!({"schedulingGates": [{"name": "example.com/ready"}]});
    cluster.create::<Pod>(pod("gated", "1", gates)).await;
    cluster.create::<Pod>(pod("other", "1", json!({}))).await;
    wait_for_node(&cluster, "other", "n1").await;
    let gated = cluster.api::<Pod>().get("gated").await.unwrap();
    let scheduled = condition(&gated, "PodScheduled").unwrap();
    assert_eq!((scheduled, node_of(&gated)), (("False".into(), "SchedulingGated".into()), None));
    let patch = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
    cluster.api::<Pod>().patch("gated", &PatchParams::default(), &patch).await.unwrap();
    wait_for_node(&cluster, "gated", "n1").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_has_the_priority_of_its_class_or_of_the_default_one() {
    let cluster = Cluster::start().await;
    let default = json!({"metadata": {"name": "usual"}, "value": 5, "globalDefault": true});
    class(&cluster, default).await;
    cluster.create::<Pod>(pod("plain", "1", json!({}))).await;
    let spec = cluster.api::<Pod>().get("plain").await.unwrap().spec.unwrap();
    assert_eq!((spec.priority, spec.priority_class_name.as_deref()), (Some(5), Some("usual")));
    assert_eq!(spec.preemption_policy.as_deref(), Some("PreemptLowerPriority"));
    let refused = async |more: Value| {
        let pod: Pod = serde_json::from_value(pod("other", "1", more)).unwrap();
        cluster.api().create(&PostParams::default(), &pod).await.unwrap_err().to_string()
    };
    let told = refused(json!({"priorityClassName": "nothing"})).await;
    assert!(
        told.contains("pods \"other\" is forbidden: no PriorityClass with name nothing was found"),
        "{told}"
    );
    let told = refused(json!({"priority": 7})).await;
    assert!(told.contains("the integer value of priority (7) must not be provided"), "{told}");
    let told = refused(json!({"runtimeClassName": "nothing"})).await;
    assert!(told.contains("pod rejected: RuntimeClass \"nothing\" not found"), "{told}");
    cluster.stop().await;
}
