//! What the `Endpoints` of a Service should say.
//!
//! Addresses that have the same ports stand in one subset. More than a
//! thousand are cut off, those that are ready last, as the object would
//! otherwise grow with the cluster; `EndpointSlice`s have them all.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use kube::core::ObjectMeta;

use crate::controllers::endpointslice::target_port;
use crate::controllers::pods;

/// As many addresses as the object may have; upstream's.
const CAPACITY: usize = 1000;
/// Says that addresses were cut off.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Marks the object of a headless Service.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the controller of the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OURS: &str = "endpoint-controller";

/// Ready and other addresses by the ports they have; the key makes the order.
type Subsets = BTreeMap<String, EndpointSubset>;

/// Whether this controller made an object.
pub fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == OURS)
}

/// The object a Service should have; `before` is the one it has.
pub fn wanted(service: &Service, pods: &[Arc<Pod>], before: Option<&Endpoints>) -> Endpoints {
    let mut subsets = Subsets::new();
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(|pod| (ip(pod), pod.metadata.uid.clone()));
    for pod in pods {
        add(service, pod, &mut subsets);
    }
    let mut subsets: Vec<_> = subsets.into_values().collect();
    let truncated = truncate(&mut subsets);
    let mut metadata = before.map_or_else(
        || ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |before| before.metadata.clone(),
    );
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), OURS.into());
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    if annotations.is_empty() {
        metadata.annotations = None;
    }
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

/// Files a Pod's address under its ports.
fn add(service: &Service, pod: &Pod, subsets: &mut Subsets) {
    let Some(spec) = &service.spec else { return };
    let early = spec.publish_not_ready_addresses == Some(true);
    let Some(address) = address(service, pod, early) else { return };
    let service_ports = spec.ports.as_deref().unwrap_or_default();
    let ports = service_ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: target_port(port, pod)?,
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    let ports: Vec<_> = ports.collect();
    // A headless Service may do without ports, but one that has some leads nowhere without.
    if ports.is_empty() && !service_ports.is_empty() {
        return;
    }
    let key = format!("{ports:?}");
    let subset = subsets.entry(key).or_insert_with(|| EndpointSubset {
        ports: (!ports.is_empty()).then_some(ports),
        ..EndpointSubset::default()
    });
    let list = if early || pods::is_ready(pod) {
        &mut subset.addresses
    } else {
        &mut subset.not_ready_addresses
    };
    list.get_or_insert_default().push(address);
}

fn ip(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref()
}

