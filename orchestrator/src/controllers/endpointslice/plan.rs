//! Which endpoints the Pods of a Service make.
//!
//! A Pod may resolve a named target port differently from its neighbours, so
//! endpoints are kept apart by their ports.
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::arrange::{Frame, Groups, IPV4, MANAGED_BY, Plan, SERVICE};
use crate::client::sidecars;
use crate::controllers::{owner, pods};

const OURS: &str = "endpointslice-controller.k8s.io";
/// Marks the slices of a headless Service.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Whether this controller made a slice.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == OURS)
}

/// Plans the slices of a Service with a selector.
pub fn plan(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Plan {
    let mut wanted = Groups::default();
    for pod in pods {
        if let Some(endpoint) = endpoint(service, pod) {
            wanted.add(IPV4, ports(service, pod), endpoint);
        }
    }
    if wanted.is_empty() {
        // An empty slice says that the Service is known and leads nowhere.
        wanted.add_empty(IPV4);
    }
    frame(service).arrange(wanted, slices)
}

/// The labels and the owner that slices of a Service have.
fn frame(service: &Service) -> Frame {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED_BY.into(), OURS.into());
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    Frame {
        name,
        namespace: service.metadata.namespace.clone(),
        labels,
        annotations: None,
        owner: owner::controller_reference(service),
    }
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
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut ports =
        spec.containers.iter().chain(sidecars(spec)).flat_map(|c| c.ports.iter().flatten());
    let named = ports.find(|port| {
        port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    named.map(|port| port.container_port)
}
