//! Extended resources: amounts that an administrator writes into a Node's capacity.
//!
//! As in the kubelet they are made allocatable as they are, kept over restarts,
//! and counted when a Pod comes. What the node has none of is left to others.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeStatus;
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::client::Quantity;
use crate::client::resource_requests::Amount;

/// Amounts by resource.
pub(super) type Extended = BTreeMap<String, Amount>;

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
        Some((name.clone(), Quantity::try_from(amount).ok()?.value().into()))
    };
    only(list).filter_map(parsed).collect()
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
}
