//! How fast CPU time is used: between two looks.
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use shim::cri::Id;

use super::Usage;

/// Looks closer together than this say nothing: quotas are given out every 100 ms.
const LEAST_WINDOW: Duration = Duration::from_secs(1);

/// The last look at everything that runs; as much as runs.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Timestamp,
    node: Option<Look>,
    containers: HashMap<Id, Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    used: Duration,
    /// Billionths of a CPU, between the look before and this one.
    nano_cores: Option<u64>,
}

impl Rates {
    /// Takes in what is used now.
    pub(super) fn look(&mut self, usage: &Usage) {
        let passed = since(self.at, usage.time);
        if self.node.is_some() && passed < LEAST_WINDOW {
            return;
        }
        let node = self.node.and_then(|before| rate(before.used, usage.cpu, passed));
        self.node = Some(Look { used: usage.cpu, nano_cores: node });
        let containers = usage.pods.iter().flat_map(|pod| &pod.containers);
        self.containers = containers
            .map(|(attributes, stats)| {
                let nano_cores = match self.containers.get(&attributes.id) {
                    Some(before) => rate(before.used, stats.cpu_usage, passed),
                    None => Timestamp::try_from(attributes.started_at).ok().and_then(|started| {
                        rate(Duration::ZERO, stats.cpu_usage, since(started, usage.time))
                    }),
                };
                (attributes.id.clone(), Look { used: stats.cpu_usage, nano_cores })
            })
            .collect();
        self.at = usage.time;
    }

    /// Billionths of a CPU that the machine used at the last look.
    pub(super) fn node(&self) -> Option<u64> {
        self.node.and_then(|look| look.nano_cores)
    }

    /// Billionths of a CPU that a container used at the last look.
    pub(super) fn container(&self, id: &Id) -> Option<u64> {
        self.containers.get(id).and_then(|look| look.nano_cores)
    }
}

fn since(before: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(before)).unwrap_or(Duration::ZERO)
}

fn rate(before: Duration, now: Duration, passed: Duration) -> Option<u64> {
    let nanos = now.checked_sub(before)?.as_nanos();
    let per_second = nanos.checked_mul(1_000_000_000)?.checked_div(passed.as_nanos())?;
    u64::try_from(per_second).ok()
}
