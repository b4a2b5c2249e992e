//! Watches over nodes: what a node that fell silent is said to be, which
//! taints its state gives it, what becomes of its Pods' readiness.
//!
//! [`health`] decides whether a node still lives, [`zones`] how fast nodes of
//! a zone may be emptied, [`taints`] which taints a node should have. One loop
//! looks at all nodes every few seconds; one control loop per node writes.

mod health;
mod taints;
mod zones;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::runtime::{Controller, Queue, Requeue, Written, drive};
use super::{Context, pods};
use crate::client::{EventRecorder, Index, Informer, ObjectKey, status_code};
use crate::clock::Clock;
use health::{Health, judge};
use taints::{Eviction, plan};
use zones::Zones;

/// How often all nodes are looked at (`--node-monitor-period`).
const PERIOD: Duration = Duration::from_secs(5);
/// Where the Leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The taints could not be written.
    #[error("cannot write the taints")]
    Taints(#[source] Box<kube::Error>),
    /// A Pod could not be marked.
    #[error("cannot mark pod {pod} as not ready")]
    Pod {
        /// The Pod.
        pod: ObjectKey,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Nodes whose Pods may be evicted now; what the two loops share.
#[derive(Default)]
struct Evictable(Mutex<State>);

#[derive(Default)]
struct State {
    nodes: HashSet<String>,
    /// Every node is silent: the trouble is ours rather than theirs.
    suspended: bool,
}

impl Evictable {
    fn of(&self, node: &str) -> Eviction {
        let state = self.0.lock();
        match (state.suspended, state.nodes.contains(node)) {
            (true, _) => Eviction::Suspended,
            (false, true) => Eviction::Allowed,
            (false, false) => Eviction::NotYet,
        }
    }
}

/// Starts both loops.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let nodes = context.informers.of::<Node>();
    let leases = context.informers.of::<Lease>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new();
    queue.feed(&nodes, |change, add| {
        if change.new.is_some() {
            add(ObjectKey::clone(&change.key));
        }
    });
    let evictable = Arc::new(Evictable::default());
    let events = context.recorder("node-controller", tasks);
    let monitor = Monitor {
        client: context.client.clone(),
        nodes: nodes.clone(),
        leases: leases.clone(),
        queue: Arc::clone(&queue),
        evictable: Arc::clone(&evictable),
        events: events.clone(),
        clock: Arc::clone(&context.config.clock),
        known: HashMap::new(),
        zones: Zones::default(),
    };
    let controller = NodeLifecycle {
        client: context.client.clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        evictable,
        events,
        clock: Arc::clone(&context.config.clock),
    };
    let (entropy, stop) = (context.config.entropy.clone(), context.stop.clone());
    tasks.spawn(async move {
        let synced = async { tokio::join!(nodes.synced(), leases.synced(), pods.synced()) };
        if stop.run_until_cancelled(synced).await.is_some() {
            tokio::join!(monitor.run(stop.clone()), drive(controller, queue, entropy, stop));
        }
    });
}

/// Looks at all nodes, again and again.
struct Monitor {
    client: Client,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    queue: Arc<Queue>,
    evictable: Arc<Evictable>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
    known: HashMap<String, Health>,
    zones: Zones,
}

impl Monitor {
    async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let (now, nodes) = (Instant::now(), self.nodes.list());
        self.forget(&nodes);
        let mut seen = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let lease = self.leases.get(&ObjectKey::new(LEASES, name));
            if !self.known.contains_key(name) {
                self.tell(node, "RegisteredNode", format!("Registered Node {name} in Controller"));
            }
            let known = self.known.remove(name);
            let verdict = judge(node, lease.as_deref(), known, now, self.clock.now());
            self.known.insert(name.to_owned(), verdict.health);
            if !verdict.conditions.is_empty() {
                self.say_unknown(node, verdict.conditions).await;
            }
            seen.push((name.to_owned(), zones::zone_of(node), verdict.ready));
        }
        let plan = self.zones.plan(&seen, now);
        let mut state = self.evictable.0.lock();
        let before = std::mem::take(&mut state.nodes);
        let suspended = std::mem::replace(&mut state.suspended, plan.suspended);
        if suspended != plan.suspended {
            info!(suspended = plan.suspended, "eviction from nodes that are not ready");
        }
        state.nodes = plan.evict;
        let changed = before.symmetric_difference(&state.nodes);
        for name in changed {
            self.queue.add(Arc::new(ObjectKey::cluster(name.clone())));
        }
        if suspended != plan.suspended {
            for (name, ..) in seen {
                self.queue.add(Arc::new(ObjectKey::cluster(name)));
            }
        }
    }

    /// Forgets nodes that are gone.
    fn forget(&mut self, nodes: &[Arc<Node>]) {
        if self.known.len() <= nodes.len()
            && nodes
                .iter()
                .filter_map(|n| n.metadata.name.as_ref())
                .all(|n| self.known.contains_key(n))
        {
            return;
        }
        let there: HashSet<&str> =
            nodes.iter().filter_map(|n| n.metadata.name.as_deref()).collect();
        let gone: Vec<String> =
            self.known.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.known.remove(&name);
            let about = node_reference(&name, None);
            let told = format!("Node {name} event: Removing Node {name} from Controller");
            self.events.normal(about, "RemovingNode", told);
        }
    }

    fn tell(&self, node: &Node, reason: &'static str, message: String) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let about = node_reference(name, node.metadata.uid.clone());
        self.events.normal(about, reason, format!("Node {name} event: {message}"));
    }

    async fn say_unknown(&self, node: &Node, conditions: Vec<Value>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Strategic(json!({"status": {"conditions": conditions}}));
        let api = Api::<Node>::all(self.client.clone());
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                info!(node = name, "node fell silent");
                let about = node_reference(name, node.metadata.uid.clone());
                let told = format!("Node {name} status is now: NodeNotReady");
                self.events.normal(about, "NodeNotReady", told);
            }
            Err(error) if status_code(&error) == Some(404) => {}
            Err(error) => {
                // The next look finds it silent still.
                warn!(
                    node = name,
                    error = &error as &dyn std::error::Error,
                    "node status not written"
                );
            }
        }
    }
}

