//! `pods.metrics.k8s.io`
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{GROUP, Usage};
use crate::api::{Column, Quantity, Strategy};

/// What the containers of a Pod used during a window of time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PodMetrics {
    /// Name, namespace and labels of the Pod.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The end of the window.
    pub timestamp: Option<Time>,
    /// Its length, as Go writes it.
    #[serde(default)]
    pub window: String,
    /// What each container used.
    #[serde(default)]
    pub containers: Vec<ContainerMetrics>,
}

/// What one container used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerMetrics {
    /// Its name.
    pub name: String,
    /// What was used.
    #[serde(default)]
    pub usage: Usage,
}

impl Resource for PodMetrics {
    const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "PodMetrics";
    const VERSION: &'static str = "v1beta1";
    const URL_PATH_SEGMENT: &'static str = "pods";
    type Scope = NamespaceResourceScope;
}

impl Metadata for PodMetrics {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The `pods.metrics.k8s.io` resource.
#[derive(Debug)]
pub struct PodsMetrics;

impl Strategy for PodsMetrics {
    type Kind = PodMetrics;

    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<PodMetrics>] = &[
        Column::new("cpu", "CPUs used", |p, _| total(p, "cpu")),
        Column::new("memory", "Bytes used", |p, _| total(p, "memory")),
        Column::new("Window", "How long it was watched", |p, _| json!(p.window)),
    ];
}

fn total(pod: &PodMetrics, resource: &str) -> Value {
    let amounts = pod.containers.iter().filter_map(|container| container.usage.get(resource));
    let amounts = amounts.filter_map(|amount| Quantity::try_from(amount).ok());
    json!(amounts.fold(Quantity::ZERO, |sum, amount| sum + amount).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, headers, object};

    #[test]
    fn a_row_adds_up_what_the_containers_use() {
        let pod = object(
            "metrics.k8s.io/v1beta1",
            "PodMetrics",
            json!({
                "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
                "containers": [
                    {"name": "a", "usage": {"cpu": "1500001n", "memory": "1Mi"}},
                    {"name": "b", "usage": {"cpu": "500m", "memory": "512Ki"}},
                ],
            }),
        );
        assert_eq!(headers(&pod), ["cpu", "memory", "Window"]);
        assert_eq!(cells(&pod), ["501500001n", "1536Ki", "15s"]);
    }
}
