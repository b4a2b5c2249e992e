//! The cluster as the scheduler sees it: nodes and what is promised on them.
//!
//! Kept up from changes, one at a time, and compact: a Pod is a small record,
//! Pods that are alike share a [`Class`], topology labels are numbers.

mod class;
mod node;
mod topology;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::pod::{HostPort, PodInfo};
use super::reason::Plugins;
use crate::client::ObjectKey;
use crate::client::resource_requests::Requests;
use class::Classes;

pub use class::Class;
pub use node::NodeInfo;
pub use topology::{NOWHERE, Topology};

/// The label that says in which zone a node is.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The zones are the topology that every snapshot has.
const ZONES: usize = 0;
/// Topologies that are kept without a look whether anybody goes by them still:
/// whoever makes Pods can name any label, and each takes a number per node.
const TOPOLOGIES: usize = 32;

/// Nodes, and the Pods that are bound or assumed to be.
#[derive(Debug)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    /// Places of nodes that are gone and had no Pods left.
    free: Vec<usize>,
    known: usize,
    pods: HashMap<Arc<ObjectKey>, Placed>,
    classes: Classes,
    topologies: Vec<Topology>,
    /// As many topologies lead to a look for those that nobody goes by.
    topologies_max: usize,
    owners: HashMap<String, Owned>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    /// How many nodes have each image.
    images: HashMap<String, usize>,
    /// Pods that wait for the room that is being made for them, by node.
    nominated: HashMap<String, HashMap<Arc<ObjectKey>, PodInfo>>,
}

/// A Pod on a node.
#[derive(Debug, Clone)]
pub struct Placed {
    slot: usize,
    class: usize,
    /// Its uid.
    pub uid: String,
    /// What it asks for.
    pub requests: Requests,
    ports: Vec<HostPort>,
    owner: Option<String>,
    /// Its priority.
    pub priority: i32,
    /// When it started.
    pub started: Option<Timestamp>,
}

/// Where the Pods of one controller are.
#[derive(Debug, Default)]
pub struct Owned {
    /// How many each node has, by its slot.
    pub nodes: HashMap<usize, u32>,
    /// How many each zone has.
    pub zones: HashMap<u32, u32>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            known: 0,
            pods: HashMap::new(),
            classes: Classes::default(),
            topologies: vec![Topology::new(ZONE)],
            topologies_max: TOPOLOGIES,
            owners: HashMap::new(),
            namespaces: HashMap::new(),
            images: HashMap::new(),
            nominated: HashMap::new(),
        }
    }
}