/// Events of nodes name the node as their uid too where the kubelet's do; this has the real one.
fn node_reference(name: &str, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(name.to_owned()),
        uid,
        ..ObjectReference::default()
    }
}

/// Gives a node the taints of its state, and takes readiness from Pods of a silent one.
struct NodeLifecycle {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    evictable: Arc<Evictable>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Controller for NodeLifecycle {
    const NAME: &'static str = "node-lifecycle";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.get(key) else { return Ok(Requeue::OnChange) };
        let now = self.clock.now();
        if let Some(taints) = plan(&node, self.evictable.of(&key.name), now) {
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": if taints.is_empty() { Value::Null } else { json!(taints) }},
            });
            let api = Api::<Node>::all(self.client.clone());
            let patch = Patch::Merge(patch);
            match api.patch(&key.name, &PatchParams::default(), &patch).await {
                Ok(node) => written.note(&self.nodes, &node.metadata),
                Err(error) if status_code(&error) == Some(404) => return Ok(Requeue::OnChange),
                Err(error) => return Err(Error::Taints(Box::new(error))),
            }
        }
        if health::ready(&node).is_some_and(|ready| ready.status == "Unknown") {
            for pod in self.pods.by(&Index::NODE, &key.name) {
                self.mark(&pod, now, written).await?;
            }
        }
        Ok(Requeue::OnChange)
    }
}

impl NodeLifecycle {
    /// Says that a Pod is not ready: nobody can know, so no traffic goes there.
    async fn mark(&self, pod: &Pod, now: Timestamp, written: &Written) -> Result<(), Error> {
        if !pods::is_ready(pod) {
            return Ok(());
        }
        let meta = &pod.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let patch = json!({
            "metadata": {"uid": meta.uid},
            "status": {"conditions": [{
                "type": "Ready", "status": "False",
                "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let patch = Patch::Strategic(patch);
        match api.patch_status(&name, &PatchParams::default(), &patch).await {
            Ok(marked) => {
                written.note(&self.pods, &marked.metadata);
                self.events.warning(pod.object_ref(&()), "NodeNotReady", "Node is not ready");
                Ok(())
            }
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(()),
            Err(source) => {
                let pod = ObjectKey::new(namespace, name);
                Err(Error::Pod { pod, source: Box::new(source) })
            }
        }
    }
}
