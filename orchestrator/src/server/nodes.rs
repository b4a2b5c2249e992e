//! How the server reaches nodes: a service per node, which speaks the kubelet's HTTP API.
//!
//! In one process it is the node agent's own router; for a remote node it is
//! the tunnel that the node opened.
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use parking_lot::RwLock;

/// The node APIs that can be reached now, by node name; clones share them.
#[derive(Debug, Clone, Default)]
pub struct NodeApis(Arc<RwLock<HashMap<String, Router>>>);

impl NodeApis {
    /// Makes a node reachable.
    pub fn insert(&self, node: impl Into<String>, api: Router) {
        self.0.write().insert(node.into(), api);
    }

    /// Forgets a node.
    pub fn remove(&self, node: &str) {
        self.0.write().remove(node);
    }

    /// Every node that can be reached.
    pub fn all(&self) -> Vec<(String, Router)> {
        self.0.read().iter().map(|(name, api)| (name.clone(), api.clone())).collect()
    }

    /// The API of a node.
    pub fn get(&self, node: &str) -> Option<Router> {
        self.0.read().get(node).cloned()
    }
}
