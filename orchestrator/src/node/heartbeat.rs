//! Signs of life: a Lease renewed often, a Node status written seldom.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::{Node, registration};

/// How often the Lease is renewed, as the kubelet does.
const RENEWAL: Duration = Duration::from_secs(10);
/// How long the Lease holds, as the kubelet's.
const LEASE_SECONDS: i32 = 40;
/// How often the status is written although nothing changed, as the kubelet does.
const STATUS: Duration = Duration::from_secs(300);
/// How soon registration is tried again, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Where Leases of nodes are.
const NAMESPACE: &str = "kube-node-lease";

/// Registers the Node and keeps it alive, until dropped.
pub(super) async fn run(node: Arc<Node>) {
    let mut retry = RETRY.0;
    while let Err(error) = registration::register(&node).await {
        warn!(error = &error as &dyn std::error::Error, "node not registered, trying again");
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY.1);
    }
    info!(node = node.config.node_name, "node registered");
    let mut ticks = tokio::time::interval(RENEWAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = Instant::now();
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&node).await {
            warn!(error = &error as &dyn std::error::Error, "lease not renewed");
        }
        if written.elapsed() < STATUS && !is_doubted(&node).await {
            continue;
        }
        match registration::write_status(&node).await {
            Ok(()) => written = Instant::now(),
            // Somebody deleted the Node: it is still here.
            Err(kube::Error::Api(error)) if error.code == 404 => {
                if let Err(error) = registration::register(&node).await {
                    warn!(error = &error as &dyn std::error::Error, "node not registered");
                }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "node status not written");
            }
        }
    }
}

/// Whether the API says that the node is not ready, as it does of one that was silent.
async fn is_doubted(node: &Node) -> bool {
    let api = Api::<NodeObject>::all(node.client.clone());
    // Without an answer there is nothing to set right; the Lease tells of the trouble.
    let Ok(Some(known)) = api.get_opt(&node.config.node_name).await else { return false };
    let mut conditions = known.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status != "True")
}

async fn renew(node: &Node) -> Result<(), kube::Error> {
    let api = Api::<Lease>::namespaced(node.client.clone(), NAMESPACE);
    let name = &node.config.node_name;
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": MicroTime(node.clock.now()),
    });
    let patch = Patch::Merge(json!({"spec": spec}));
    match api.patch_metadata(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {
            let lease = json!({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
            let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &lease).await.map(drop)
        }
        done => done.map(drop),
    }
}
