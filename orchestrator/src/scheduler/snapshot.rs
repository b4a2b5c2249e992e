//! The cluster as the scheduler sees it: nodes and what is promised on them.
use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node, Taint};

use super::pod::PodInfo;
use crate::client::{ObjectKey, Quantity};

/// Amounts of what a node has and Pods ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: i64,
    /// Pods.
    pub pods: i64,
}

impl Resources {
    fn add(&mut self, other: &Self, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        self.pods += sign * other.pods;
    }
}

/// A node.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
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
    /// What its Pods ask for.
    pub requested: Resources,
    /// How many of its Pods each owner has.
    pub owners: HashMap<String, usize>,
}

/// Nodes, and the Pods that are bound or assumed to be.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    pods: HashMap<ObjectKey, Placed>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    requests: Resources,
    owner: Option<String>,
}

impl Snapshot {
    /// Every node.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// Takes in a node as it is now; whether it could make a Pod fit that did not.
    pub fn set_node(&mut self, node: &Node) -> bool {
        let mut new = NodeInfo::of(node);
        match self.by_name.get(&new.name) {
            Some(&at) => {
                let old = &mut self.nodes[at];
                let helps = old.allocatable != new.allocatable
                    || old.labels != new.labels
                    || old.taints != new.taints
                    || old.unschedulable && !new.unschedulable;
                new.requested = old.requested;
                new.owners = std::mem::take(&mut old.owners);
                *old = new;
                helps
            }
            None => {
                // Pods may have been seen before their node.
                for placed in self.pods.values() {
                    if placed.node == new.name {
                        new.place(placed, 1);
                    }
                }
                self.by_name.insert(new.name.clone(), self.nodes.len());
                self.nodes.push(new);
                true
            }
        }
    }

    /// Forgets a node.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.by_name.remove(name) else { return };
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name.clone(), at);
        }
    }

    /// Counts a Pod on a node; replaces what was known of it.
    pub fn place(&mut self, key: &ObjectKey, pod: &PodInfo, node: &str) {
        if self
            .pods
            .get(key)
            .is_some_and(|known| known.node == node && known.requests == pod.requests)
        {
            return;
        }
        self.remove_pod(key);
        let placed =
            Placed { node: node.to_owned(), requests: pod.requests, owner: pod.owner.clone() };
        if let Some(&at) = self.by_name.get(node) {
            self.nodes[at].place(&placed, 1);
        }
        self.pods.insert(key.clone(), placed);
    }

    /// Forgets a Pod; whether it had a node.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        let Some(placed) = self.pods.remove(key) else { return false };
        if let Some(&at) = self.by_name.get(&placed.node) {
            self.nodes[at].place(&placed, -1);
        }
        true
    }

    /// Whether a Pod is counted on some node.
    pub fn has_pod(&self, key: &ObjectKey) -> bool {
        self.pods.contains_key(key)
    }
}

impl NodeInfo {
    fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let amount = |name: &str| {
            let amount = allocatable.and_then(|amounts| amounts.get(name));
            amount.and_then(|amount| Quantity::try_from(amount).ok())
        };
        let whole = |name: &str| amount(name).map_or(0, Quantity::value);
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
            allocatable: Resources {
                milli_cpu: amount("cpu").map_or(0, Quantity::milli_value),
                memory: whole("memory"),
                ephemeral_storage: whole("ephemeral-storage"),
                pods: whole("pods"),
            },
            ..Self::default()
        }
    }

    fn place(&mut self, placed: &Placed, sign: i64) {
        self.requested.add(&placed.requests, sign);
        let Some(owner) = &placed.owner else { return };
        let count = self.owners.entry(owner.clone()).or_default();
        *count = count.saturating_add_signed(isize::try_from(sign).unwrap_or_default());
        if *count == 0 {
            self.owners.remove(owner);
        }
    }
}
