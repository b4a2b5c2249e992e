//! Eviction: Pods that use more than they may, or than the node has, are ended.
//!
//! As in the kubelet: who writes more than its limits to the disk goes at once;
//! when the node's memory runs low, it says so in its conditions, takes no more
//! Pods of best effort, and one Pod after the other goes, the greediest first.
mod memory;
mod storage;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use shim::cri::{ContainerState, Id, OwnFiles};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::admission::Rejection;
use super::pods::{Eviction, Pods};
use super::{Node, registration};
use crate::platform;

/// The kubelet's hard threshold of `memory.available`: 100Mi.
pub const EVICTION_MEMORY: u64 = 100 << 20;

/// How often the node looks, as the kubelet does.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the node says that it is under pressure after it was last, as the kubelet does.
const TRANSITION: Duration = Duration::from_secs(300);
/// How long the next eviction waits for an evicted Pod to be gone, as in the kubelet.
const CLEANUP: Duration = Duration::from_secs(30);
/// The taint of a node under memory pressure.
const TAINT: &str = "node.kubernetes.io/memory-pressure";
/// The least priority of Pods that a node cannot do without.
const CRITICAL: i32 = 2_000_000_000;

/// Whether the node runs low.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    memory: AtomicBool,
}

impl Pressure {
    /// Whether it runs low on memory.
    pub fn memory(&self) -> bool {
        self.memory.load(Ordering::Relaxed)
    }

    /// Why the node does not take a Pod now: reason and message of its status.
    pub fn refuses(&self, pod: &Pod) -> Option<Rejection> {
        let best_effort =
            pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) == Some("BestEffort");
        if !self.memory() || !best_effort || priority(pod) >= CRITICAL || tolerates(pod) {
            return None;
        }
        Some(("Evicted".into(), "The node had condition: [MemoryPressure]. ".to_owned()))
    }
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

fn tolerates(pod: &Pod) -> bool {
    let all = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    all.into_iter().any(|toleration| {
        let exists = toleration.operator.as_deref() == Some("Exists");
        let key = match some(&toleration.key) {
            Some(key) => key == TAINT && (exists || some(&toleration.value).is_none()),
            None => exists,
        };
        key && some(&toleration.effect).is_none_or(|effect| effect == "NoSchedule")
    })
}

/// Looks again and again, until dropped.
pub(super) async fn run(node: Arc<Node>, pods: Arc<Pods>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch { seen: None, evicted: None };
    loop {
        ticks.tick().await;
        relieve_disk(&node, &pods).await;
        watch.relieve_memory(&node, &pods).await;
    }
}

/// Evicts every Pod that wrote more than it may.
async fn relieve_disk(node: &Node, pods: &Pods) {
    let all = pods.list().into_iter();
    let limited: Vec<_> = all.filter(|pod| is_alive(pod) && storage::is_limited(pod)).collect();
    if limited.is_empty() {
        return;
    }
    let (data_dir, own_files) = (node.config.data_dir.clone(), own_files(node));
    let measure = move || {
        let over = |pod: Arc<Pod>| {
            let of_pod = pod.metadata.uid.as_ref().and_then(|uid| own_files.get(uid));
            let usage =
                storage::measure(&data_dir, &pod, of_pod.map(Vec::as_slice).unwrap_or_default());
            storage::exceeded(&pod, &usage).map(|message| (pod, message))
        };
        limited.into_iter().filter_map(over).collect::<Vec<_>>()
    };
    match tokio::task::spawn_blocking(measure).await {
        Ok(over) => over.into_iter().for_each(|(pod, message)| {
            evict(pods, &pod, Eviction { message, pressure: false });
        }),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "disk usage not measured"),
    }
}

/// Whether a Pod has not ended yet.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn evict(pods: &Pods, pod: &Pod, eviction: Eviction) {
    info!(
        namespace = pod.metadata.namespace,
        name = pod.metadata.name,
        reason = eviction.message,
        "evicting pod"
    );
    pods.evict(pod.metadata.uid.as_deref().unwrap_or_default(), eviction);
}

/// What is remembered between two looks at the memory.
struct Watch {
    /// When the node was last under pressure.
    seen: Option<Instant>,
    /// The Pod that was evicted last, and when.
    evicted: Option<(String, Instant)>,
}

