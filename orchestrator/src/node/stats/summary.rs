//! `/stats/summary`: the kubelet's `stats/v1alpha1` Summary.
use jiff::Timestamp;
use serde::Serialize;
use shim::cri::{ContainerAttributes, ContainerStats};

use super::rates::Rates;
use super::{PodUsage, Usage};
use crate::node::Node;
use crate::platform;

/// What a node and its Pods use.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    node: NodeStats,
    pods: Vec<PodStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStats {
    node_name: String,
    cpu: Cpu,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs: Option<Files>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    start_time: Option<Timestamp>,
    containers: Vec<Container>,
    cpu: Cpu,
    memory: Memory,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    ephemeral_storage: Option<Files>,
}

#[derive(Debug, Serialize)]
struct PodRef {
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    start_time: Option<Timestamp>,
    cpu: Cpu,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Files>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_nano_cores: Option<u64>,
    usage_core_nano_seconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    usage_bytes: u64,
    working_set_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Files {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_bytes: Option<u64>,
    used_bytes: u64,
}

impl Summary {
    /// Of CPU and memory alone where `brief`.
    pub(super) fn new(node: &Node, usage: &Usage, rates: &Rates, brief: bool) -> Self {
        let time = usage.time;
        let fs = || {
            let capacity = node.config.capacity.ephemeral_storage?;
            let available = platform::disk_unused(&node.config.data_dir)?;
            Some(Files {
                time,
                available_bytes: Some(available),
                capacity_bytes: Some(capacity),
                used_bytes: capacity.saturating_sub(available),
            })
        };
        let available = node.config.capacity.memory.saturating_sub(usage.memory);
        let stats = NodeStats {
            node_name: node.config.node_name.clone(),
            cpu: Cpu {
                time,
                usage_nano_cores: rates.node(),
                usage_core_nano_seconds: nanos(usage.cpu),
            },
            memory: Memory { available_bytes: Some(available), ..memory(time, usage.memory) },
            fs: (!brief).then(fs).flatten(),
        };
        let pods = usage.pods.iter().map(|pod| pod_stats(pod, time, rates, brief)).collect();
        Self { node: stats, pods }
    }
}

fn pod_stats(pod: &PodUsage, time: Timestamp, rates: &Rates, brief: bool) -> PodStats {
    let containers: Vec<Container> = pod
        .containers
        .iter()
        .map(|(attributes, stats)| container(attributes, stats, time, rates, brief))
        .collect();
    let rates = containers.iter().map(|container| container.cpu.usage_nano_cores);
    let logs = pod.containers.iter().map(|(_, stats)| stats.log_bytes).sum();
    PodStats {
        pod_ref: PodRef {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
        },
        start_time: pod.created_at.try_into().ok(),
        cpu: Cpu { time, usage_nano_cores: rates.sum(), usage_core_nano_seconds: nanos(pod.cpu()) },
        memory: memory(time, pod.memory()),
        ephemeral_storage: (!brief).then(|| files(time, logs)),
        containers,
    }
}

fn container(
    attributes: &ContainerAttributes,
    stats: &ContainerStats,
    time: Timestamp,
    rates: &Rates,
    brief: bool,
) -> Container {
    Container {
        name: attributes.name.clone(),
        start_time: attributes.started_at.try_into().ok(),
        cpu: Cpu {
            time,
            usage_nano_cores: rates.container(&attributes.id),
            usage_core_nano_seconds: nanos(stats.cpu_usage),
        },
        memory: memory(time, stats.memory_working_set),
        logs: (!brief).then(|| files(time, stats.log_bytes)),
    }
}

/// Guests have no page cache: all they hold is their working set.
fn memory(time: Timestamp, bytes: u64) -> Memory {
    Memory { time, available_bytes: None, usage_bytes: bytes, working_set_bytes: bytes }
}

fn files(time: Timestamp, bytes: u64) -> Files {
    Files { time, available_bytes: None, capacity_bytes: None, used_bytes: bytes }
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
