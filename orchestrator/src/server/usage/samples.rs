//! Samples of what was used, and the rates between them.
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::{IDLE_ROUND, between};
use crate::api::ObjectKey;

/// Points that are kept: so many that those of eager askers do not push out the one a window ago.
const POINTS: usize = 8;

/// The shortest window that is wished: quotas are given out every 100 ms, so
/// that a hundred of them even out.
const WINDOW: Duration = Duration::from_secs(10);

/// The shortest window that says anything.
const LEAST_WINDOW: Duration = Duration::from_secs(1);

/// A node that has not answered for so long, two rounds when nobody asks, uses nothing that is known.
const STALE: Duration = IDLE_ROUND.saturating_mul(2);

/// A container that was started so short ago is measured from its start.
const YOUNG: Duration = Duration::from_secs(60);

/// As much of the kubelet's summary as is looked at.
#[derive(Debug, Deserialize)]
pub struct Summary {
    node: NodeStats,
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Debug, Deserialize)]
struct NodeStats {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    #[serde(default)]
    containers: Vec<ContainerStats>,
}

#[derive(Debug, Deserialize)]
struct PodRef {
    name: String,
    namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStats {
    name: String,
    start_time: Option<Timestamp>,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: Timestamp,
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

/// The samples of every node.
#[derive(Debug, Default)]
pub struct Samples {
    nodes: HashMap<String, NodeSamples>,
}

#[derive(Debug)]
struct NodeSamples {
    /// When the node answered last, by our clock.
    heard: Instant,
    points: Points,
    pods: HashMap<ObjectKey, Vec<ContainerSamples>>,
}

#[derive(Debug)]
struct ContainerSamples {
    name: String,
    started: Option<Timestamp>,
    points: Points,
}

/// The latest points of one counter, in order.
#[derive(Debug, Default)]
struct Points(Vec<Point>);

#[derive(Debug, Clone, Copy)]
struct Point {
    at: Timestamp,
    cpu_nanos: u64,
    memory: u64,
}

/// What was used during a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The end of the window.
    pub at: Timestamp,
    /// Its length.
    pub window: Duration,
    /// Billionths of a CPU, on average.
    pub cpu_nanos: i64,
    /// Bytes, at the end.
    pub memory: i64,
}

impl Samples {
    /// Forgets the nodes that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.nodes.retain(|node, _| wanted(node));
    }

    /// Takes in what a node says.
    pub fn add(&mut self, node: &str, summary: &Summary) {
        let heard = Instant::now();
        let new = || NodeSamples { heard, points: Points::default(), pods: HashMap::new() };
        let samples = self.nodes.entry(node.to_owned()).or_insert_with(new);
        samples.heard = heard;
        if let Some(point) = point(summary.node.cpu.as_ref(), summary.node.memory.as_ref()) {
            samples.points.push(point);
        }
        let mut before = std::mem::take(&mut samples.pods);
        for pod in &summary.pods {
            let key = ObjectKey::new(pod.pod_ref.namespace.as_str(), pod.pod_ref.name.as_str());
            let mut known = before.remove(&key).unwrap_or_default();
            let containers = pod.containers.iter().filter_map(|container| {
                let point = point(container.cpu.as_ref(), container.memory.as_ref())?;
                let same = |known: &ContainerSamples| {
                    known.name == container.name && known.started == container.start_time
                };
                let mut samples = match known.iter().position(same) {
                    Some(at) => known.swap_remove(at),
                    None => ContainerSamples {
                        name: container.name.clone(),
                        started: container.start_time,
                        points: Points::default(),
                    },
                };
                samples.points.push(point);
                Some(samples)
            });
            let containers = containers.collect();
            samples.pods.insert(key, containers);
        }
    }

    /// What a node used; none if that is not known yet.
    pub fn node(&self, name: &str) -> Option<Used> {
        self.fresh(name)?.points.used(None)
    }

    /// What each container of a Pod used; none if that is not known yet of one of them.
    pub fn pod(&self, node: &str, key: &ObjectKey) -> Option<Vec<(&str, Used)>> {
        let containers = self.fresh(node)?.pods.get(key)?;
        let used = |c: &'_ ContainerSamples| c.points.used(c.started);
        let all = containers.iter().map(|c| Some((c.name.as_str(), used(c)?)));
        all.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
    }

    fn fresh(&self, node: &str) -> Option<&NodeSamples> {
        self.nodes.get(node).filter(|samples| samples.heard.elapsed() <= STALE)
    }
}

fn point(cpu: Option<&Cpu>, memory: Option<&Memory>) -> Option<Point> {
    let (cpu, memory) = (cpu?, memory?);
    Some(Point {
        at: cpu.time,
        cpu_nanos: cpu.usage_core_nano_seconds?,
        memory: memory.working_set_bytes?,
    })
}

