//! A node as the scheduler sees it.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::client::resource_requests::{Amount, Requests, Resources};
use crate::client::{ObjectKey, Quantity};
use crate::scheduler::pod::HostPort;
use crate::scheduler::reason::Plugins;

/// A node.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// Its place in the snapshot.
    pub slot: usize,
    /// Whether the Node is there; Pods may name one that is not.
    pub known: bool,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What Pods may use.
    pub allocatable: Resources,
    /// What they may use of what only some nodes have.
    pub extended: BTreeMap<String, Amount>,
    /// What its Pods ask for.
    pub requested: Resources,
    /// What they ask for of what only some nodes have.
    pub extended_requested: BTreeMap<String, Amount>,
    /// CPU and memory by which it is compared.
    pub scored: (Amount, Amount),
    /// Ports its Pods take.
    pub ports: Vec<HostPort>,
    /// Images it has, and their sizes in bytes.
    pub images: HashMap<String, i64>,
    /// Its Pods.
    pub pods: HashSet<Arc<ObjectKey>>,
}

impl NodeInfo {
    /// What of `node` matters.
    pub(super) fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let mut info = Self {
            known: true,
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
            ..Self::default()
        };
        for (name, amount) in status.and_then(|s| s.allocatable.as_ref()).into_iter().flatten() {
            let Ok(amount) = Quantity::try_from(amount) else { continue };
            match name.as_str() {
                "cpu" => info.allocatable.milli_cpu = amount.milli_value().into(),
                "memory" => info.allocatable.memory = amount.value().into(),
                "ephemeral-storage" => info.allocatable.ephemeral_storage = amount.value().into(),
                "pods" => info.allocatable.pods = amount.value().into(),
                other => {
                    info.extended.insert(other.to_owned(), amount.value().into());
                }
            }
        }
        for image in status.and_then(|s| s.images.as_ref()).into_iter().flatten() {
            for name in image.names.iter().flatten() {
                let size = image.size_bytes.unwrap_or_default();
                info.images.insert(name.clone(), size);
                if let Some(short) = without_host(name) {
                    info.images.entry(short.to_owned()).or_insert(size);
                }
            }
        }
        info
    }

    /// Becomes what `new` says, keeping what its Pods use; the plugins that may judge otherwise now.
    pub(super) fn update(&mut self, new: Self) -> Plugins {
        let mut changed = Plugins::NONE;
        if !self.known {
            changed = Plugins::ALL;
        }
        if self.allocatable != new.allocatable || self.extended != new.extended {
            changed = changed.and(Plugins::RESOURCES);
        }
        if self.labels != new.labels {
            changed =
                changed.and(Plugins::NODE_AFFINITY).and(Plugins::SPREAD).and(Plugins::POD_AFFINITY);
        }
        if self.taints != new.taints {
            changed = changed.and(Plugins::TAINTS).and(Plugins::SPREAD);
        }
        if self.unschedulable && !new.unschedulable {
            changed = changed.and(Plugins::UNSCHEDULABLE);
        }
        *self = Self {
            slot: self.slot,
            requested: self.requested,
            extended_requested: std::mem::take(&mut self.extended_requested),
            scored: self.scored,
            ports: std::mem::take(&mut self.ports),
            pods: std::mem::take(&mut self.pods),
            ..new
        };
        changed
    }

    /// Counts a Pod, or no longer if `sign` is -1.
    pub(super) fn count(&mut self, requests: &Requests, ports: &[HostPort], sign: Amount) {
        self.requested.add(&requests.resources, sign);
        self.scored.0 += sign * requests.scored.0;
        self.scored.1 += sign * requests.scored.1;
        for (name, amount) in &requests.extended {
            *self.extended_requested.entry(name.clone()).or_default() += sign * amount;
        }
        for port in ports {
            if sign > 0 {
                self.ports.push(port.clone());
            } else if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
    }
}

/// An image's name as those Pods say it who leave the registry to the node; none if it has no host.
fn without_host(name: &str) -> Option<&str> {
    let (host, rest) = name.split_once('/')?;
    (host.contains(['.', ':']) || host == "localhost").then_some(rest)
}
