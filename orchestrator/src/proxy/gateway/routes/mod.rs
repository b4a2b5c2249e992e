//! Which Service a request goes to, out of Ingresses and Services.
//!
//! A host that an Ingress names wins over a wildcard, a wildcard over
//! `NAME.localhost` and `NAME.NAMESPACE.localhost`, and those over rules without
//! a host; what nobody claims goes to the default backend, of an Ingress that names
//! the host before those of others. Within a host an
//! exact path wins over a prefix and a longer prefix over a shorter one; of two
//! that are equal the older Ingress has it.
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use crate::proxy::rules::cluster_ip;

mod classes;

pub use classes::Classes;

/// Names below it are this machine's, to every resolver (RFC 6761).
const LOCALHOST: &str = "localhost";
/// The namespace of `NAME.localhost`.
const DEFAULT_NAMESPACE: &str = "default";

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this Service port.
    Service(SocketAddr),
    /// Nowhere yet: the rule's backend does not exist or cannot be reached, in words.
    Missing(Arc<str>),
}

/// Every route of the gateway.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routes {
    hosts: HashMap<String, Host>,
    /// By what follows the asterisk's label: `example.com` for `*.example.com`.
    wildcards: HashMap<String, Host>,
    any_host: Vec<Route>,
    default: Option<Target>,
    /// By `NAME.NAMESPACE`, and by `NAME` alone in the default namespace.
    services: HashMap<String, Target>,
}

/// What is said of one host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Host {
    routes: Vec<Route>,
    /// Of the oldest Ingress that names the host and has one.
    default: Option<Target>,
}

#[derive(Debug, PartialEq, Eq)]
struct Route {
    exact: bool,
    /// Without the slash at its end, unless exact.
    path: String,
    target: Target,
}

/// Services by namespace and name.
type Services<'a> = HashMap<(&'a str, &'a str), &'a ServiceSpec>;

impl Routes {
    /// The routes that these objects ask for.
    pub fn new(ingresses: &[Arc<Ingress>], classes: &Classes, services: &[Arc<Service>]) -> Self {
        let by_name: Services<'_> = services
            .iter()
            .filter_map(|service| {
                let namespace = service.metadata.namespace.as_deref()?;
                let name = service.metadata.name.as_deref()?;
                Some(((namespace, name), service.spec.as_ref()?))
            })
            .collect();
        let mut routes = Self { services: local_names(&by_name), ..Self::default() };
        let mut ours: Vec<&Arc<Ingress>> = ingresses.iter().filter(|i| classes.take(i)).collect();
        ours.sort_by_key(|ingress| {
            let metadata = &ingress.metadata;
            let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, metadata.namespace.clone(), metadata.name.clone())
        });
        for ingress in ours {
            routes.add(ingress, &by_name);
        }
        let hosts = routes.hosts.values_mut().chain(routes.wildcards.values_mut());
        for list in hosts.map(|host| &mut host.routes).chain([&mut routes.any_host]) {
            // Stable, so that the older Ingress stays first.
            list.sort_by_key(|route| (!route.exact, Reverse(route.path.len())));
        }
        routes
    }

    /// Where a request to this host and path goes. The host is in lower case,
    /// without a port.
    pub fn find(&self, host: &str, path: &str) -> Option<&Target> {
        let wildcard = || host.split_once('.').and_then(|(_, rest)| self.wildcards.get(rest));
        if let Some(named) = self.hosts.get(host).or_else(wildcard) {
            return named.find(path).or(self.default.as_ref());
        }
        self.local(host).or_else(|| first(&self.any_host, path)).or(self.default.as_ref())
    }

    /// The name that a certificate for this host is made for, if anything is meant for it by
    /// its name: one for all hosts of a wildcard, as a stranger can name any number of them.
    pub fn certified_name(&self, host: &str) -> Option<String> {
        if self.hosts.contains_key(host) || self.local(host).is_some() {
            return Some(host.to_owned());
        }
        let (_, rest) = host.split_once('.')?;
        self.wildcards.contains_key(rest).then(|| format!("*.{rest}"))
    }

    fn local(&self, host: &str) -> Option<&Target> {
        self.services.get(host.strip_suffix(LOCALHOST)?.strip_suffix('.')?)
    }

    fn add(&mut self, ingress: &Ingress, services: &Services<'_>) {
        let Some(spec) = &ingress.spec else { return };
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        let default =
            spec.default_backend.as_ref().map(|backend| target(backend, namespace, services));
        self.default = self.default.take().or_else(|| default.clone());
        for rule in spec.rules.iter().flatten() {
            let named = match rule.host.as_deref().map(str::to_ascii_lowercase) {
                None => None,
                Some(host) if host.is_empty() => None,
                Some(host) => Some(match host.strip_prefix("*.") {
                    Some(rest) => self.wildcards.entry(rest.to_string()).or_default(),
                    None => self.hosts.entry(host).or_default(),
                }),
            };
            let list = match named {
                Some(host) => {
                    host.default = host.default.take().or_else(|| default.clone());
                    &mut host.routes
                }
                None => &mut self.any_host,
            };
            match &rule.http {
                Some(http) => {
                    let paths = http.paths.iter();
                    list.extend(paths.map(|path| route(path, namespace, services)));
                }
                // A host alone: everything goes to the Ingress' default backend.
                None => list.extend(default.clone().map(|target| Route {
                    exact: false,
                    path: String::new(),
                    target,
                })),
            }
        }
    }
}