impl Points {
    fn push(&mut self, point: Point) {
        if self.0.last().is_some_and(|last| last.at >= point.at) {
            return;
        }
        if self.0.len() == POINTS {
            self.0.remove(0);
        }
        self.0.push(point);
    }

    /// The rate up to the last point, of something that began at `started` with nothing.
    fn used(&self, started: Option<Timestamp>) -> Option<Used> {
        let (last, earlier) = self.0.split_last()?;
        let age = |point: &Point| between(point.at, last.at);
        let base = earlier.iter().rev().find(|point| age(point) >= WINDOW);
        let base = base.or_else(|| earlier.first().filter(|point| age(point) >= LEAST_WINDOW));
        let (began, before) = match base {
            Some(base) => (base.at, base.cpu_nanos),
            None => {
                let young = |at: &Timestamp| (LEAST_WINDOW..YOUNG).contains(&between(*at, last.at));
                (started.filter(young)?, 0)
            }
        };
        let window = between(began, last.at);
        let nanos = u128::from(last.cpu_nanos.checked_sub(before)?);
        let rate = (nanos * 1_000_000_000).checked_div(window.as_nanos())?;
        Some(Used {
            at: last.at,
            window,
            cpu_nanos: i64::try_from(rate).ok()?,
            memory: i64::try_from(last.memory).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn summary(at: i64, started: i64, cpu_millis: u64) -> Summary {
        let cpu = json!({"time": time(at), "usageCoreNanoSeconds": cpu_millis * 1_000_000});
        let memory = json!({"time": time(at), "workingSetBytes": 1024});
        serde_json::from_value(json!({
            "node": {"nodeName": "n", "cpu": cpu, "memory": memory},
            "pods": [{
                "podRef": {"name": "web", "namespace": "a", "uid": "u"},
                "containers": [{"name": "c", "startTime": time(started), "cpu": cpu, "memory": memory}],
            }],
        }))
        .unwrap()
    }

    /// Seconds of the window and thousandths of a CPU.
    fn web(samples: &Samples) -> Option<(u64, i64)> {
        let used = samples.pod("n", &ObjectKey::new("a", "web"))?;
        assert_eq!((used[0].0, used[0].1.memory), ("c", 1024));
        Some((used[0].1.window.as_secs(), used[0].1.cpu_nanos / 1_000_000))
    }

    #[test]
    fn a_rate_is_that_of_the_shortest_window_that_is_long_enough() {
        let mut samples = Samples::default();
        samples.add("n", &summary(1000, 0, 0));
        assert_eq!(web(&samples), None, "one sample of something old says nothing");
        samples.add("n", &summary(1015, 0, 3_000));
        assert_eq!(web(&samples), Some((15, 200)));
        samples.add("n", &summary(1017, 0, 5_000));
        assert_eq!(web(&samples), Some((17, 294)), "two seconds are too short");
        samples.add("n", &summary(1027, 0, 10_000));
        assert_eq!(web(&samples), Some((10, 500)));
        assert_eq!(samples.node("n").map(|used| used.cpu_nanos), Some(500_000_000));
    }

    #[test]
    fn a_young_container_is_measured_from_its_start() {
        let mut samples = Samples::default();
        samples.add("n", &summary(1000, 996, 2_000));
        assert_eq!(web(&samples), Some((4, 500)));
        assert_eq!(samples.node("n"), None, "a machine has no start to measure from");
    }

    #[test]
    fn a_container_that_was_started_anew_is_another() {
        let mut samples = Samples::default();
        samples.add("n", &summary(1000, 0, 50_000));
        samples.add("n", &summary(1020, 1010, 1_000));
        assert_eq!(web(&samples), Some((10, 100)));
    }

    #[test]
    fn many_samples_in_a_row_keep_the_window() {
        let mut samples = Samples::default();
        for second in 0..100 {
            samples.add("n", &summary(1000 + 2 * second, 0, 2_000 * second as u64));
        }
        assert_eq!(web(&samples), Some((10, 1000)));
        assert_eq!(samples.nodes["n"].points.0.len(), POINTS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_used_is_not_known_for_ever() {
        let mut samples = Samples::default();
        samples.add("n", &summary(1000, 0, 0));
        samples.add("n", &summary(1015, 0, 3_000));
        tokio::time::advance(STALE).await;
        assert!(samples.node("n").is_some() && web(&samples).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((samples.node("n"), web(&samples)), (None, None));
        samples.add("n", &summary(1140, 0, 4_000));
        assert!(samples.node("n").is_some(), "it answers again");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut samples = Samples::default();
        samples.add("n", &summary(1000, 996, 2_000));
        let nothing = json!({"node": {"nodeName": "n"}, "pods": []});
        samples.add("n", &serde_json::from_value(nothing).unwrap());
        assert_eq!(web(&samples), None);
        samples.retain(|_| false);
        assert!(samples.nodes.is_empty());
    }
}
