//! Which slices a Service needs, written with as few changes as possible.
//!
//! Endpoints stay in the slice they are in; those that are new fill up slices
//! that are written anyway, then others, then new ones. A Pod may resolve a
//! named target port differently from its neighbours, so endpoints are kept
//! apart by their ports.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;

use crate::controllers::{owner, pods};

/// Endpoints in one slice, as kube-controller-manager's `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;
/// Names the Service of a slice.
pub const SERVICE: &str = "kubernetes.io/service-name";
/// Names the controller of a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURS: &str = "endpointslice-controller.k8s.io";
/// Marks the slices of a headless Service.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What one pass does.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Slices to create.
    pub create: Vec<EndpointSlice>,
    /// Slices as they shall be.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Endpoints by what identifies them.
type Endpoints = BTreeMap<String, Endpoint>;

/// Whether this controller made a slice.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == OURS)
}

/// Plans the slices of a Service with a selector.
pub fn plan(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Plan {
    let mut wanted: BTreeMap<String, (Vec<EndpointPort>, Endpoints)> = BTreeMap::new();
    for pod in pods {
        let Some(endpoint) = endpoint(service, pod) else { continue };
        let ports = ports(service, pod);
        let (_, endpoints) =
            wanted.entry(ports_key(&ports)).or_insert_with(|| (ports, Endpoints::new()));
        endpoints.insert(identity(&endpoint), endpoint);
    }
    if wanted.is_empty() {
        // An empty slice says that the Service is known and leads nowhere.
        wanted.insert(ports_key(&[]), (Vec::new(), Endpoints::new()));
    }
    let mut plan = Plan::default();
    let mut there: BTreeMap<String, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()) {
        let key = ports_key(slice.ports.as_deref().unwrap_or_default());
        if wanted.contains_key(&key) && slice.address_type == "IPv4" {
            there.entry(key).or_default().push(slice);
        } else {
            plan.delete.push(Arc::clone(slice));
        }
    }
    for (key, (ports, endpoints)) in wanted {
        let there = there.remove(&key).unwrap_or_default();
        plan_group(service, &ports, endpoints, there, &mut plan);
    }
    plan
}

/// Plans the slices of endpoints that have the same ports.
fn plan_group(
    service: &Service,
    ports: &[EndpointPort],
    mut endpoints: Endpoints,
    mut there: Vec<&Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    there.sort_by_key(|slice| slice.metadata.name.clone());
    let mut drafts: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>, bool)> = there
        .into_iter()
        .map(|slice| {
            let before = slice.endpoints.as_deref().unwrap_or_default();
            let kept = before.iter().filter_map(|e| endpoints.remove(&identity(e)));
            let kept: Vec<_> = kept.collect();
            let changed = kept != before;
            (slice, kept, changed)
        })
        .collect();
    let mut new = endpoints.into_values();
    for wanted_changed in [true, false] {
        for (_, kept, changed) in drafts.iter_mut().filter(|draft| draft.2 == wanted_changed) {
            // A slice that was emptied is filled up only if it is written anyway.
            let room = PER_SLICE.saturating_sub(kept.len());
            let before = kept.len();
            kept.extend(new.by_ref().take(room));
            *changed |= kept.len() > before;
        }
    }
    let mut left = drafts.len();
    let rest: Vec<_> = new.collect();
    for (slice, kept, changed) in drafts {
        if kept.is_empty() && left > 1 {
            left -= 1;
            plan.delete.push(Arc::clone(slice));
            continue;
        }
        let mut updated = EndpointSlice::clone(slice);
        dress(service, &mut updated.metadata);
        if changed || updated.metadata != slice.metadata {
            updated.endpoints = Some(kept);
            plan.update.push(updated);
        }
    }
    if left == 0 && rest.is_empty() {
        plan.create.push(slice(service, ports, Vec::new()));
    }
    for chunk in rest.chunks(PER_SLICE) {
        plan.create.push(slice(service, ports, chunk.to_vec()));
    }
}

fn slice(service: &Service, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut metadata = ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    dress(service, &mut metadata);
    EndpointSlice {
        metadata,
        address_type: "IPv4".into(),
        endpoints: Some(endpoints),
        ports: (!ports.is_empty()).then(|| ports.to_vec()),
    }
}

/// Gives a slice the labels and the owner it should have.
fn dress(service: &Service, metadata: &mut ObjectMeta) {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), OURS.into());
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    labels.remove(HEADLESS);
    if address == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    metadata.labels = Some(labels);
    metadata.owner_references = Some(vec![owner::controller_reference(service)]);
}

/// The endpoint of a Pod, if it has an address and has not ended.
fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    let address = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    if pods::is_terminal(pod) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let service_spec = service.spec.as_ref();
    let early = service_spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let in_domain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(early || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: spec.hostname.clone().filter(|_| in_domain),
        node_name: spec.node_name.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

/// The ports of a Service as a Pod has them; a named one that it lacks is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target_port(port, pod)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// The number that a port of a Service has in a Pod; a named one may be missing there.
pub fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let named = ports.find(|port| {
        port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    named.map(|port| port.container_port)
}

fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    uid.or_else(|| endpoint.addresses.first().cloned()).unwrap_or_default()
}

fn ports_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<_> = ports
        .iter()
        .map(|p| format!("{:?}/{:?}/{:?}/{:?}", p.name, p.port, p.protocol, p.app_protocol))
        .collect();
    keys.sort();
    keys.join(",")
}