/// Each Service's first HTTP port, as `NAME.NAMESPACE`.
fn local_names(services: &Services<'_>) -> HashMap<String, Target> {
    let mut named = HashMap::new();
    for ((namespace, name), spec) in services {
        let Some(port) = first_http_port(spec) else { continue };
        let target = service_target(namespace, name, spec, port);
        if *namespace == DEFAULT_NAMESPACE {
            named.insert((*name).to_owned(), target.clone());
        }
        named.insert(format!("{name}.{namespace}"), target);
    }
    named
}

fn first_http_port(spec: &ServiceSpec) -> Option<&ServicePort> {
    let tcp = || {
        let ports = spec.ports.iter().flatten();
        ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
    };
    let is_http = |port: &&ServicePort| {
        let named = port.name.as_deref().unwrap_or_default();
        port.app_protocol.as_deref() == Some("http") || named.starts_with("http")
    };
    tcp().find(is_http).or_else(|| tcp().next())
}

fn route(path: &HTTPIngressPath, namespace: &str, services: &Services<'_>) -> Route {
    let exact = path.path_type == "Exact";
    let text = path.path.as_deref().unwrap_or("/");
    let text = if exact { text } else { text.trim_end_matches('/') };
    Route { exact, path: text.to_string(), target: target(&path.backend, namespace, services) }
}

fn first<'a>(routes: &'a [Route], path: &str) -> Option<&'a Target> {
    let matching = routes.iter().find(|route| route.matches(path));
    matching.map(|route| &route.target)
}

impl Host {
    /// Where a path goes; what no rule takes is its Ingress' own default backend's.
    fn find(&self, path: &str) -> Option<&Target> {
        first(&self.routes, path).or(self.default.as_ref())
    }
}

impl Route {
    /// A prefix is of whole elements: `/foo` is one of `/foo/bar`, not of `/foobar`.
    fn matches(&self, path: &str) -> bool {
        if self.exact {
            return path == self.path;
        }
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn target(backend: &IngressBackend, namespace: &str, services: &Services<'_>) -> Target {
    let Some(backend) = &backend.service else {
        return Target::Missing("the backend of this Ingress is not a Service".into());
    };
    let name = backend.name.as_str();
    let Some(spec) = services.get(&(namespace, name)) else {
        return Target::Missing(format!("there is no Service {namespace}/{name}").into());
    };
    let wanted = backend.port.as_ref();
    let mut ports = spec.ports.iter().flatten();
    let port = ports.find(|port| {
        wanted.is_some_and(|wanted| match &wanted.name {
            Some(name) => port.name.as_ref() == Some(name),
            None => wanted.number == Some(port.port),
        })
    });
    match port {
        Some(port) => service_target(namespace, name, spec, port),
        None => Target::Missing(
            format!("Service {namespace}/{name} has no such port as its Ingress names").into(),
        ),
    }
}

fn service_target(namespace: &str, name: &str, spec: &ServiceSpec, port: &ServicePort) -> Target {
    match (cluster_ip(spec), u16::try_from(port.port)) {
        (Some(ip), Ok(port)) => Target::Service(SocketAddr::new(ip, port)),
        _ => Target::Missing(format!("Service {namespace}/{name} has no cluster IP").into()),
    }
}

#[cfg(test)]
mod tests;
