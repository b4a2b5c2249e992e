//! The scheduler's decisions alone, on one core: no API, no bindings.
use std::time::Instant;

use anyhow::{Result, anyhow};
use k8s_openapi::api::core::v1::{Node, Pod};
use podium::client::ObjectKey;
use podium::scheduler::{Config, PodInfo, Snapshot, schedule};
use serde_json::{Value, json};

use crate::figure;

/// Nodes of the cluster.
const NODES: usize = 5_000;
/// Zones they are in.
const ZONES: usize = 5;
/// Decisions that are measured: eight Pods a node, or fewer where one node takes one.
const DECISIONS: usize = 40_000;

pub fn run() -> Result<()> {
    let plain = json!({});
    let zones = json!({"topologySpreadConstraints": [constraint("topology.kubernetes.io/zone")]});
    let both = json!({"topologySpreadConstraints": [
        constraint("topology.kubernetes.io/zone"), constraint("kubernetes.io/hostname"),
    ]});
    let apart = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}},
        ],
    }}});
    decisions("simple Pods", &plain, DECISIONS)?;
    decisions("Pods spread over zones", &zones, DECISIONS)?;
    decisions("Pods spread over zones and nodes", &both, DECISIONS / 4)?;
    decisions("Pods with anti-affinity", &apart, NODES)?;
    refusals()
}

fn constraint(key: &str) -> Value {
    json!({
        "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    })
}

fn cluster() -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for n in 0..NODES {
        let name = format!("node-{n}");
        let labels = json!({
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{}", n % ZONES),
        });
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "110"}},
        }))?;
        snapshot.set_node(&node);
    }
    Ok(snapshot)
}

fn pod(more: &Value, cpu: &str) -> Result<Pod> {
    let resources = json!({"requests": {"cpu": cpu, "memory": "500Mi"}});
    let mut spec = json!({
        "containers": [{"name": "c", "image": "web:1", "resources": resources}],
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]);
    Ok(serde_json::from_value(json!({
        "metadata": {"namespace": "default", "labels": {"app": "web"}, "ownerReferences": owner},
        "spec": spec,
    }))?)
}

/// Decides for one Pod after the other, as the loop does: reads it, decides, assumes.
fn decisions(what: &str, more: &Value, count: usize) -> Result<()> {
    let (mut snapshot, pod) = (cluster()?, pod(more, "100m")?);
    let (config, mut at) = (Config::default(), 0);
    let start = Instant::now();
    for n in 0..count {
        let (key, info) = (ObjectKey::new("default", format!("p{n}")), PodInfo::of(&pod));
        let node = schedule(&mut snapshot, &key, &info, &mut at, &config);
        snapshot.place(&key, &info, &node.map_err(|why| anyhow!("{why}"))?);
    }
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    figure(&format!("decisions/s, {NODES} nodes, {count} {what}"), format!("{per_second:.0}"));
    Ok(())
}

/// A Pod that fits nowhere looks at every node.
fn refusals() -> Result<()> {
    let (mut snapshot, info) = (cluster()?, PodInfo::of(&pod(&json!({}), "64")?));
    let (config, key, mut at) = (Config::default(), ObjectKey::new("default", "big"), 0);
    let count = 2_000;
    let start = Instant::now();
    for _ in 0..count {
        anyhow::ensure!(schedule(&mut snapshot, &key, &info, &mut at, &config).is_err());
    }
    let per_second = f64::from(count) / start.elapsed().as_secs_f64();
    figure(&format!("refusals/s, {NODES} nodes"), format!("{per_second:.0}"));
    Ok(())
}
