//! The pools that are allocated from, and the hidden objects that say what is taken.
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::api::{
    Behaviour, ColumnType, DecodeError, FieldErrors, GroupResource, GroupVersionKind, Object,
    Operation, Resource, Scope, names,
};
use crate::clock::Entropy;

/// The addresses of Services: network and prefix length.
const SERVICE_RANGE: (Ipv4Addr, u32) = (Ipv4Addr::new(10, 43, 0, 0), 16);

/// The ports of Services on nodes, as in Kubernetes.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Addresses at the lower end that are never given out unasked, as in Kubernetes:
/// people pick theirs, such as that of DNS, from these.
const PICKED_BY_PEOPLE: u32 = 256;

/// Ports at the lower end that are never given out unasked.
const PORTS_PICKED_BY_PEOPLE: u16 = 86;

/// What can be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// Addresses of Services.
    ClusterIps,
    /// Ports of Services on every node.
    NodePorts,
}

impl Pool {
    /// Every pool.
    pub const ALL: [Self; 2] = [Self::ClusterIps, Self::NodePorts];

    /// The row of the objects that say what of it is taken; no client sees it.
    pub fn row(self) -> &'static Resource {
        static ROWS: LazyLock<[Resource; 2]> =
            LazyLock::new(|| [hidden("clusterips"), hidden("nodeports")]);
        match self {
            Self::ClusterIps => &ROWS[0],
            Self::NodePorts => &ROWS[1],
        }
    }

    /// The object that says that `name` is taken.
    pub fn object(self, name: &str) -> Object {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let gvk = &self.row().gvk;
        Object {
            api_version: gvk.api_version(),
            kind: gvk.kind.to_string(),
            metadata,
            ..Object::default()
        }
    }

    /// One that may be given out unasked, by chance.
    pub fn pick(self, entropy: &Entropy) -> String {
        match self {
            Self::ClusterIps => {
                let (network, prefix) = SERVICE_RANGE;
                let size = 1_u32 << (32 - prefix);
                // Without the broadcast address.
                let offset = PICKED_BY_PEOPLE + below(entropy, size - PICKED_BY_PEOPLE - 1);
                Ipv4Addr::from(u32::from(network) + offset).to_string()
            }
            Self::NodePorts => {
                let first = NODE_PORTS.start() + PORTS_PICKED_BY_PEOPLE;
                let size = u32::from(NODE_PORTS.end() - first) + 1;
                (u32::from(first) + below(entropy, size)).to_string()
            }
        }
    }

    /// Why `name` is not one of the pool.
    pub fn check(self, name: &str) -> Result<(), String> {
        match self {
            Self::ClusterIps => {
                let (network, prefix) = SERVICE_RANGE;
                let inside = name.parse::<Ipv4Addr>().is_ok_and(|address| {
                    let host = u32::from(address) ^ u32::from(network);
                    host >> (32 - prefix) == 0 && host != 0 && host.count_ones() != 32 - prefix
                });
                if inside {
                    return Ok(());
                }
                Err(format!(
                    "the provided IP ({name}) is not in the valid range. The range of valid IPs is {network}/{prefix}"
                ))
            }
            Self::NodePorts => {
                if name.parse().is_ok_and(|port: u16| NODE_PORTS.contains(&port)) {
                    return Ok(());
                }
                Err(format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    NODE_PORTS.start(),
                    NODE_PORTS.end()
                ))
            }
        }
    }
}

fn below(entropy: &Entropy, size: u32) -> u32 {
    // In range: the fraction is below 1.
    (entropy.fraction() * f64::from(size)) as u32
}

fn hidden(plural: &'static str) -> Resource {
    let group = "allocation.podium.dev";
    Resource {
        gvk: GroupVersionKind {
            group: group.into(),
            version: "v1".into(),
            kind: "Reservation".into(),
        },
        plural: plural.into(),
        singular: plural.into(),
        scope: Scope::Cluster,
        short_names: Vec::new(),
        categories: Vec::new(),
        verbs: &[],
        subresources: Vec::new(),
        stored_as: GroupResource { group: group.into(), resource: plural.into() },
        converted: false,
        name_column: true,
        age_column: false,
        has_generation: false,
        unconditional_update: false,
        create_on_update: false,
        orphans_by_default: None,
        expires_after: None,
        computed: None,
        measured: false,
        behaviour: Arc::new(Plain),
    }
}

/// An object of which nothing but its name matters.
struct Plain;

impl Behaviour for Plain {
    fn prepare(
        &self,
        _: &mut Object,
        _: Operation<'_, Object>,
    ) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }
    fn validate(
        &self,
        _: &Object,
        _: Operation<'_, Object>,
    ) -> Result<(FieldErrors, Vec<String>), DecodeError> {
        Ok((FieldErrors::default(), Vec::new()))
    }
    fn validate_name(&self, name: &str) -> Result<(), String> {
        names::dns_subdomain(name)
    }
    fn columns(&self) -> Vec<(&str, ColumnType, u8, &str)> {
        Vec::new()
    }
    fn cells(&self, _: &Object, _: Timestamp) -> Result<Vec<Value>, DecodeError> {
        Ok(Vec::new())
    }
    fn selectable_fields(&self) -> Vec<&str> {
        Vec::new()
    }
    fn field_values(&self, _: &Object) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }
    fn graceful_deletion(&self, _: &Object, _: Option<u32>) -> Result<u32, DecodeError> {
        Ok(0)
    }
    fn to_stored(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(object)
    }
    fn to_served(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_picked_is_of_the_pool() {
        let entropy = Entropy::seeded(7);
        for pool in Pool::ALL {
            for _ in 0..1_000 {
                let name = pool.pick(&entropy);
                assert_eq!(pool.check(&name), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn network_and_broadcast_addresses_are_not_of_the_pool() {
        for name in ["10.43.0.0", "10.43.255.255", "10.44.0.1", "::1", "x"] {
            assert!(Pool::ClusterIps.check(name).is_err(), "{name}");
        }
        assert_eq!(Pool::ClusterIps.check("10.43.0.1"), Ok(()));
        for port in ["29999", "32768", "0"] {
            assert!(Pool::NodePorts.check(port).is_err(), "{port}");
        }
    }
}
