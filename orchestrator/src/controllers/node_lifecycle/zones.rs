//! How fast nodes that are not ready may be emptied. Pure.
//!
//! When much of a zone is silent the trouble is likely the network, so that
//! evicting slows down or stops; when no node at all is ready it is likely
//! ours. The rates are those of kube-controller-manager.
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::health::Readiness;

/// One node so often, in a zone that is well or all gone (`--node-eviction-rate` 0.1).
const NORMAL: Duration = Duration::from_secs(10);
/// One node so often, in a large zone much of which is gone (`--secondary-node-eviction-rate` 0.01).
const SLOW: Duration = Duration::from_secs(100);
/// A zone of more nodes is large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// Such a part of a zone being gone is much (`--unhealthy-zone-threshold`), in hundredths.
const MUCH: usize = 55;
/// Fewer nodes gone are never much.
const FEW: usize = 2;

/// The zones and whose turn it is in each.
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: BTreeMap<String, Zone>,
    evict: HashSet<String>,
}

#[derive(Debug, Default)]
struct Zone {
    waiting: VecDeque<String>,
    last: Option<Instant>,
}

/// What is decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nodes whose Pods may be evicted.
    pub evict: HashSet<String>,
    /// No node is ready: nothing is evicted anywhere.
    pub suspended: bool,
}

/// The zone of a node: its region and zone, as upstream joins them.
pub(super) fn zone_of(node: &Node) -> String {
    let label = |name: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(name)).map(String::as_str).unwrap_or_default()
    };
    let (region, zone) =
        (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"));
    format!("{region}:\u{0}:{zone}")
}

impl Zones {
    /// Decides, from every node with its zone and readiness.
    pub(super) fn plan(&mut self, nodes: &[(String, String, Readiness)], now: Instant) -> Plan {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (_, zone, ready) in nodes {
            let (ready_ones, silent) = counts.entry(zone).or_default();
            match ready {
                Readiness::Ready => *ready_ones += 1,
                Readiness::NotReady => *silent += 1,
                Readiness::New => {}
            }
        }
        let suspended =
            !counts.is_empty() && counts.values().all(|(ready, silent)| *ready == 0 && *silent > 0);
        if suspended {
            self.zones.clear();
            self.evict.clear();
            return Plan { evict: HashSet::new(), suspended };
        }
        let silent: BTreeMap<&str, &str> = nodes
            .iter()
            .filter(|(_, _, ready)| *ready == Readiness::NotReady)
            .map(|(name, zone, _)| (name.as_str(), zone.as_str()))
            .collect();
        self.evict.retain(|name| silent.contains_key(name.as_str()));
        self.zones.retain(|zone, _| counts.contains_key(zone.as_str()));
        for (name, zone) in &silent {
            let zone = self.zones.entry((*zone).to_owned()).or_default();
            if !self.evict.contains(*name) && !zone.waiting.iter().any(|known| known == name) {
                zone.waiting.push_back((*name).to_owned());
            }
        }
        for (name, zone) in &mut self.zones {
            zone.waiting.retain(|node| silent.get(node.as_str()) == Some(&name.as_str()));
            let (ready, gone) = counts.get(name.as_str()).copied().unwrap_or_default();
            let Some(period) = period(ready, gone) else { continue };
            if zone.last.is_none_or(|last| now.duration_since(last) >= period)
                && let Some(next) = zone.waiting.pop_front()
            {
                zone.last = Some(now);
                self.evict.insert(next);
            }
        }
        Plan { evict: self.evict.clone(), suspended }
    }
}

/// How often a node of a zone may be emptied; none for never.
fn period(ready: usize, gone: usize) -> Option<Duration> {
    let much = gone > FEW && gone * 100 >= MUCH * (ready + gone);
    match (ready, much) {
        (0, _) | (_, false) => Some(NORMAL),
        (_, true) if ready + gone > LARGE => Some(SLOW),
        (_, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(zone: &str, ready: usize, gone: usize) -> Vec<(String, String, Readiness)> {
        (0..ready + gone)
            .map(|n| {
                let is = if n < ready { Readiness::Ready } else { Readiness::NotReady };
                (format!("{zone}{n}"), zone.to_owned(), is)
            })
            .collect()
    }

    fn evicted_after(nodes: &[(String, String, Readiness)], seconds: u64) -> usize {
        let (mut zones, start) = (Zones::default(), Instant::now());
        let steps = (0..=seconds / 5).map(|step| start + Duration::from_secs(5 * step));
        steps.map(|now| zones.plan(nodes, now).evict.len()).last().unwrap()
    }

    #[test]
    fn nodes_of_a_zone_go_one_after_another() {
        assert_eq!(evicted_after(&nodes("a", 10, 3), 0), 1);
        assert_eq!(evicted_after(&nodes("a", 10, 3), 10), 2);
        assert_eq!(evicted_after(&nodes("a", 10, 3), 60), 3);
    }

    #[test]
    fn a_zone_much_of_which_is_gone_is_left_alone_or_emptied_slowly() {
        assert_eq!(evicted_after(&nodes("a", 2, 3), 600), 0);
        assert_eq!(evicted_after(&nodes("a", 20, 40), 100), 2);
        let mut two = nodes("a", 0, 3);
        two.extend(nodes("b", 3, 0));
        assert_eq!(evicted_after(&two, 20), 3, "the other zone is well");
    }

    #[test]
    fn nothing_is_evicted_while_no_node_is_ready() {
        let (mut zones, now) = (Zones::default(), Instant::now());
        assert!(zones.plan(&nodes("a", 0, 3), now).suspended);
        let plan = zones.plan(&nodes("a", 2, 1), now);
        assert_eq!((plan.suspended, plan.evict.len()), (false, 1));
    }
}