impl Watch {
    async fn relieve_memory(&mut self, node: &Node, pods: &Pods) {
        let used = used(node);
        let available = available(node, used.values().flatten().map(|(_, bytes)| bytes).sum());
        let threshold = node.config.eviction_memory;
        let low = available < threshold;
        if low {
            self.seen = Some(Instant::now());
        }
        let lasts = self.seen.is_some_and(|seen| seen.elapsed() < TRANSITION);
        if node.pressure.memory.swap(lasts, Ordering::Relaxed) != lasts {
            tell(node, lasts).await;
        }
        if !low || self.is_relieving(&used) {
            return;
        }
        let about = node.about();
        node.recorder.warning(about, "EvictionThresholdMet", "Attempting to reclaim memory");
        let candidates: Vec<_> = pods
            .list()
            .iter()
            .filter(|pod| priority(pod) < CRITICAL)
            .filter_map(|pod| memory::Candidate::of(pod, used.get(pod.metadata.uid.as_ref()?)?))
            .collect();
        let Some(greediest) = memory::first(candidates) else { return };
        let message = greediest.message(threshold, available);
        evict(pods, &greediest.pod, Eviction { message, pressure: true });
        let uid = greediest.pod.metadata.uid.clone().unwrap_or_default();
        self.evicted = Some((uid, Instant::now()));
    }

    /// Whether a Pod that was evicted still holds memory.
    fn is_relieving(&self, used: &Used) -> bool {
        let Some((uid, since)) = &self.evicted else { return false };
        used.contains_key(uid) && since.elapsed() < CLEANUP
    }
}

/// Bytes that the running containers of each Pod hold, by uid.
type Used = HashMap<String, Vec<(String, u64)>>;

fn used(node: &Node) -> Used {
    let uids = uids(node);
    let mut used = Used::new();
    for container in node.runtime.list_containers(None) {
        let running = matches!(container.state, ContainerState::Running { .. });
        let stats = node.runtime.container_stats(&container.id).ok().filter(|_| running);
        if let (Some(stats), Some(uid)) = (stats, uids.get(&container.sandbox)) {
            let list = used.entry(uid.clone()).or_default();
            list.push((container.name, stats.memory_working_set));
        }
    }
    used
}

/// Where the containers of each Pod write to their own roots, by uid.
fn own_files(node: &Node) -> HashMap<String, Vec<(String, OwnFiles)>> {
    let uids = uids(node);
    let mut all: HashMap<String, Vec<_>> = HashMap::new();
    for container in node.runtime.list_containers(None) {
        let Some(uid) = uids.get(&container.sandbox) else { continue };
        let files = container.own_files.into_iter().map(|files| (container.name.clone(), files));
        all.entry(uid.clone()).or_default().extend(files);
    }
    all
}

/// The Pod of each sandbox.
fn uids(node: &Node) -> HashMap<Id, String> {
    let sandboxes = node.runtime.list_pod_sandboxes().into_iter();
    sandboxes.map(|sandbox| (sandbox.id, sandbox.metadata.uid)).collect()
}

/// Bytes that guests can still get: what the machine has free, within the node's capacity.
fn available(node: &Node, used: u64) -> u64 {
    let left = node.config.capacity.memory.saturating_sub(used);
    platform::available_memory().map_or(left, |free| free.min(left))
}

/// Tells the cluster that the pressure began or ended.
async fn tell(node: &Node, pressure: bool) {
    let reason = if pressure { "NodeHasInsufficientMemory" } else { "NodeHasSufficientMemory" };
    let message = format!("Node {} status is now: {reason}", node.config.node_name);
    node.recorder.normal(node.about(), reason, message);
    if let Err(error) = registration::write_status(node).await {
        warn!(error = &error as &dyn std::error::Error, "node status not written");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_under_pressure_refuses_best_effort_unless_it_is_tolerated() {
        let pod = |class: &str, spec: serde_json::Value| -> Pod {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let pod = json!({"spec": spec, "status": {"qosClass": class}});
            serde_json::from_value(pod).unwrap()
        };
        let pressure = Pressure::default();
        let plain = pod("BestEffort", json!({}));
        assert_eq!(pressure.refuses(&plain), None);
        pressure.memory.store(true, Ordering::Relaxed);
        let (reason, message) = pressure.refuses(&plain).unwrap();
        assert_eq!(
            (&*reason, message.as_str()),
            ("Evicted", "The node had condition: [MemoryPressure]. ")
        );
        assert_eq!(pressure.refuses(&pod("Burstable", json!({}))), None);
        let critical = json!({"priority": 2_000_000_000});
        assert_eq!(pressure.refuses(&pod("BestEffort", critical)), None);
        let tolerant = json!({"tolerations": [{"key": TAINT, "operator": "Exists"}]});
        assert_eq!(pressure.refuses(&pod("BestEffort", tolerant)), None);
    }
}
