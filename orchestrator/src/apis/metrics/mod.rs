//! The group `metrics.k8s.io`: what nodes and Pods use, measured and not stored.

mod node;
mod pod;

pub use node::{NodeMetrics, NodesMetrics};
pub use pod::{ContainerMetrics, PodMetrics, PodsMetrics};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource;

/// The group.
pub const GROUP: &str = "metrics.k8s.io";

/// Amounts by resource: `cpu` in CPUs, `memory` in bytes.
pub type Usage = BTreeMap<String, resource::Quantity>;
