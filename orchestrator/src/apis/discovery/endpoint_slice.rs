//! `endpointslices.discovery.k8s.io`
use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use serde_json::{Value, json};

use crate::api::{Column, FieldError, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{form, immutable, invalid, one_of, port, required, required_one_of};

/// As many endpoints as a slice may have (`discovery.k8s.io` validation).
const ENDPOINTS_MAX: usize = 1_000;
/// As many addresses as an endpoint may have.
const ADDRESSES_MAX: usize = 100;
/// As many ports as a slice may have.
const PORTS_MAX: usize = 20_000;
/// As many items as a cell shows.
const SHOWN: usize = 3;

/// The `endpointslices` resource.
#[derive(Debug)]
pub struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Kind = EndpointSlice;

    const COLUMNS: &'static [Column<EndpointSlice>] = &[
        Column::new("AddressType", "IPv4, IPv6 or FQDN", |s: &EndpointSlice, _| {
            json!(s.address_type)
        }),
        Column::new("Ports", "The ports of its endpoints", |s: &EndpointSlice, _| {
            let ports = s.ports.iter().flatten();
            shown(ports.map(|port| port.port.map_or("*".into(), |port| port.to_string())))
        }),
        Column::new("Endpoints", "The addresses", |s: &EndpointSlice, _| {
            shown(
                s.endpoints
                    .iter()
                    .flatten()
                    .flat_map(|endpoint| endpoint.addresses.iter().cloned()),
            )
        }),
    ];
    const HAS_GENERATION: bool = true;

    fn default(&self, slice: &mut EndpointSlice) {
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(
        &self,
        new: &EndpointSlice,
        operation: Operation<'_, EndpointSlice>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("addressType");
        let kind = Some(new.address_type.as_str());
        required_one_of(&mut errors, &path, kind, &["FQDN", "IPv4", "IPv6"]);
        if let Some(old) = operation.old() {
            immutable(&mut errors, &path, &new.address_type, &old.address_type);
        }
        let path = FieldPath::new("endpoints");
        let endpoints = new.endpoints.as_deref().unwrap_or_default();
        let count = endpoints.len();
        errors.check(count <= ENDPOINTS_MAX, || {
            FieldError::TooMany(path.clone(), count, ENDPOINTS_MAX)
        });
        for (i, endpoint) in endpoints.iter().enumerate().take(ENDPOINTS_MAX) {
            check_endpoint(&mut errors, &path.index(i), endpoint, &new.address_type);
        }
        check_ports(
            &mut errors,
            &FieldPath::new("ports"),
            new.ports.as_deref().unwrap_or_default(),
        );
        errors
    }
}

fn check_endpoint(errors: &mut FieldErrors, path: &FieldPath, endpoint: &Endpoint, kind: &str) {
    let path = path.child("addresses");
    let count = endpoint.addresses.len();
    errors.check(count > 0, || required(&path, "must contain at least 1 address"));
    errors
        .check(count <= ADDRESSES_MAX, || FieldError::TooMany(path.clone(), count, ADDRESSES_MAX));
    for (i, address) in endpoint.addresses.iter().enumerate().take(ADDRESSES_MAX) {
        let path = path.index(i);
        match kind {
            "IPv4" => errors.check(address.parse::<Ipv4Addr>().is_ok(), || {
                invalid(&path, address.as_str(), "must be a valid IPv4 address")
            }),
            "IPv6" => errors.check(address.parse::<Ipv6Addr>().is_ok(), || {
                invalid(&path, address.as_str(), "must be a valid IPv6 address")
            }),
            _ => form(errors, &path, address, names::dns_subdomain),
        }
    }
}

fn check_ports(errors: &mut FieldErrors, path: &FieldPath, ports: &[EndpointPort]) {
    errors.check(ports.len() <= PORTS_MAX, || {
        FieldError::TooMany(path.clone(), ports.len(), PORTS_MAX)
    });
    let mut seen = Vec::new();
    for (i, one) in ports.iter().enumerate().take(PORTS_MAX) {
        let path = path.index(i);
        let name = one.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            form(errors, &path.child("name"), name, names::dns_label);
        }
        errors.check(!seen.contains(&name), || {
            FieldError::Duplicate(path.child("name"), name.into())
        });
        seen.push(name);
        if let Some(protocol) = &one.protocol {
            one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        }
        if let Some(number) = one.port {
            port(errors, &path.child("port"), number);
        }
    }
}

/// As `kubectl` shows a list: the first few, and how many more.
fn shown(items: impl Iterator<Item = String>) -> Value {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(SHOWN);
    json!(match (items.is_empty(), more) {
        (true, _) => "<unset>".to_owned(),
        (_, 0) => items.join(","),
        (_, more) => format!("{} + {more} more...", items[..SHOWN].join(",")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    #[test]
    fn a_slice_is_defaulted_and_shown() {
        let slice = create(&object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({
                "addressType": "IPv4", "ports": [{"port": 8080}],
                "endpoints": [{"addresses": ["10.64.0.1"]}, {"addresses": ["10.64.0.2"]},
                              {"addresses": ["10.64.0.3"]}, {"addresses": ["10.64.0.4"]}],
            }),
        ))
        .unwrap();
        assert_eq!(slice.body["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(cells(&slice), ["IPv4", "8080", "10.64.0.1,10.64.0.2,10.64.0.3 + 1 more..."]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let slice = object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({
                "addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}, {"addresses": []}],
                "ports": [{"name": "a", "port": 0}, {"name": "a", "port": 1, "protocol": "X"}],
            }),
        );
        let expected = [
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
            "endpoints[1].addresses: Required value: must contain at least 1 address",
            "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "ports[1].name: Duplicate value: \"a\"",
            "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ];
        assert_eq!(create_errors(&slice), expected);
        let old = with(&with(&slice, "/endpoints", json!([])), "/ports", json!([]));
        let new = with(&old, "/addressType", json!("IPv6"));
        assert_eq!(
            update(&old, &new).unwrap_err(),
            ["addressType: Invalid value: \"IPv6\": field is immutable"]
        );
    }
}
