//! Signs of life: a Lease renewed often, a Node status written seldom.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ContainerImage, Node as NodeObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::{Node, extended, registration};

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
    let mut shown = Shown::now(&node);
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&node).await {
            warn!(error = &error as &dyn std::error::Error, "lease not renewed");
        }
        shown.refresh(&node).await;
    }
}

/// How the Node stands in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// As it is.
    Right,
    /// Not ready, without the extended resources of its capacity, or deleted.
    Wrong,
    /// The API did not answer.
    Nothing,
}

/// What the Node's status last said, and whether the Node took Pods.
struct Shown {
    written: Instant,
    images: Vec<ContainerImage>,
    unschedulable: bool,
}

impl Shown {
    fn now(node: &Node) -> Self {
        let images = registration::images(node.runtime.list_images());
        Self { written: Instant::now(), images, unschedulable: false }
    }

    /// Writes the status if it is time or says what is not so any more.
    async fn refresh(&mut self, node: &Node) {
        let api = Api::<NodeObject>::all(node.client.clone());
        let seen = match api.get_opt(&node.config.node_name).await {
            Ok(Some(known)) => {
                self.tell_turn(node, &known);
                if is_doubted(&known) || has_other_resources(&known) {
                    Seen::Wrong
                } else {
                    Seen::Right
                }
            }
            Ok(None) => Seen::Wrong,
            Err(error) => {
                // The Lease tells of the trouble.
                debug!(error = &error as &dyn std::error::Error, "node not read");
                Seen::Nothing
            }
        };
        let now = Self::now(node);
        if !self.is_due(&now, seen) {
            return;
        }
        match registration::write_status(node).await {
            Ok(()) => (self.written, self.images) = (now.written, now.images),
            // Somebody deleted the Node: it is still here.
            Err(kube::Error::Api(error)) if error.code == 404 => {
                match registration::register(node).await {
                    Ok(()) => (self.written, self.images) = (now.written, now.images),
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "node not registered");
                    }
                }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "node status not written");
            }
        }
    }

    /// Whether the status is to be written, given what it would say now.
    fn is_due(&self, now: &Self, seen: Seen) -> bool {
        seen == Seen::Wrong || self.written.elapsed() >= STATUS || self.images != now.images
    }

    fn tell_turn(&mut self, node: &Node, known: &NodeObject) {
        if let Some(reason) = self.turned(known) {
            let message = format!("Node {} status is now: {reason}", node.config.node_name);
            node.recorder.normal(node.about(), reason, message);
        }
    }

    /// Notes whether the Node is cordoned; the reason of an event if that turned.
    fn turned(&mut self, known: &NodeObject) -> Option<&'static str> {
        let unschedulable = known.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
        let before = std::mem::replace(&mut self.unschedulable, unschedulable);
        let reason = if unschedulable { "NodeNotSchedulable" } else { "NodeSchedulable" };
        (before != unschedulable).then_some(reason)
    }
}

/// Whether the API says that the node is not ready, as it does of one that was silent.
fn is_doubted(known: &NodeObject) -> bool {
    let mut conditions = known.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status != "True")
}

/// Whether somebody changed what the Node has of extended resources.
fn has_other_resources(known: &NodeObject) -> bool {
    known.status.as_ref().is_some_and(extended::is_outdated)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_somebody_deleted_is_told_of_at_once() {
        let shown = || Shown { written: Instant::now(), images: Vec::new(), unschedulable: false };
        let due = [Seen::Right, Seen::Wrong, Seen::Nothing].map(|s| shown().is_due(&shown(), s));
        assert_eq!(due, [false, true, false]);
        let now = Shown { images: vec![ContainerImage::default()], ..shown() };
        assert!(shown().is_due(&now, Seen::Nothing));
    }

    #[test]
    fn each_turn_of_a_cordon_is_told_once() {
        let node = |unschedulable: bool| -> NodeObject {
            serde_json::from_value(json!({"spec": {"unschedulable": unschedulable}})).unwrap()
        };
        let mut shown = Shown { written: Instant::now(), images: Vec::new(), unschedulable: false };
        let told = [false, true, true, false, false].map(|now| shown.turned(&node(now)));
        assert_eq!(told, [None, Some("NodeNotSchedulable"), None, Some("NodeSchedulable"), None]);
    }
}
