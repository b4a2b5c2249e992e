//! What of a Pod matters for its placement.
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, Pod, PodSpec, PreferredSchedulingTerm, Toleration,
};

use super::terms::{Constraint, PodTerms};
use crate::client::resource_requests::Requests;
use crate::client::sidecars;

/// A port that a Pod takes of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The address; empty for all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_empty() || other.ip.is_empty() || self.ip == other.ip)
    }
}

/// A Pod as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct PodInfo {
    /// Its uid: another Pod may take its name.
    pub uid: String,
    /// `metadata.generation`: our own writes to the status do not change it.
    pub generation: i64,
    /// Its namespace.
    pub namespace: String,
    /// Its labels, by which others are near to it or far from it.
    pub labels: BTreeMap<String, String>,
    /// What it asks for; itself counts as one Pod.
    pub requests: Requests,
    /// Labels its node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Terms of which its node must match one (`requiredDuringSchedulingIgnoredDuringExecution`).
    pub affinity: Option<Vec<NodeSelectorTerm>>,
    /// Terms that its node had better match.
    pub preferred: Vec<PreferredSchedulingTerm>,
    /// Taints it puts up with.
    pub tolerations: Vec<Toleration>,
    /// Ports it takes of its node.
    pub ports: Vec<HostPort>,
    /// Its images, under the names nodes use.
    pub images: Vec<String>,
    /// What it wishes of other Pods.
    pub terms: Arc<PodTerms>,
    /// The text of `terms`, which tells them apart; empty if there are none.
    pub terms_text: String,
    /// How it is to be spread.
    pub spread: Vec<Constraint>,
    /// Higher goes first.
    pub priority: i32,
    /// Whether it takes the place of Pods of lower priority.
    pub preempts: bool,
    /// The uid of its controller, whose Pods are spread.
    pub owner: Option<String>,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// When it started.
    pub started: Option<Timestamp>,
    /// The node that makes room for it.
    pub nominated: Option<String>,
}

impl PodInfo {
    /// What of `pod` matters.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity
            .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = affinity
            .and_then(|node| node.preferred_during_scheduling_ignored_during_execution.clone());
        let owners = pod.metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        let (terms, terms_text) = PodTerms::of(pod);
        let status = pod.status.as_ref();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            generation: pod.metadata.generation.unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            requests: Requests::of(spec, status),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            affinity: required.map(|required| required.node_selector_terms.clone()),
            preferred: preferred.unwrap_or_default(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            ports: ports(spec),
            images: images(spec),
            terms: Arc::new(terms),
            terms_text,
            spread: Constraint::of(pod),
            priority: spec.priority.unwrap_or_default(),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            owner: controller.map(|owner| owner.uid.clone()),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            started: status.and_then(|s| s.start_time.as_ref()).map(|time| time.0),
            nominated: status.and_then(|s| s.nominated_node_name.clone()).filter(|n| !n.is_empty()),
        }
    }

    /// The labels of nodes by which it goes.
    pub fn topology_keys(&self) -> impl Iterator<Item = &str> {
        let spread = self.spread.iter().map(|constraint| constraint.topology_key.as_str());
        self.terms.topology_keys().chain(spread)
    }
}

/// The host ports of the containers that run side by side.
fn ports(spec: &PodSpec) -> Vec<HostPort> {
    let running = sidecars(spec).chain(&spec.containers);
    let ports = running.flat_map(|container| container.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        let ip = port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default();
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some(HostPort { ip, protocol, port: port.host_port.filter(|port| *port > 0)? })
    });
    taken.collect()
}

fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.filter_map(|container| container.image.as_deref()).map(with_tag).collect()
}

/// An image's name with its tag, as nodes list it.
fn with_tag(image: &str) -> String {
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_conflict_on_the_same_address_or_on_all() {
        let port = |ip: &str, protocol: &str| HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port: 80,
        };
        assert!(port("", "TCP").conflicts(&port("127.0.0.1", "TCP")));
        assert!(!port("127.0.0.2", "TCP").conflicts(&port("127.0.0.1", "TCP")));
        assert!(!port("", "UDP").conflicts(&port("", "TCP")));
    }

    #[test]
    fn a_pod_is_read_once() {
        let pod = PodInfo::of(
            &serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "c", "image": "registry:5000/web",
                        "ports": [{"containerPort": 8080, "hostPort": 80}]}],
                    "preemptionPolicy": "Never", "priority": 7,
                },
            }))
            .unwrap(),
        );
        assert_eq!(pod.images, ["registry:5000/web:latest"]);
        assert_eq!((pod.ports.len(), pod.priority, pod.preempts), (1, 7, false));
    }

    #[test]
    fn sidecars_take_ports_and_all_images_are_wanted() {
        let container = |image: &str, port: i32, restart: Option<&str>| {
            json!({"name": image, "image": image, "restartPolicy": restart,
                "ports": [{"containerPort": port, "hostPort": port}]})
        };
        let pod = PodInfo::of(
            &serde_json::from_value(json!({"spec": {
                "containers": [container("web:1", 80, None)],
                "initContainers": [container("setup:1", 81, None), container("proxy:1", 82, Some("Always"))],
            }}))
            .unwrap(),
        );
        let ports: Vec<i32> = pod.ports.iter().map(|port| port.port).collect();
        assert_eq!(ports, [82, 80]);
        assert_eq!(pod.images, ["setup:1", "proxy:1", "web:1"]);
    }
}
