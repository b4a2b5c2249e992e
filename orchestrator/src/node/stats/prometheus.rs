//! The node's pages for Prometheus: `/metrics`, `/metrics/cadvisor` and
//! `/metrics/resource`, under the names of the kubelet and cAdvisor.
use std::time::SystemTime;

use shim::cri::{ContainerAttributes, ContainerStats};

use super::{PodUsage, Usage};
use crate::metrics::{self, Kind, Text};
use crate::node::Capacity;

/// A number of each container.
type PerContainer = fn(&ContainerAttributes, &ContainerStats) -> f64;

/// A number of each Pod.
type PerPod = fn(&PodUsage) -> f64;

const SECONDS: PerContainer = |_, stats| stats.cpu_usage.as_secs_f64();
const WORKING_SET: PerContainer = |_, stats| stats.memory_working_set as f64;
const STARTED: PerContainer = |attributes, _| seconds(attributes.started_at);

/// What `/metrics/cadvisor` has of each container.
const CONTAINERS: &[(&str, Kind, &str, PerContainer)] = &[
    ("container_cpu_usage_seconds_total", Kind::Counter, "CPU time used, in seconds.", SECONDS),
    (
        "container_cpu_cfs_throttled_periods_total",
        Kind::Counter,
        "Periods in which it waited for quota.",
        |_, stats| stats.throttled_periods as f64,
    ),
    ("container_memory_working_set_bytes", Kind::Gauge, "Bytes held.", WORKING_SET),
    (
        "container_memory_usage_bytes",
        Kind::Gauge,
        "Bytes held; guests have no cache beside.",
        WORKING_SET,
    ),
    (
        "container_memory_max_usage_bytes",
        Kind::Gauge,
        "The most bytes held at once.",
        |_, stats| stats.memory_peak as f64,
    ),
    ("container_fs_usage_bytes", Kind::Gauge, "Bytes of its log.", |_, stats| {
        stats.log_bytes as f64
    }),
    (
        "container_start_time_seconds",
        Kind::Gauge,
        "When it was started, in seconds since 1970.",
        STARTED,
    ),
];

/// `/metrics`: the agent itself, and the functions it serves.
pub(super) fn own(text: &mut Text, node: &str, usage: &Usage) {
    metrics::process(text);
    text.family("kubelet_node_name", Kind::Gauge, "What the node is called; always 1.")
        .sample(&[("node", node)], 1);
    let help = "Pods with a container that runs.";
    text.family("kubelet_running_pods", Kind::Gauge, help).sample(&[], usage.pods.len());
    let running: usize = usage.pods.iter().map(|pod| pod.containers.len()).sum();
    text.family("kubelet_running_containers", Kind::Gauge, "Containers that run.")
        .sample(&[("container_state", "running")], running);
    let help = "Requests that the functions of a container have answered.";
    let mut family = text.family("podium_function_requests_total", Kind::Counter, help);
    each(usage, |pod, attributes, stats| {
        if stats.requests > 0 {
            family.sample(&labels(pod, attributes), stats.requests);
        }
    });
}

/// `/metrics/cadvisor`: containers, and the machine as the one with the id `/`.
pub(super) fn containers(text: &mut Text, capacity: &Capacity, usage: &Usage) {
    let millis = usage.time.as_millisecond();
    text.family("machine_cpu_cores", Kind::Gauge, "CPUs of the machine.")
        .sample(&[], capacity.cpu as f64 / 1000.0);
    text.family("machine_memory_bytes", Kind::Gauge, "Bytes of its memory.")
        .sample(&[], capacity.memory);
    for (name, kind, help, value) in CONTAINERS {
        let mut family = text.family(name, *kind, help);
        let whole = match *name {
            "container_cpu_usage_seconds_total" => Some(usage.cpu.as_secs_f64()),
            "container_memory_working_set_bytes" => Some(usage.memory as f64),
            _ => None,
        };
        if let Some(whole) = whole {
            let root = [("container", ""), ("id", "/"), ("image", ""), ("name", "")];
            let nowhere = [("namespace", ""), ("pod", "")];
            family.sample_at(&[root.as_slice(), &nowhere].concat(), whole, millis);
        }
        each(usage, |pod, attributes, stats| {
            let id = format!("/kubepods/pod{}/{}", pod.metadata.uid, attributes.id.0);
            let labels = [
                ("container", attributes.name.as_str()),
                ("id", &id),
                ("image", &attributes.image.0),
                ("name", &attributes.id.0),
                ("namespace", &pod.metadata.namespace),
                ("pod", &pod.metadata.name),
            ];
            family.sample_at(&labels, value(attributes, stats), millis);
        });
    }
}

/// `/metrics/resource`: what autoscaling looks at.
pub(super) fn resources(text: &mut Text, usage: &Usage) {
    let millis = usage.time.as_millisecond();
    for (name, kind, help, value) in [
        (
            "container_cpu_usage_seconds_total",
            Kind::Counter,
            "CPU time used by a container, in seconds.",
            SECONDS,
        ),
        (
            "container_memory_working_set_bytes",
            Kind::Gauge,
            "Bytes held by a container.",
            WORKING_SET,
        ),
        (
            "container_start_time_seconds",
            Kind::Gauge,
            "When a container was started, in seconds since 1970.",
            STARTED,
        ),
    ] {
        let mut family = text.family(name, kind, help);
        each(usage, |pod, attributes, stats| {
            family.sample_at(&labels(pod, attributes), value(attributes, stats), millis);
        });
    }
    let help = "CPU time used by the machine, in seconds.";
    text.family("node_cpu_usage_seconds_total", Kind::Counter, help).sample_at(
        &[],
        usage.cpu.as_secs_f64(),
        millis,
    );
    let help = "Bytes in use of the memory that the node offers.";
    text.family("node_memory_working_set_bytes", Kind::Gauge, help).sample_at(
        &[],
        usage.memory,
        millis,
    );
    let of_pods: [(&str, Kind, &str, PerPod); 2] = [
        (
            "pod_cpu_usage_seconds_total",
            Kind::Counter,
            "CPU time used by a Pod, in seconds.",
            |pod| pod.cpu().as_secs_f64(),
        ),
        ("pod_memory_working_set_bytes", Kind::Gauge, "Bytes held by a Pod.", |pod| {
            pod.memory() as f64
        }),
    ];
    for (name, kind, help, value) in of_pods {
        let mut family = text.family(name, kind, help);
        for pod in &usage.pods {
            let labels = [
                ("namespace", pod.metadata.namespace.as_str()),
                ("pod", pod.metadata.name.as_str()),
            ];
            family.sample_at(&labels, value(pod), millis);
        }
    }
    let help = "Whether something could not be measured.";
    text.family("resource_scrape_error", Kind::Gauge, help).sample(&[], 0);
}

fn each(usage: &Usage, mut visit: impl FnMut(&PodUsage, &ContainerAttributes, &ContainerStats)) {
    for pod in &usage.pods {
        for (attributes, stats) in &pod.containers {
            visit(pod, attributes, stats);
        }
    }
}

fn labels<'a>(
    pod: &'a PodUsage,
    attributes: &'a ContainerAttributes,
) -> [(&'static str, &'a str); 3] {
    [
        ("container", &attributes.name),
        ("namespace", &pod.metadata.namespace),
        ("pod", &pod.metadata.name),
    ]
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
