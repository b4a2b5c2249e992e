//! Virtual addresses of Services: which endpoint a connection or request goes to.
//!
//! The proxy decides the rules out of API objects; the switch follows them. A
//! new table replaces the old one in one step, and whoever is using the old one
//! finishes with it.
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a Service port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections, and the requests of functions.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Every Service port of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// In any order; of two with one address and protocol the last one counts.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The ClusterIP and the port.
    pub address: SocketAddr,
    /// What it carries.
    pub protocol: Protocol,
    /// Whether a client's address always leads to the same endpoint while the
    /// endpoints stay the same (`sessionAffinity: ClientIP`).
    pub session_affinity: bool,
    /// Whether the endpoints are the cluster's own servers, which may listen on
    /// the host's addresses, where no Pod gets otherwise.
    pub host_endpoints: bool,
    /// Whether guests' sockets behind it speak HTTP/2 from their first byte (h2c).
    pub http2: bool,
    /// The Pods behind it.
    pub endpoints: Vec<Endpoint>,
}

/// A Pod's port behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether new requests should go there.
    pub condition: Condition,
}

/// Whether an endpoint takes requests. One that does neither is left out of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is ready.
    Ready,
    /// It is terminating but still serves; used while none is ready.
    Terminating,
}

/// A [`ServiceTable`] as the switch looks things up in it.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_address: HashMap<(Protocol, SocketAddr), Route>,
    /// The addresses of all that are ready behind any Service.
    ready: HashSet<IpAddr>,
}

/// Where one Service port leads.
#[derive(Debug)]
pub(super) struct Route {
    ready: Vec<SocketAddr>,
    terminating: Vec<SocketAddr>,
    session_affinity: bool,
    pub(super) manner: Manner,
    next: AtomicUsize,
}

/// How the endpoints of a Service port are reached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Whether they may be the host's own addresses.
    pub(super) host: bool,
    /// Whether sockets are spoken to in HTTP/2.
    pub(super) http2: bool,
}

impl Routes {
    pub(super) fn new(table: ServiceTable) -> Self {
        let by_address: HashMap<_, _> = table
            .ports
            .into_iter()
            .map(|port| ((port.protocol, port.address), Route::new(port)))
            .collect();
        let ready =
            by_address.values().flat_map(|route| &route.ready).map(SocketAddr::ip).collect();
        Self { by_address, ready }
    }

    /// Whether any Service sends what is new to this address.
    pub(super) fn is_ready(&self, ip: IpAddr) -> bool {
        self.ready.contains(&ip)
    }

    pub(super) fn get(&self, protocol: Protocol, address: SocketAddr) -> Option<&Route> {
        self.by_address.get(&(protocol, address))
    }
}

impl Route {
    fn new(port: ServicePort) -> Self {
        let of = |condition| {
            port.endpoints
                .iter()
                .filter(|endpoint| endpoint.condition == condition)
                .map(|endpoint| endpoint.address)
                .collect::<Vec<_>>()
        };
        Self {
            ready: of(Condition::Ready),
            terminating: of(Condition::Terminating),
            session_affinity: port.session_affinity,
            manner: Manner { host: port.host_endpoints, http2: port.http2 },
            // Else every new table would send its first request to the same endpoint.
            next: AtomicUsize::new(rand::random::<u16>().into()),
        }
    }

    /// The endpoints in the order in which this client should try them.
    pub(super) fn candidates(&self, client: IpAddr) -> impl Iterator<Item = SocketAddr> + '_ {
        let turn = if self.session_affinity {
            let mut hasher = DefaultHasher::new();
            client.hash(&mut hasher);
            hasher.finish() as usize
        } else {
            self.next.fetch_add(1, Ordering::Relaxed)
        };
        rotated(&self.ready, turn).chain(rotated(&self.terminating, turn))
    }
}

fn rotated(endpoints: &[SocketAddr], turn: usize) -> impl Iterator<Item = SocketAddr> + '_ {
    let (before, from) = endpoints.split_at(turn.checked_rem(endpoints.len()).unwrap_or(0));
    from.iter().chain(before).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "10.43.0.9:80";

    fn routes(endpoints: &[(&str, Condition)], session_affinity: bool) -> Routes {
        Routes::new(ServiceTable {
            ports: vec![ServicePort {
                address: SERVICE.parse().unwrap(),
                protocol: Protocol::Tcp,
                session_affinity,
                host_endpoints: false,
                http2: false,
                endpoints: endpoints
                    .iter()
                    .map(|(address, condition)| Endpoint {
                        address: address.parse().unwrap(),
                        condition: *condition,
                    })
                    .collect(),
            }],
        })
    }

    fn order(routes: &Routes, client: &str) -> Vec<String> {
        let route = routes.get(Protocol::Tcp, SERVICE.parse().unwrap()).unwrap();
        route.candidates(client.parse().unwrap()).map(|a| a.to_string()).collect()
    }

    #[test]
    fn requests_go_round_and_a_second_choice_is_always_another_endpoint() {
        let routes = routes(
            &[("10.64.0.2:80", Condition::Ready), ("10.64.0.3:80", Condition::Ready)],
            false,
        );
        let (first, second) = (order(&routes, "10.64.0.9"), order(&routes, "10.64.0.9"));
        assert_ne!(first[0], second[0]);
        assert_ne!(first[0], first[1]);
        assert_eq!(first.len(), 2);
    }

    #[test]
    fn terminating_endpoints_come_after_ready_ones() {
        let routes = routes(
            &[("10.64.0.2:80", Condition::Terminating), ("10.64.0.3:80", Condition::Ready)],
            false,
        );
        for _ in 0..4 {
            assert_eq!(order(&routes, "10.64.0.9"), ["10.64.0.3:80", "10.64.0.2:80"]);
        }
    }

    #[test]
    fn with_session_affinity_a_client_stays_with_its_endpoint() {
        let endpoints: Vec<String> = (2..30).map(|host| format!("10.64.0.{host}:80")).collect();
        let endpoints: Vec<(&str, Condition)> =
            endpoints.iter().map(|a| (a.as_str(), Condition::Ready)).collect();
        let routes = routes(&endpoints, true);
        let mut first = Vec::new();
        for host in 1..20 {
            let client = format!("10.64.9.{host}");
            assert_eq!(order(&routes, &client), order(&routes, &client));
            first.push(order(&routes, &client).remove(0));
        }
        first.sort();
        first.dedup();
        assert!(first.len() > 1, "all clients share {first:?}");
    }

    #[test]
    fn a_service_without_endpoints_has_a_route_that_leads_nowhere() {
        let routes = routes(&[], false);
        assert!(order(&routes, "10.64.0.9").is_empty());
        assert!(routes.get(Protocol::Udp, SERVICE.parse().unwrap()).is_none());
    }
}