fn address(service: &Service, pod: &Pod, early: bool) -> Option<EndpointAddress> {
    let ip = ip(pod).filter(|ip| !ip.is_empty())?.to_owned();
    if pods::is_terminal(pod) || (!early && pod.metadata.deletion_timestamp.is_some()) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let in_domain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    Some(EndpointAddress {
        ip,
        hostname: spec.hostname.clone().filter(|_| in_domain),
        node_name: spec.node_name.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Cuts off what is too much, from each subset in proportion; answers whether that was needed.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let of = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| of(&subset.addresses)).sum();
    let other: usize = subsets.iter().map(|subset| of(&subset.not_ready_addresses)).sum();
    if ready + other <= CAPACITY {
        return false;
    }
    let ready_is_too_much = ready > CAPACITY;
    let (room, total) =
        if ready_is_too_much { (CAPACITY, ready) } else { (CAPACITY - ready, other) };
    let mut left = room;
    for subset in subsets {
        if ready_is_too_much {
            subset.not_ready_addresses = None;
        }
        let list =
            if ready_is_too_much { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let Some(addresses) = list else { continue };
        let share = (addresses.len() * room).div_ceil(total).min(left);
        addresses.truncate(share);
        left -= share;
        if share == 0 {
            *list = None;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        let mut all = json!({"selector": {"app": "web"}, "clusterIP": "10.43.0.7", "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"},
            {"name": "more", "port": 81, "protocol": "TCP"},
        ]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let service = json!({"metadata": {"name": "web", "namespace": "default", "labels": {"team": "blue"}}, "spec": all});
        serde_json::from_value(service).unwrap()
    }

    fn pod(number: usize, port: i32, ready: bool) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": format!("web-{number}"), "namespace": "default", "uid": format!("uid-{number:05}")},
            "spec": {"nodeName": "n1", "containers": [{"name": "web", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": format!("10.64.{}.{}", number / 250, number % 250 + 1),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn lengths(endpoints: &Endpoints) -> Vec<(usize, usize)> {
        let of = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        let subsets = endpoints.subsets.iter().flatten();
        subsets.map(|s| (of(&s.addresses), of(&s.not_ready_addresses))).collect()
    }

    #[test]
    fn addresses_are_sorted_as_texts() {
        let pods = [pod(4, 8080, true), pod(9, 8080, true), pod(1, 8080, true)];
        let wanted = wanted(&service(json!({})), &pods, None);
        let addresses = wanted.subsets.unwrap().remove(0).addresses.unwrap();
        let ips: Vec<_> = addresses.into_iter().map(|address| address.ip).collect();
        assert_eq!(ips, ["10.64.0.10", "10.64.0.2", "10.64.0.5"]);
    }

    #[test]
    fn addresses_of_the_same_ports_share_a_subset() {
        let pods = [pod(0, 8080, true), pod(1, 8080, false), pod(2, 9090, true)];
        let wanted = wanted(&service(json!({})), &pods, None);
        assert_eq!(lengths(&wanted), [(1, 1), (1, 0)]);
        let ports = |subset: usize| {
            let ports = wanted.subsets.as_ref().unwrap()[subset].ports.as_ref().unwrap();
            ports.iter().map(|port| port.port).collect::<Vec<_>>()
        };
        assert_eq!((ports(0), ports(1)), (vec![8080, 81], vec![9090, 81]));
        let labels = wanted.metadata.labels.unwrap();
        assert_eq!((&*labels["team"], &*labels[MANAGED_BY]), ("blue", OURS));
        assert_eq!(wanted.metadata.annotations, None);
    }

    #[test]
    fn who_leaves_is_no_endpoint_unless_asked_for_early() {
        let mut leaving = Pod::clone(&pod(0, 8080, true));
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let pods = [Arc::new(leaving), pod(1, 8080, false)];
        assert_eq!(lengths(&wanted(&service(json!({})), &pods, None)), [(0, 1)]);
        let early = service(json!({"publishNotReadyAddresses": true}));
        assert_eq!(lengths(&wanted(&early, &pods, None)), [(2, 0)]);
    }

    #[test]
    fn a_headless_service_may_do_without_ports() {
        let headless = service(json!({"clusterIP": "None", "ports": []}));
        let wanted = wanted(&headless, &[pod(0, 8080, true)], None);
        assert_eq!(lengths(&wanted), [(1, 0)]);
        assert_eq!(wanted.subsets.as_ref().unwrap()[0].ports, None);
        assert!(wanted.metadata.labels.unwrap().contains_key(HEADLESS));
    }

    #[test]
    fn a_thousand_addresses_are_told_the_ready_ones_first() {
        let pods = |ready: usize, other: usize| -> Vec<_> {
            (0..ready + other)
                .map(|n| pod(n, if n % 3 == 0 { 80 } else { 90 }, n < ready))
                .collect()
        };
        let total = |endpoints: &Endpoints| {
            lengths(endpoints).iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        };
        let service = service(json!({}));
        let full = wanted(&service, &pods(600, 400), None);
        assert_eq!((total(&full), full.metadata.annotations.clone()), ((600, 400), None));
        let over = wanted(&service, &pods(600, 600), Some(&full));
        assert_eq!(total(&over), (600, 400));
        assert_eq!(over.metadata.annotations.clone().unwrap()[OVER_CAPACITY], "truncated");
        assert_eq!(total(&wanted(&service, &pods(1200, 300), None)), (1000, 0));
        let again = wanted(&service, &pods(10, 0), Some(&over));
        assert_eq!((total(&again), again.metadata.annotations), ((10, 0), None));
    }
}
