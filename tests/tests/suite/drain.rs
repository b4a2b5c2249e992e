//! Taking a node out of service, as its operators do with kubectl.
use podium_tests::eventually;

use crate::support::{cluster, create, events, pods, push, rolled_out, shows, web};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerImage, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_as_its_budgets_allow_and_taken_back() {
    let cluster = cluster(&[]).await;
    let Some(kubectl) = cluster.kubectl() else { return };
    push(&cluster, "examples/hello/hello.wasm", "hello:latest").await;
    let client = cluster.client().await.unwrap();
    let (deployment, _) = web("hello", "hello:latest", 2);
    create::<Deployment>(&client, &deployment).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "hello"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "hello"}}},
    });
    create::<PodDisruptionBudget>(&client, &budget).await;
    rolled_out(&client, "hello").await;
    let node = kubectl.run(&["get", "nodes", "-o", "name"]).await;
    let node = node.trim();
    eventually("the budget is looked at", async || {
        let shown = kubectl.run(&["get", "pdb"]).await;
        let row = shown.lines().nth(1).unwrap_or_default().split_whitespace().take(4);
        let row: Vec<String> = row.map(str::to_owned).collect();
        if row == ["hello", "2", "N/A", "0"] { Ok(()) } else { Err(shown) }
    })
    .await;

    let told = "Cannot evict pod as it would violate the pod's disruption budget.";
    eventually("the budget is told of", async || {
        let refused = kubectl.try_run(&["drain", node, "--force", "--timeout=2s"], "").await;
        assert!(!refused.success, "{refused:?}");
        // On a loaded machine its time may be over before it has asked.
        if refused.stderr.contains(told) { Ok(()) } else { Err(refused) }
    })
    .await;
    assert_eq!(pods(&client, "hello").await.len(), 2);
    assert!(kubectl.run(&["get", node]).await.contains("SchedulingDisabled"));

    kubectl
        .run(&["patch", "pdb", "hello", "--type=merge", "-p", r#"{"spec":{"minAvailable":0}}"#])
        .await;
    let drained = kubectl.run(&["drain", node, "--force", "--timeout=120s"]).await;
    assert!(drained.contains("evicted") && drained.contains("drained"), "{drained}");
    eventually("the replacements wait", async || {
        let shown = kubectl.run(&["get", "pods"]).await;
        let waiting = shown.lines().filter(|line| line.contains("Pending")).count();
        if waiting == 2 && shown.lines().count() == 3 { Ok(()) } else { Err(shown) }
    })
    .await;
    let name = node.strip_prefix("node/").unwrap();
    let words = format!("Node {name} status is now: NodeNotSchedulable");
    events(&client, name, "NodeNotSchedulable", &words).await;
    eventually("the node lists the image", async || {
        let node = Api::<Node>::all(client.clone()).get(name).await.map_err(|e| e.to_string())?;
        let images = node.status.unwrap_or_default().images.unwrap_or_default();
        let is_named = |image: &ContainerImage| {
            let mut names = image.names.iter().flatten();
            names.any(|name| name.ends_with("/hello:latest")) && image.size_bytes > Some(0)
        };
        if images.iter().any(is_named) { Ok(()) } else { Err(format!("{images:?}")) }
    })
    .await;
    shows(&kubectl, &["describe", "pods"], &["1 node(s) were unschedulable"]).await;

    kubectl.run(&["uncordon", node]).await;
    rolled_out(&client, "hello").await;
}
