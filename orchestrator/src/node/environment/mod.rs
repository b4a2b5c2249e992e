//! The environment of a container: a pure function of its Pod and of what the
//! Pod refers to.
//!
//! Order and precedence are the kubelet's: service variables lowest, then
//! `envFrom`, then `env`, where a value may refer to those before it.
mod expansion;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVarSource, Pod, PodSpec, ResourceFieldSelector, Service,
};

use super::references::Objects;
use super::resources::{self, Amount, ResourceError};
use crate::client::Quantity;

pub(super) use expansion::expand;

/// Why a container has no environment (`CreateContainerConfigError`).
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    /// An object is missing.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key is missing.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A field has no such path.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// A resource cannot be read.
    #[error("unsupported container resource: {0}")]
    Resource(String),
    /// A quantity is none.
    #[error(transparent)]
    Quantity(#[from] ResourceError),
    /// A source that Wasm containers do not have.
    #[error("unsupported source of environment variable {0}")]
    Source(String),
}

/// What an environment is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its node's address.
    pub host_ip: IpAddr,
    /// What it refers to.
    pub objects: &'a Objects,
    /// Services whose variables it may see.
    pub services: &'a [Arc<Service>],
    /// What the node has, for limits that are not set.
    pub allocatable: Amount,
}

/// The environment of one container, in order.
pub(super) fn of(
    context: Context<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let services = service_variables(context);
    let mut all = Variables::default();
    for source in container.env_from.iter().flatten() {
        context.env_from(source, &mut all)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (None, Some(from)) => context.value_from(&variable.name, from, container)?,
            (value, _) => Some(expand(value.as_deref().unwrap_or_default(), |name| {
                all.get(name).or_else(|| services.get(name).map(String::as_str))
            })),
        };
        if let Some(value) = value {
            all.set(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        if all.get(&name).is_none() {
            all.set(name, value);
        }
    }
    Ok(all.list)
}

/// Variables in order of their first mention, with their last value.
#[derive(Default)]
struct Variables {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.list[*place].1.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.places.get(&name) {
            Some(place) => self.list[*place].1 = value,
            None => {
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }
}

impl Context<'_> {
    fn env_from(
        &self,
        source: &EnvFromSource,
        all: &mut Variables,
    ) -> Result<(), EnvironmentError> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        // Names that no process could see are skipped, as the kubelet does.
        let mut set = |key: &str, value: String| {
            if !key.is_empty() && !key.contains(['=', '\0']) {
                all.set(format!("{prefix}{key}"), value);
            }
        };
        if let Some(from) = &source.config_map_ref {
            match self.objects.config_maps.get(&from.name) {
                Some(map) => map.data.iter().flatten().for_each(|(k, v)| set(k, v.clone())),
                None if from.optional == Some(true) => {}
                None => return Err(not_found("configmap", &from.name)),
            }
        }
        if let Some(from) = &source.secret_ref {
            match self.objects.secrets.get(&from.name) {
                Some(secret) => secret
                    .data
                    .iter()
                    .flatten()
                    .for_each(|(k, v)| set(k, String::from_utf8_lossy(&v.0).into_owned())),
                None if from.optional == Some(true) => {}
                None => return Err(not_found("secret", &from.name)),
            }
        }
        Ok(())
    }

    /// The value a source has; `None` where it is optional and missing.
    fn value_from(
        &self,
        variable: &str,
        from: &EnvVarSource,
        container: &Container,
    ) -> Result<Option<String>, EnvironmentError> {
        if let Some(field) = &from.field_ref {
            return field_value(self.pod, &field.field_path, self.ip, self.host_ip).map(Some);
        }
        if let Some(selector) = &from.resource_field_ref {
            let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
            let container = match named {
                Some(name) => find(self.pod, name).ok_or_else(|| {
                    EnvironmentError::Resource(format!("container {name} not found"))
                })?,
                None => container,
            };
            return resource_value(selector, container, self.allocatable).map(Some);
        }
        if let Some(key) = &from.config_map_key_ref {
            let optional = key.optional == Some(true);
            return match self.objects.config_maps.get(&key.name) {
                Some(map) => match map.data.as_ref().and_then(|data| data.get(&key.key)) {
                    Some(value) => Ok(Some(value.clone())),
                    None if optional => Ok(None),
                    None => Err(self.key_not_found(&key.key, "ConfigMap", &key.name)),
                },
                None if optional => Ok(None),
                None => Err(not_found("configmap", &key.name)),
            };
        }
        if let Some(key) = &from.secret_key_ref {
            let optional = key.optional == Some(true);
            return match self.objects.secrets.get(&key.name) {
                Some(secret) => match secret.data.as_ref().and_then(|data| data.get(&key.key)) {
                    Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
                    None if optional => Ok(None),
                    None => Err(self.key_not_found(&key.key, "Secret", &key.name)),
                },
                None if optional => Ok(None),
                None => Err(not_found("secret", &key.name)),
            };
        }
        Err(EnvironmentError::Source(variable.to_owned()))
    }

    fn key_not_found(&self, key: &str, kind: &'static str, name: &str) -> EnvironmentError {
        EnvironmentError::KeyNotFound {
            key: key.to_owned(),
            kind,
            namespace: self.pod.metadata.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }
}

/// The value of a field of a Pod, as the downward API has it.
pub(super) fn field_value(
    pod: &Pod,
    path: &str,
    ip: Option<IpAddr>,
    host_ip: IpAddr,
) -> Result<String, EnvironmentError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = |map: &Option<BTreeMap<String, String>>| {
        let lines: Vec<_> = map.iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
        lines.join("\n")
    };
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(EnvironmentError::Field(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => all(&meta.labels),
        "metadata.annotations" => all(&meta.annotations),
        "spec.nodeName" => spec.map(|s| text(&s.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.map(|s| text(&s.service_account_name)).unwrap_or_default()
        }
        "status.hostIP" | "status.hostIPs" => host_ip.to_string(),
        "status.podIP" | "status.podIPs" => ip.map(|ip| ip.to_string()).unwrap_or_default(),
        _ => return Err(EnvironmentError::Field(path.to_owned())),
    })
}

/// The amount of a resource of a container, in units of the divisor, rounded up.
pub(super) fn resource_value(
    selector: &ResourceFieldSelector,
    container: &Container,
    allocatable: Amount,
) -> Result<String, EnvironmentError> {
    let unsupported = || EnvironmentError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let wanted = container.resources.as_ref();
    let limit = resources::read(wanted.and_then(|r| r.limits.as_ref()), "limits", name)?;
    let amount = match (list, name) {
        ("limits", "cpu") => limit.unwrap_or(Quantity::from_milli(allocatable.cpu)),
        ("limits", "memory") => limit.unwrap_or(Quantity::from_bytes(allocatable.memory)),
        ("limits", "ephemeral-storage") => limit.unwrap_or(Quantity::ZERO),
        ("requests", "cpu" | "memory" | "ephemeral-storage") => {
            let request = wanted.and_then(|r| r.requests.as_ref());
            resources::read(request, "requests", name)?.or(limit).unwrap_or(Quantity::ZERO)
        }
        _ => return Err(unsupported()),
    };
    let divisor = match selector.divisor.as_ref().map(|divisor| Quantity::parse(&divisor.0)) {
        Some(Ok(divisor)) if !divisor.is_zero() => divisor,
        Some(Ok(_)) | None => Quantity::from_value(1),
        Some(Err(_)) => return Err(unsupported()),
    };
    let (amount, divisor) = if name == "cpu" {
        (amount.milli_value(), divisor.milli_value())
    } else {
        (amount.value(), divisor.value())
    };
    Ok((amount.max(0).unsigned_abs()).div_ceil(divisor.max(1).unsigned_abs()).to_string())
}

/// `map['key']`, taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A container of a Pod, by name.
pub(super) fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec: &PodSpec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|container| container.name == name)
}

