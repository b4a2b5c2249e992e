//! What the node and its Pods use, in the kubelet's forms.
//!
//! Nothing is measured unless somebody asks: the runtime's accounts are read
//! once per question, whatever its form.

mod prometheus;
mod rates;
mod summary;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use shim::cri::{ContainerAttributes, ContainerStats, Id, PodSandboxMetadata, PodSandboxStatus};

use super::Node;
use crate::metrics::{self, Text};
use crate::platform;
use rates::Rates;

/// What everything on the node uses at one moment.
struct Usage {
    time: Timestamp,
    /// CPU time that the machine has used since it started to count.
    cpu: Duration,
    /// Bytes that are in use of the memory that the node offers.
    memory: u64,
    pods: Vec<PodUsage>,
}

/// What one Pod uses.
struct PodUsage {
    metadata: PodSandboxMetadata,
    created_at: SystemTime,
    containers: Vec<(ContainerAttributes, ContainerStats)>,
}

impl PodUsage {
    fn cpu(&self) -> Duration {
        self.containers.iter().map(|(_, stats)| stats.cpu_usage).sum()
    }

    fn memory(&self) -> u64 {
        self.containers.iter().map(|(_, stats)| stats.memory_working_set).sum()
    }
}

impl Usage {
    fn of(node: &Node) -> Self {
        let time = node.clock.now();
        let sandboxes = node.runtime.list_pod_sandboxes();
        let pods = pods(sandboxes, node.runtime.list_container_stats());
        // Where the system does not tell, what the Pods use is a floor.
        let cpu = platform::used_cpu().unwrap_or_else(|| pods.iter().map(PodUsage::cpu).sum());
        let of_pods = pods.iter().map(PodUsage::memory).sum();
        let machine = platform::used_memory().zip(platform::total_memory());
        let memory = memory(node.config.capacity.memory, of_pods, machine);
        Self { time, cpu, memory, pods }
    }
}

/// Bytes in use of `offered`: the `machine`'s where all its memory is offered, so that what
/// runs beside the Pods counts; of a part of it, and where the system tells of no use and size,
/// what the Pods hold.
fn memory(offered: u64, of_pods: u64, machine: Option<(u64, u64)>) -> u64 {
    machine.filter(|(_, total)| offered >= *total).map_or(of_pods, |(used, _)| used)
}

/// Containers with the Pods that they are in, ordered by namespace and name.
fn pods(
    sandboxes: Vec<PodSandboxStatus>,
    containers: Vec<(ContainerAttributes, ContainerStats)>,
) -> Vec<PodUsage> {
    let mut by_sandbox: HashMap<Id, Vec<_>> = HashMap::new();
    for (attributes, stats) in containers {
        by_sandbox.entry(attributes.sandbox.clone()).or_default().push((attributes, stats));
    }
    let mut pods: Vec<PodUsage> = sandboxes
        .into_iter()
        .filter_map(|sandbox| {
            let mut containers = by_sandbox.remove(&sandbox.id)?;
            containers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
            let PodSandboxStatus { metadata, created_at, .. } = sandbox;
            Some(PodUsage { metadata, created_at, containers })
        })
        .collect();
    pods.sort_by(|a, b| {
        let key = |pod: &PodUsage| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        key(a).cmp(&key(b))
    });
    pods
}

#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    rates: Arc<Mutex<Rates>>,
}

/// The routes of the node's API that tell what is used.
pub(super) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/stats/summary", get(summary))
        .route("/metrics", get(own_metrics))
        .route("/metrics/cadvisor", get(container_metrics))
        .route("/metrics/resource", get(resource_metrics))
        .with_state(Shared { node, rates: Arc::default() })
}

/// The options of a summary, as the kubelet has them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SummaryQuery {
    only_cpu_and_memory: bool,
}

async fn summary(State(shared): State<Shared>, Query(query): Query<SummaryQuery>) -> Response {
    let usage = Usage::of(&shared.node);
    let summary = {
        let mut rates = shared.rates.lock();
        rates.look(&usage);
        summary::Summary::new(&shared.node, &usage, &rates, query.only_cpu_and_memory)
    };
    Json(summary).into_response()
}

async fn own_metrics(State(Shared { node, .. }): State<Shared>) -> Response {
    page(|text| prometheus::own(text, &node.config.node_name, &Usage::of(&node)))
}

async fn container_metrics(State(Shared { node, .. }): State<Shared>) -> Response {
    page(|text| prometheus::containers(text, &node.config.capacity, &Usage::of(&node)))
}

async fn resource_metrics(State(Shared { node, .. }): State<Shared>) -> Response {
    page(|text| prometheus::resources(text, &Usage::of(&node)))
}

fn page(write: impl FnOnce(&mut Text)) -> Response {
    let mut text = Text::new();
    write(&mut text);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text.finish()).into_response()
}

#[cfg(test)]
mod tests;
