//! Who owns whom: the graph that the garbage collector decides by.
//!
//! It holds of each object only what deciding takes, as it holds every object
//! of the cluster.
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, ObjectMeta};

use crate::client::ObjectKey;

/// Holds an owner until what blocks it is gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Holds an owner until what it owns has forgotten it.
pub const ORPHAN: &str = "orphan";
/// Deleted objects remembered, so that their dependents need not ask whether
/// they are gone. More dependents than this arrive late only in a storm; they ask.
const REMEMBERED: usize = 10_000;

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where its API is.
    pub resource: Arc<ApiResource>,
    /// Its name.
    pub key: Arc<ObjectKey>,
    /// Its resourceVersion.
    pub version: Option<String>,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Whether it is on its way out.
    pub deleting: bool,
}

/// How an object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// What it owns goes after it.
    Background,
    /// What it owns goes before it.
    Foreground,
    /// What it owns stays.
    Orphan,
}

/// What to do about an object.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Ask the server whether these owners exist: the graph may be behind.
    Ask(Vec<OwnerReference>),
    /// Delete it: nobody owns it any more.
    Delete(Propagation),
    /// Give it these owners: others are gone or going, or it is to block none any more.
    Keep(Vec<OwnerReference>),
    /// Delete what it owns first.
    Descend(Vec<String>),
    /// Take away the finalizer: nothing blocks it any more.
    Release(&'static str),
    /// Let what it owns forget it, then take away the finalizer.
    Abandon(Vec<String>),
}

/// The objects of a cluster, by uid.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, HashSet<String>>,
    gone: HashSet<String>,
    gone_order: VecDeque<String>,
}

impl Node {
    /// What the graph holds of an object.
    pub fn new(resource: &Arc<ApiResource>, key: &Arc<ObjectKey>, meta: &ObjectMeta) -> Self {
        Self {
            resource: Arc::clone(resource),
            key: Arc::clone(key),
            version: meta.resource_version.clone(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }

    fn is_cluster_scoped(&self) -> bool {
        self.key.namespace.is_empty()
    }

    /// Whether any owner waits for its end.
    fn blocks(&self) -> bool {
        self.owners.iter().any(|owner| owner.block_owner_deletion == Some(true))
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|name| name == finalizer)
    }

    /// Whether it waits for what it owns to be deleted.
    fn waits(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }
}

impl Graph {
    /// The object with this uid.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Takes in an object; answers whom to look at because of it.
    pub fn put(&mut self, uid: &str, node: Node) -> Vec<String> {
        let old = self.nodes.get(uid).map(|old| old.owners.clone()).unwrap_or_default();
        for owner in old.iter().filter(|old| !node.owners.iter().any(|new| new.uid == old.uid)) {
            self.forget_edge(&owner.uid, uid);
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut looks = Vec::new();
        let doubtful = |owner: &OwnerReference| self.nodes.get(&owner.uid).is_none_or(Node::waits);
        let held = node.deleting && (node.has(FOREGROUND) || node.has(ORPHAN));
        if held || node.owners.iter().any(doubtful) {
            looks.push(uid.to_owned());
        }
        // An owner may have waited for this reference to go, or to stop blocking.
        let owners = old.iter().chain(&node.owners).map(|owner| &owner.uid);
        let waiting = owners.filter(|uid| self.nodes.get(*uid).is_some_and(Node::waits));
        looks.extend(waiting.cloned());
        self.nodes.insert(uid.to_owned(), node);
        looks
    }

    /// Forgets an object; answers whom to look at because of it.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        self.note_gone(uid);
        let mut looks: Vec<_> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if let Some(node) = self.nodes.remove(uid) {
            for owner in &node.owners {
                self.forget_edge(&owner.uid, uid);
                if self.nodes.get(&owner.uid).is_some_and(Node::waits) {
                    looks.push(owner.uid.clone());
                }
            }
        }
        looks
    }

    /// Notes that there is no object with this uid.
    pub fn note_gone(&mut self, uid: &str) {
        if self.gone.insert(uid.to_owned()) {
            self.gone_order.push_back(uid.to_owned());
        }
        if self.gone_order.len() > REMEMBERED
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// Decides about an object; `present` are owners of which the server says that they exist.
    pub fn plan(&self, uid: &str, present: &HashSet<String>) -> Step {
        let Some(node) = self.nodes.get(uid) else { return Step::Nothing };
        if node.deleting {
            return self.plan_held(uid, node);
        }
        let (mut solid, mut waiting, mut unknown) = (Vec::new(), false, Vec::new());
        for owner in &node.owners {
            match self.nodes.get(&owner.uid) {
                // A cluster-scoped object cannot name an owner in a namespace; upstream leaves it.
                Some(found) if !is_reachable(found, node) && node.is_cluster_scoped() => {
                    solid.push(owner.clone());
                }
                Some(found) if !is_reachable(found, node) => {}
                Some(found) if found.waits() => waiting = true,
                Some(_) => solid.push(owner.clone()),
                None if present.contains(&owner.uid) => solid.push(owner.clone()),
                None if self.gone.contains(&owner.uid) => {}
                None => unknown.push(owner.clone()),
            }
        }
        if node.owners.is_empty() || solid.len() == node.owners.len() {
            return Step::Nothing;
        }
        if !unknown.is_empty() {
            return Step::Ask(unknown);
        }
        if !solid.is_empty() {
            return Step::Keep(solid);
        }
        let owned = || self.dependents.get(uid).into_iter().flatten();
        let waits = |uid: &String| self.nodes.get(uid).is_some_and(Node::waits);
        if waiting && node.blocks() && owned().any(waits) {
            // What it owns may own it in turn: in a circle all would wait for each other.
            // It is deleted once the graph knows that it blocks nobody.
            return Step::Keep(node.owners.iter().cloned().map(unblocked).collect());
        }
        Step::Delete(if node.has(ORPHAN) {
            Propagation::Orphan
        } else if node.has(FOREGROUND) || (waiting && owned().next().is_some()) {
            Propagation::Foreground
        } else {
            Propagation::Background
        })
    }

    /// Decides about an object that is on its way out.
    fn plan_held(&self, uid: &str, node: &Node) -> Step {
        let dependents = || self.dependents.get(uid).into_iter().flatten();
        let known = |dependent: &&String| self.nodes.contains_key(*dependent);
        if node.has(ORPHAN) {
            return Step::Abandon(dependents().filter(known).cloned().collect());
        }
        if !node.has(FOREGROUND) {
            return Step::Nothing;
        }
        let blocks = |dependent: &String| {
            let owners = self.nodes.get(dependent).into_iter().flat_map(|node| &node.owners);
            let mut ours = owners.filter(|owner| owner.uid == uid);
            ours.any(|owner| owner.block_owner_deletion == Some(true))
        };
        if !dependents().any(blocks) {
            return Step::Release(FOREGROUND);
        }
        let going = |dependent: &&String| self.nodes.get(*dependent).is_some_and(|n| !n.deleting);
        let descend: Vec<_> = dependents().filter(going).cloned().collect();
        if descend.is_empty() { Step::Nothing } else { Step::Descend(descend) }
    }

    fn forget_edge(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

fn unblocked(owner: OwnerReference) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(false), ..owner }
}

/// Whether an owner can own an object: it is cluster-scoped or in the same namespace.
fn is_reachable(owner: &Node, dependent: &Node) -> bool {
    owner.is_cluster_scoped() || owner.key.namespace == dependent.key.namespace
}
