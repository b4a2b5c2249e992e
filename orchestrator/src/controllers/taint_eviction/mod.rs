//! Evicts Pods from nodes with `NoExecute` taints that they do not, or no longer, tolerate.
//!
//! [`plan()`] decides; this file acts. A wait is counted from when the taint
//! came to the node, so that a restart does not begin it anew; if the taint does
//! not say when that was, from when it was seen.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tracing::info;

use super::disrupt::{Cause, disrupt};
use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, pods};
use crate::client::{Change, EventRecorder, Index, Informer, ObjectKey};
use crate::clock::Clock;
use plan::{Plan, no_execute, plan};

const CAUSE: Cause = Cause {
    reason: Some("DeletionByTaintManager"),
    message: "Taint manager: deleting due to NoExecute taint",
    fails: false,
    force: false,
};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Pod could not be deleted.
    #[error("cannot evict pod")]
    Evict(#[source] Box<kube::Error>),
}

struct TaintEviction {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
    /// Pods whose eviction lies ahead, and since when.
    ahead: Mutex<HashMap<ObjectKey, Timestamp>>,
}

/// Starts the control loop, whose keys are Pods.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let nodes = context.informers.of::<Node>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    let (known, by_name) = (pods.clone(), nodes.clone());
    queue.feed(&nodes, move |change, add| {
        if taints_changed(change) {
            for pod in known.by(&Index::NODE, &change.key.name) {
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                add(ObjectKey::new(namespace, pod.metadata.name.clone().unwrap_or_default()));
            }
        }
    });
    queue.feed(&pods, move |change, add| {
        // Nearly all nodes have no such taint: their Pods are never queued.
        let tainted = |pod: &Pod| {
            pods::node_name(pod)
                .and_then(|name| by_name.get(&ObjectKey::cluster(name)))
                .is_some_and(|node| no_execute(&node).next().is_some())
        };
        if change.new.as_deref().is_some_and(tainted) {
            add(ObjectKey::clone(&change.key));
        }
    });
    let controller = TaintEviction {
        client: context.client.clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        events: context.recorder("taint-eviction-controller", tasks),
        clock: Arc::clone(&context.config.clock),
        ahead: Mutex::default(),
    };
    let synced = async move { tokio::join!(nodes.synced(), pods.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

fn taints_changed(change: &Change<Node>) -> bool {
    let taints = |node: &Option<Arc<Node>>| {
        node.iter().flat_map(|n| no_execute(n).cloned()).collect::<Vec<_>>()
    };
    taints(&change.old) != taints(&change.new)
}

#[async_trait]
impl Controller for TaintEviction {
    const NAME: &'static str = "taint-eviction";
    const WORKERS: usize = 8;
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, _: &Written) -> Result<Requeue, Error> {
        let pod = self.pods.get(key).filter(|pod| pods::is_active(pod));
        let node = pod.as_deref().and_then(pods::node_name);
        let node = node.and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.ahead.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        let now = self.clock.now();
        let seen = self.ahead.lock().get(key).copied().unwrap_or(now);
        match plan(&pod, &node, seen, now) {
            Plan::Stay => {
                if self.ahead.lock().remove(key).is_some() {
                    let told = format!("Cancelling deletion of Pod {key}");
                    self.events.normal(pod.object_ref(&()), "TaintManagerEviction", told);
                }
                Ok(Requeue::OnChange)
            }
            Plan::EvictAfter(wait) => {
                self.ahead.lock().insert(key.clone(), seen);
                Ok(Requeue::After(wait))
            }
            Plan::Evict => {
                info!(namespace = key.namespace, name = key.name, "evicting pod");
                self.ahead.lock().remove(key);
                let told = format!("Marking for deletion Pod {key}");
                self.events.normal(pod.object_ref(&()), "TaintManagerEviction", told);
                let deleted = disrupt(&self.client, &pod, CAUSE, now).await;
                deleted.map_err(|error| Error::Evict(Box::new(error)))?;
                Ok(Requeue::OnChange)
            }
        }
    }
}
