//! `nodes.metrics.k8s.io`
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, Usage};
use crate::api::{Column, Strategy};

/// What a node used during a window of time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeMetrics {
    /// Name and labels of the node.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The end of the window.
    pub timestamp: Option<Time>,
    /// Its length, as Go writes it.
    #[serde(default)]
    pub window: String,
    /// What was used.
    #[serde(default)]
    pub usage: Usage,
}

impl Resource for NodeMetrics {
    const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "NodeMetrics";
    const VERSION: &'static str = "v1beta1";
    const URL_PATH_SEGMENT: &'static str = "nodes";
    type Scope = ClusterResourceScope;
}

impl Metadata for NodeMetrics {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The `nodes.metrics.k8s.io` resource.
#[derive(Debug)]
pub struct NodesMetrics;

impl Strategy for NodesMetrics {
    type Kind = NodeMetrics;

    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<NodeMetrics>] = &[
        Column::new("cpu", "CPUs used", |n, _| json!(n.usage.get("cpu"))),
        Column::new("memory", "Bytes used", |n, _| json!(n.usage.get("memory"))),
        Column::new("Window", "How long it was watched", |n, _| json!(n.window)),
    ];
}
