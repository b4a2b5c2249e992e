//! Removes Pods that nobody else would: of nodes that are gone, ended ones
//! beyond a number, deleted ones that never came to a node.
//!
//! [`plan()`] decides; this file acts, now and then.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::disrupt::{Cause, disrupt};
use super::{Context, pods};
use crate::client::Informer;
use crate::clock::Clock;
use plan::{Missing, plan};

/// How often it looks, as upstream.
const PERIOD: Duration = Duration::from_secs(20);

/// Starts the loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let collector = Collector {
        client: context.client.clone(),
        nodes: context.informers.of::<Node>(),
        pods: context.informers.of::<Pod>(),
        clock: Arc::clone(&context.config.clock),
        missing: HashMap::new(),
    };
    tasks.spawn(collector.run(context.stop.clone()));
}

struct Collector {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    clock: Arc<dyn Clock>,
    /// Nodes that Pods name and nobody knows, since when.
    missing: Missing,
}

impl Collector {
    async fn run(mut self, stop: CancellationToken) {
        let synced = async { tokio::join!(self.nodes.synced(), self.pods.synced()) };
        if stop.run_until_cancelled(synced).await.is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.collect().await;
        }
    }

    async fn collect(&mut self) {
        let plan = plan(&self.pods.list(), &self.nodes.list(), &mut self.missing, Instant::now());
        for name in &plan.ask {
            // The informer may be behind: the API has the last word.
            let nodes = Api::<Node>::all(self.client.clone());
            match nodes.get_metadata_opt(name).await {
                Ok(None) => {}
                Ok(Some(_)) => {
                    self.missing.remove(name);
                    continue;
                }
                Err(error) => {
                    warn!(
                        node = name,
                        error = &error as &dyn std::error::Error,
                        "node not looked up"
                    );
                    continue;
                }
            }
            info!(node = name, "removing the pods of a node that is gone");
            for pod in plan.orphans.iter().filter(|pod| pods::node_name(pod) == Some(name)) {
                self.remove(pod, plan::ORPHANED).await;
            }
        }
        for (pod, cause) in &plan.remove {
            self.remove(pod, *cause).await;
        }
    }

    async fn remove(&self, pod: &Pod, cause: Cause) {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        debug!(namespace, name, why = cause.message, "removing pod");
        if let Err(error) = disrupt(&self.client, pod, cause, self.clock.now()).await {
            // The next look finds it again.
            warn!(namespace, name, error = &error as &dyn std::error::Error, "pod not removed");
        }
    }
}
