//! What the switch should do, out of Services and EndpointSlices.
//!
//! Pure: the same objects always give the same rules, in whatever order they
//! come. An endpoint that is ready takes requests; one that is terminating but
//! still serves takes them while no other is ready; the rest take none.
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use shim::network::{self, Condition, DnsTable, Protocol, Record, ServiceTable};

/// The `appProtocol` of servers that speak HTTP/2 without TLS (KEP-3726).
const H2C: &str = "kubernetes.io/h2c";

/// Names the Service that a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Everything that the data plane is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where the virtual addresses lead.
    pub services: ServiceTable,
    /// What the names of the cluster stand for.
    pub names: DnsTable,
    /// Ports to open on the host, and the Service port each leads to.
    pub host_ports: BTreeMap<u16, HostPort>,
}

/// A Service port that is open on the host as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Its address on the pod network.
    pub target: SocketAddr,
    /// Where the API has it, such as `spec.ports[0].nodePort`.
    pub field: String,
    /// Of its Service.
    pub namespace: String,
    /// Of its Service.
    pub name: String,
    /// Of its Service.
    pub uid: Option<String>,
}

/// An endpoint of a slice: its address, host name and what it may be used for.
struct Place<'a> {
    ip: IpAddr,
    hostname: Option<&'a str>,
    condition: Condition,
    slice: &'a EndpointSlice,
}

/// The rules that these objects ask for.
pub fn plan(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>], domain: &str) -> Rules {
    let mut places: HashMap<(&str, &str), Vec<Place<'_>>> = HashMap::new();
    for slice in slices {
        if let Some(service) = service_of(slice) {
            places.entry(service).or_default().extend(endpoints(slice));
        }
    }
    let mut rules = Rules::default();
    for service in services {
        let (Some(name), Some(namespace), Some(spec)) =
            (&service.metadata.name, &service.metadata.namespace, &service.spec)
        else {
            continue;
        };
        let places =
            places.get(&(namespace.as_str(), name.as_str())).map_or(&[][..], Vec::as_slice);
        let full = format!("{name}.{namespace}.svc.{domain}");
        // The API server itself, which listens on the host.
        let host_endpoints = namespace == "default" && name == "kubernetes";
        match (cluster_ip(spec), spec.external_name.as_deref()) {
            (Some(ip), _) => {
                for port in spec.ports.iter().flatten() {
                    rules.add_port(spec, ip, port, places, host_endpoints);
                }
                rules.host_ports.extend(host_ports(service, spec, ip));
                rules.names.records.insert(full, Record::Addresses(vec![ip]));
            }
            (None, Some(other)) if spec.type_.as_deref() == Some("ExternalName") => {
                rules.names.records.insert(full, Record::Alias(other.to_string()));
            }
            (None, _) => rules.add_headless(full, places),
        }
    }
    // Informers list in no order; equal rules must be equal.
    rules.services.ports.sort_by_key(|port| (port.address, port.protocol == Protocol::Udp));
    rules
}

impl Rules {
    fn add_port(
        &mut self,
        spec: &ServiceSpec,
        ip: IpAddr,
        port: &ServicePort,
        places: &[Place<'_>],
        host_endpoints: bool,
    ) {
        let Some(protocol) = protocol(port) else { return };
        let Ok(number) = u16::try_from(port.port) else { return };
        let address = SocketAddr::new(ip, number);
        let mut endpoints: Vec<network::Endpoint> = places
            .iter()
            .filter_map(|place| {
                let port = target_port(place.slice, port)?;
                let address = SocketAddr::new(place.ip, port);
                Some(network::Endpoint { address, condition: place.condition })
            })
            .collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        self.services.ports.push(network::ServicePort {
            address,
            protocol,
            session_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
            host_endpoints,
            http2: port.app_protocol.as_deref() == Some(H2C),
            endpoints,
        });
    }

    /// A headless Service has a name for all its endpoints and one for each.
    fn add_headless(&mut self, full: String, places: &[Place<'_>]) {
        let mut all = Vec::new();
        for place in places.iter().filter(|place| place.condition == Condition::Ready) {
            all.push(place.ip);
            let own = match place.hostname {
                Some(hostname) => format!("{hostname}.{full}"),
                None => format!("{}.{full}", place.ip.to_string().replace('.', "-")),
            };
            self.names.records.insert(own, Record::Addresses(vec![place.ip]));
        }
        all.sort();
        all.dedup();
        self.names.records.insert(full, Record::Addresses(all));
    }
}

/// The ports of a Service that the host opens: those for TCP that its user exposed.
fn host_ports(service: &Service, spec: &ServiceSpec, ip: IpAddr) -> Vec<(u16, HostPort)> {
    if !matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer")) {
        return Vec::new();
    }
    let opened = |(index, port): (usize, &ServicePort)| {
        let node_port = u16::try_from(port.node_port?).ok().filter(|port| *port != 0)?;
        (protocol(port)? == Protocol::Tcp).then_some(())?;
        let opened = HostPort {
            target: SocketAddr::new(ip, u16::try_from(port.port).ok()?),
            field: format!("spec.ports[{index}].nodePort"),
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
            uid: service.metadata.uid.clone(),
        };
        Some((node_port, opened))
    };
    spec.ports.iter().flatten().enumerate().filter_map(opened).collect()
}

/// What a port carries; nothing carries SCTP here.
fn protocol(port: &ServicePort) -> Option<Protocol> {
    match port.protocol.as_deref() {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

/// The IPv4 address of a Service that has one.
pub fn cluster_ip(spec: &ServiceSpec) -> Option<IpAddr> {
    spec.cluster_ip
        .iter()
        .chain(spec.cluster_ips.iter().flatten())
        .find_map(|ip| ip.parse::<Ipv4Addr>().ok())
        .map(IpAddr::V4)
}

fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let namespace = slice.metadata.namespace.as_deref()?;
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    (slice.address_type == "IPv4").then_some((namespace, name.as_str()))
}

fn endpoints(slice: &EndpointSlice) -> impl Iterator<Item = Place<'_>> {
    slice.endpoints.iter().flatten().filter_map(move |endpoint| {
        Some(Place {
            // All addresses of one endpoint are the same Pod; the first is the one to use.
            ip: endpoint.addresses.first()?.parse().ok()?,
            hostname: endpoint.hostname.as_deref(),
            condition: condition(endpoint)?,
            slice,
        })
    })
}

/// What an endpoint may be used for; a condition that is not told counts as in
/// the API: ready, serving as far as it is ready, not terminating.
fn condition(endpoint: &Endpoint) -> Option<Condition> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    if ready {
        Some(Condition::Ready)
    } else if serving && terminating {
        Some(Condition::Terminating)
    } else {
        None
    }
}

/// Where this Service port leads in the Pods of a slice: the port of the same name.
fn target_port(slice: &EndpointSlice, wanted: &ServicePort) -> Option<u16> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    slice
        .ports
        .iter()
        .flatten()
        .find(|port| {
            name(&port.name) == name(&wanted.name)
                && protocol(&port.protocol) == protocol(&wanted.protocol)
        })
        .and_then(|port| u16::try_from(port.port?).ok())
}

#[cfg(test)]
mod tests;