impl Snapshot {
    /// Every node, and places where there is none: those are not [`NodeInfo::known`].
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.known
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|slot| &self.nodes[*slot]).filter(|node| node.known)
    }

    /// The Pods of each class.
    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    /// The classes that wish something of other Pods.
    pub fn classes_with_terms(&self) -> impl Iterator<Item = &Class> {
        self.classes.with_terms()
    }

    /// The labels of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// Where the Pods of a controller are.
    pub fn owned(&self, owner: &str) -> Option<&Owned> {
        self.owners.get(owner)
    }

    /// The topology of a label; none if nobody goes by it.
    pub fn topology(&self, key: &str) -> Option<&Topology> {
        self.topologies.iter().find(|topology| topology.key == key)
    }

    /// The zones.
    pub fn zones(&self) -> &Topology {
        &self.topologies[ZONES]
    }

    /// How many nodes have an image.
    pub fn nodes_with(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Takes in a node as it is now; the plugins that may judge otherwise because of it.
    pub fn set_node(&mut self, node: &Node) -> Plugins {
        let new = NodeInfo::of(node);
        let slot = self.slot(&new.name);
        let old = &mut self.nodes[slot];
        if !old.known {
            self.known += 1;
        }
        if old.images != new.images {
            count_images(&mut self.images, &old.images, &new.images);
        }
        let relabelled = !old.known || old.labels != new.labels;
        let changed = old.update(new);
        if relabelled {
            self.file(slot);
        }
        changed
    }

    /// Forgets a node; its Pods are remembered for as long as they are there.
    pub fn remove_node(&mut self, name: &str) {
        let Some(&slot) = self.by_name.get(name) else { return };
        let node = &mut self.nodes[slot];
        if !node.known {
            return;
        }
        count_images(&mut self.images, &node.images, &HashMap::new());
        let gone = NodeInfo { name: name.to_owned(), ..NodeInfo::default() };
        node.update(gone);
        self.known -= 1;
        self.file(slot);
        self.free_if_unused(slot);
    }

    /// Takes in the labels of a namespace; whether they changed.
    pub fn set_namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        match labels {
            Some(labels) => {
                let old = self.namespaces.insert(name.to_owned(), labels.clone());
                old.as_ref() != Some(labels)
            }
            None => self.namespaces.remove(name).is_some(),
        }
    }

    /// Learns the topology keys that a Pod goes by.
    pub fn learn(&mut self, pod: &PodInfo) {
        for key in pod.topology_keys() {
            if self.topology(key).is_some() {
                continue;
            }
            if self.topologies.len() >= self.topologies_max {
                self.forget_topologies(pod);
            }
            let mut topology = Topology::new(key);
            for node in &self.nodes {
                topology.set(node.slot, node.labels.get(key).filter(|_| node.known));
            }
            self.topologies.push(topology);
        }
    }

    /// Forgets the topologies by which neither `pod` goes nor any other whose terms hold for all.
    fn forget_topologies(&mut self, pod: &PodInfo) {
        let placed = self.classes.with_terms().flat_map(|class| class.terms.topology_keys());
        let nominated = self.nominated.values().flat_map(HashMap::values);
        let nominated = nominated.flat_map(PodInfo::topology_keys);
        let used: HashSet<&str> =
            placed.chain(nominated).chain(pod.topology_keys()).chain([ZONE]).collect();
        self.topologies.retain(|topology| used.contains(topology.key.as_str()));
        // Twice as many before the next look, so that looks stay rare.
        self.topologies_max = TOPOLOGIES.max(2 * used.len());
    }

    /// Counts a Pod on a node; replaces what was known of it. Answers whether it
    /// takes less there than it did before.
    pub fn place(&mut self, key: &ObjectKey, pod: &PodInfo, node: &str) -> bool {
        if self.is_placed_alike(key, pod, node) {
            return false;
        }
        let before = self.remove_pod(key);
        self.unnominate(key);
        self.learn(pod);
        let slot = self.slot(node);
        let placed = Placed {
            slot,
            class: self.classes.add(pod, slot),
            uid: pod.uid.clone(),
            requests: pod.requests.clone(),
            ports: pod.ports.clone(),
            owner: pod.owner.clone(),
            priority: pod.priority,
            started: pod.started,
        };
        let key = Arc::new(key.clone());
        let info = &mut self.nodes[slot];
        info.count(&placed.requests, &placed.ports, 1);
        info.pods.insert(Arc::clone(&key));
        if let Some(owner) = &placed.owner {
            let zone = self.topologies[ZONES].of(slot);
            let owned = self.owners.entry(owner.clone()).or_default();
            *owned.nodes.entry(slot).or_default() += 1;
            *owned.zones.entry(zone).or_default() += 1;
        }
        let frees = before
            .is_some_and(|before| before.slot != slot || before.requests.exceed(&placed.requests));
        self.pods.insert(key, placed);
        frees
    }

    fn is_placed_alike(&self, key: &ObjectKey, pod: &PodInfo, node: &str) -> bool {
        let Some(placed) = self.pods.get(key) else { return false };
        let class = self.classes.get(placed.class);
        self.nodes[placed.slot].name == node
            && placed.uid == pod.uid
            && placed.requests == pod.requests
            && placed.priority == pod.priority
            && placed.started == pod.started
            && class.is_some_and(|class| {
                class.labels == pod.labels && class.terminating == pod.terminating
            })
    }

    /// Forgets a Pod; what it was, if it had a node.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> Option<Placed> {
        let (key, placed) = self.pods.remove_entry(key)?;
        self.classes.remove(placed.class, placed.slot);
        let node = &mut self.nodes[placed.slot];
        node.count(&placed.requests, &placed.ports, -1);
        node.pods.remove(&key);
        if let Some(owner) = &placed.owner
            && let Some(owned) = self.owners.get_mut(owner)
        {
            take_one(&mut owned.nodes, &placed.slot);
            take_one(&mut owned.zones, &self.topologies[ZONES].of(placed.slot));
            if owned.nodes.is_empty() {
                self.owners.remove(owner);
            }
        }
        self.free_if_unused(placed.slot);
        Some(placed)
    }

    /// A Pod that is counted on some node.
    pub fn pod(&self, key: &ObjectKey) -> Option<&Placed> {
        self.pods.get(key)
    }

    /// The Pods that are like a counted one.
    pub fn class_of(&self, placed: &Placed) -> Option<&Class> {
        self.classes.get(placed.class)
    }

    /// Notes that room is being made for a Pod on a node.
    pub fn nominate(&mut self, key: &ObjectKey, pod: &PodInfo, node: &str) {
        self.unnominate(key);
        self.learn(pod);
        let on_node = self.nominated.entry(node.to_owned()).or_default();
        on_node.insert(Arc::new(key.clone()), pod.clone());
    }

    /// Takes in what the status of a Pod without a node says of room that is made for it.
    pub fn told_nomination(&mut self, key: &ObjectKey, pod: &PodInfo) {
        match &pod.nominated {
            Some(node) => self.nominate(key, pod, node),
            // If the status did not say so before either, it is being written.
            None if self.nomination(key).is_some_and(|known| known.nominated.is_some()) => {
                self.unnominate(key);
            }
            None => {}
        }
    }

    fn nomination(&self, key: &ObjectKey) -> Option<&PodInfo> {
        self.nominated.values().find_map(|pods| pods.get(key))
    }

    /// Notes that no room is being made for a Pod.
    pub fn unnominate(&mut self, key: &ObjectKey) {
        if self.nominated.is_empty() {
            return;
        }
        self.nominated.retain(|_, pods| {
            pods.remove(key);
            !pods.is_empty()
        });
    }

    /// Whether room is being made for any Pod.
    pub fn has_nominated(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// Pods of lower priority than `priority` for which room is being made on a node.
    pub fn nominated_below(&self, node: &str, priority: i32) -> Vec<ObjectKey> {
        let pods = self.nominated.get(node).into_iter().flatten();
        let lower = pods.filter(|(_, pod)| pod.priority < priority);
        lower.map(|(key, _)| ObjectKey::clone(key)).collect()
    }

    /// Other Pods of at least this priority for which room is being made on a node.
    pub fn nominated_on<'a>(
        &'a self,
        node: &NodeInfo,
        priority: i32,
        but: &'a ObjectKey,
    ) -> impl Iterator<Item = &'a PodInfo> {
        let pods = self.nominated.get(&node.name).into_iter().flatten();
        let others = pods.filter(move |(key, pod)| ***key != *but && pod.priority >= priority);
        others.map(|(_, pod)| pod)
    }

    /// A node as it will be once those have the room that is made for them.
    pub fn with_nominated(
        &self,
        node: &NodeInfo,
        priority: i32,
        but: &ObjectKey,
    ) -> Option<NodeInfo> {
        let mut others = self.nominated_on(node, priority, but).peekable();
        others.peek()?;
        let mut node = node.clone();
        for pod in others {
            node.count(&pod.requests, &pod.ports, 1);
        }
        Some(node)
    }

    /// The place of a node, made if there is none.
    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or(self.nodes.len());
        let node = NodeInfo { slot, name: name.to_owned(), ..NodeInfo::default() };
        if slot == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[slot] = node;
        }
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    fn free_if_unused(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if !node.known && node.pods.is_empty() && self.by_name.remove(&node.name).is_some() {
            self.nodes[slot] = NodeInfo { slot, ..NodeInfo::default() };
            self.free.push(slot);
        }
    }

    /// Files a node in every topology.
    fn file(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        for (number, topology) in self.topologies.iter_mut().enumerate() {
            let value = node.labels.get(&topology.key).filter(|_| node.known);
            let before = topology.set(slot, value);
            let after = topology.of(slot);
            if number == ZONES && before != after && !node.pods.is_empty() {
                for owned in self.owners.values_mut() {
                    let Some(count) = owned.nodes.get(&slot).copied() else { continue };
                    (0..count).for_each(|_| take_one(&mut owned.zones, &before));
                    *owned.zones.entry(after).or_default() += count;
                }
            }
        }
    }
}

fn take_one<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn count_images(
    counts: &mut HashMap<String, usize>,
    old: &HashMap<String, i64>,
    new: &HashMap<String, i64>,
) {
    let (old, new): (HashSet<&String>, HashSet<&String>) =
        (old.keys().collect(), new.keys().collect());
    for gone in old.difference(&new) {
        if let Some(count) = counts.get_mut(*gone) {
            *count -= 1;
            if *count == 0 {
                counts.remove(*gone);
            }
        }
    }
    for came in new.difference(&old) {
        *counts.entry((*came).clone()).or_default() += 1;
    }
}

/// Taking Pods away and back, to see what it would change.
impl Snapshot {
    /// Takes a Pod away for now; [`Snapshot::put_back`] undoes it.
    pub(super) fn lift(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.get(key) else { return };
        self.nodes[placed.slot].count(&placed.requests, &placed.ports, -1);
        self.classes.lift(placed.class, placed.slot);
    }

    /// Puts a Pod back that was lifted.
    pub(super) fn put_back(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.get(key) else { return };
        self.nodes[placed.slot].count(&placed.requests, &placed.ports, 1);
        self.classes.put_back(placed.class, placed.slot);
    }
}
