//! Which Pod goes first when the node's memory runs low.
use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::priority;
use crate::client::Quantity;
use crate::node::resources;

/// A Pod and what its containers hold.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// Name, bytes held and bytes requested of each.
    containers: Vec<(String, u64, u64)>,
}

impl Candidate {
    /// A Pod whose containers hold `used` bytes, by name.
    pub fn of(pod: &Arc<Pod>, used: &[(String, u64)]) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let request = |name: &str| {
            let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
            let resources = all.find(|container| container.name == name)?.resources.as_ref()?;
            let request = resources::read(resources.requests.as_ref(), "requests", "memory");
            // One that does not parse was refused when the container was to start.
            request.ok().flatten().map(|request| request.value().max(0).unsigned_abs())
        };
        let containers = used
            .iter()
            .map(|(name, bytes)| (name.clone(), *bytes, request(name).unwrap_or(0)))
            .collect();
        Some(Self { pod: Arc::clone(pod), containers })
    }

    /// What its status says, in the kubelet's words.
    pub fn message(&self, threshold: u64, available: u64) -> String {
        let mut text = format!(
            "The node was low on resource: memory. Threshold quantity: {}, available: {}. ",
            amount(threshold),
            amount(available)
        );
        for (name, held, requested) in &self.containers {
            if held > requested {
                text.push_str(&format!(
                    "Container {name} was using {}, request is {}, has larger consumption of memory. ",
                    amount(*held),
                    amount(*requested)
                ));
            }
        }
        text
    }

    fn held(&self) -> u64 {
        self.containers.iter().map(|(_, held, _)| held).sum()
    }

    fn requested(&self) -> u64 {
        self.containers.iter().map(|(_, _, requested)| requested).sum()
    }
}

/// The Pod that goes first: one that holds more than it asked for, of the lowest
/// priority, that holds the most beyond its request.
pub(super) fn first(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let (held, requested) = (candidate.held(), candidate.requested());
        let beyond = i128::from(held) - i128::from(requested);
        (held <= requested, priority(&candidate.pod), Reverse(beyond))
    })
}

/// Bytes as Kubernetes writes them: `100Mi`.
fn amount(bytes: u64) -> String {
    Quantity::from_bytes(i64::try_from(bytes >> 10 << 10).unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn candidate(name: &str, priority: i32, request: &str, used: u64) -> Candidate {
        let resources = json!({"requests": {"memory": request}});
        let container = json!({"name": "c", "resources": resources});
        let spec = json!({"priority": priority, "containers": [container]});
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        let pod = Arc::new(serde_json::from_value(pod).unwrap());
        Candidate::of(&pod, &[("c".to_owned(), used)]).unwrap()
    }

    fn order(mut all: Vec<Candidate>) -> Vec<String> {
        let mut names = Vec::new();
        while !all.is_empty() {
            let name = |c: &Candidate| c.pod.metadata.name.clone().unwrap();
            let copy = all
                .iter()
                .map(|c| Candidate { pod: Arc::clone(&c.pod), containers: c.containers.clone() });
            let next = name(&first(copy.collect()).unwrap());
            all.retain(|c| name(c) != next);
            names.push(next);
        }
        names
    }

    #[test]
    fn who_exceeds_its_request_goes_first_then_by_priority_then_by_excess() {
        let all = vec![
            candidate("modest", 0, "100Mi", 50 * MIB),
            candidate("important", 1000, "10Mi", 500 * MIB),
            candidate("greedy", 0, "10Mi", 80 * MIB),
            candidate("best-effort", 0, "0", 90 * MIB),
        ];
        assert_eq!(order(all), ["best-effort", "greedy", "important", "modest"]);
    }

    #[test]
    fn the_message_names_what_was_used_and_asked_for() {
        assert_eq!(
            candidate("p", 0, "10Mi", 80 * MIB).message(100 * MIB, 99 * MIB),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. Container c was using 80Mi, request is 10Mi, has larger consumption of memory. "
        );
    }
}