fn not_found(kind: &'static str, name: &str) -> EnvironmentError {
    EnvironmentError::NotFound { kind, name: name.to_owned() }
}

/// The variables of Services, in the form that Docker's links once had.
fn service_variables(context: Context<'_>) -> BTreeMap<String, String> {
    let namespace = context.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = context.pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
    let mut all = BTreeMap::new();
    for service in context.services {
        let meta = &service.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let own = meta.namespace.as_deref() == Some(namespace) && links != Some(false);
        let master = meta.namespace.as_deref() == Some("default") && name == "kubernetes";
        if own || master {
            variables_of(service, name, &mut all);
        }
    }
    all
}

fn variables_of(service: &Service, name: &str, all: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
    let (Some(ip), Some(ports)) = (ip, spec.ports.as_ref()) else { return };
    let Some(first) = ports.first() else { return };
    let prefix = name.to_uppercase().replace('-', "_");
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut set = |suffix: &str, value: String| all.insert(format!("{prefix}_{suffix}"), value);
    set("SERVICE_HOST", ip.to_owned());
    set("SERVICE_PORT", first.port.to_string());
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            set(&format!("SERVICE_PORT_{name}"), port.port.to_string());
        }
    }
    let url = |port: i32, protocol: &str| format!("{protocol}://{host}:{port}");
    let protocol = |protocol: &Option<String>| protocol.as_deref().unwrap_or("TCP").to_lowercase();
    set("PORT", url(first.port, &protocol(&first.protocol)));
    for port in ports {
        let protocol = protocol(&port.protocol);
        let of = format!("PORT_{}_{}", port.port, protocol.to_uppercase());
        set(&of, url(port.port, &protocol));
        set(&format!("{of}_PROTO"), protocol);
        set(&format!("{of}_PORT"), port.port.to_string());
        set(&format!("{of}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests;
