//! Extended resources: amounts that an administrator writes into a Node's capacity.
//!
//! As in the kubelet they are made allocatable as they are, kept over restarts,
//! and counted when a Pod comes. What the node has none of is left to others.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, NodeStatus, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::client::Quantity;

/// Amounts by resource.
pub(super) type Extended = BTreeMap<String, i64>;

type Quantities = BTreeMap<String, resource::Quantity>;

/// Whether a resource is none of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| {
        domain != "kubernetes.io"
            && !domain.ends_with(".kubernetes.io")
            && !domain.starts_with("requests.")
    })
}

fn only(list: Option<&Quantities>) -> impl Iterator<Item = (&String, &resource::Quantity)> {
    list.into_iter().flatten().filter(|(name, _)| is_extended(name))
}

/// What a Node's capacity has of them.
pub(super) fn capacity(known: Option<&NodeStatus>) -> Quantities {
    let list = known.and_then(|known| known.capacity.as_ref());
    only(list).map(|(name, amount)| (name.clone(), amount.clone())).collect()
}

/// Those that are allocatable and in no capacity any more.
pub(super) fn withdrawn(known: Option<&NodeStatus>) -> Vec<String> {
    let capacity = capacity(known);
    let allocatable = known.and_then(|known| known.allocatable.as_ref());
    let names = only(allocatable).map(|(name, _)| name);
    names.filter(|name| !capacity.contains_key(*name)).cloned().collect()
}

/// Whether what is allocatable is not what the capacity has.
pub(super) fn is_outdated(known: &NodeStatus) -> bool {
    amounts(known.capacity.as_ref()) != amounts(known.allocatable.as_ref())
}

/// The amounts of a list of resources; one that does not parse is none.
pub(super) fn amounts(list: Option<&Quantities>) -> Extended {
    let parsed = |(name, amount): (&String, &resource::Quantity)| {
        Some((name.clone(), Quantity::try_from(amount).ok()?.value()))
    };
    only(list).filter_map(parsed).collect()
}

/// What a Pod asks for of them: the sum of its containers, or its largest init container.
pub(super) fn requested(spec: &PodSpec) -> Extended {
    let asked = |container: &Container| {
        amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    };
    let mut all = Extended::new();
    for container in &spec.containers {
        add(&mut all, asked(container));
    }
    for init in spec.init_containers.iter().flatten() {
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut all, asked(init));
            continue;
        }
        for (name, amount) in asked(init) {
            let known = all.entry(name).or_default();
            *known = amount.max(*known);
        }
    }
    all
}

fn add(all: &mut Extended, more: Extended) {
    for (name, amount) in more {
        let known = all.entry(name).or_default();
        *known = known.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_resources_of_others_are_extended() {
        assert!(is_extended("example.com/dongle"));
        for own in ["cpu", "kubernetes.io/x", "a.kubernetes.io/x", "requests.example.com/x"] {
            assert!(!is_extended(own), "{own}");
        }
    }

    #[test]
    fn what_left_the_capacity_is_withdrawn() {
        let status: NodeStatus = serde_json::from_value(json!({
            "capacity": {"cpu": "1", "a.b/new": "2"}, "allocatable": {"cpu": "1", "a.b/old": "1"},
        }))
        .unwrap();
        assert!(is_outdated(&status));
        assert_eq!(withdrawn(Some(&status)), ["a.b/old"]);
        assert_eq!(capacity(Some(&status)).into_keys().collect::<Vec<_>>(), ["a.b/new"]);
    }

    #[test]
    fn a_pod_asks_for_the_sum_of_its_containers_or_its_largest_init_container() {
        let asks =
            |amount: &str| json!({"name": "c", "resources": {"requests": {"a.b/c": amount}}});
        let spec = |init: &str| -> PodSpec {
            let spec =
                json!({"initContainers": [asks(init)], "containers": [asks("1"), asks("2")]});
            serde_json::from_value(spec).unwrap()
        };
        assert_eq!(requested(&spec("1"))["a.b/c"], 3);
        assert_eq!(requested(&spec("5"))["a.b/c"], 5);
    }
}
