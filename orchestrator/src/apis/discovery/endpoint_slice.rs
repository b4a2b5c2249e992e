//! `endpointslices.discovery.k8s.io`
use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use serde_json::json;

use crate::api::{Column, FieldError, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{
    form, immutable, invalid, not_special, one_of, port, required, required_one_of,
};

/// What addresses may be.
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// As many endpoints as a slice may have; upstream's.
const ENDPOINTS_MAX: usize = 1000;
/// As many addresses as an endpoint may have; upstream's.
const ADDRESSES_MAX: usize = 100;
/// As many ports as a slice may have; upstream's.
const PORTS_MAX: usize = 20_000;
/// As many items as a cell of its table shows.
const SHOWN: usize = 3;

/// The `endpointslices.discovery.k8s.io` resource.
#[derive(Debug)]
pub struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Kind = EndpointSlice;

    const COLUMNS: &'static [Column<EndpointSlice>] = &[
        Column::new("AddressType", "What its addresses are", |s, _| json!(s.address_type)),
        Column::new("Ports", "Ports that every endpoint has", |s, _| {
            let number = |port: &EndpointPort| {
                let number = port.port.map(|number| number.to_string());
                number.or_else(|| port.name.clone()).unwrap_or_else(|| "*".into())
            };
            json!(some(s.ports.iter().flatten().map(number).collect()))
        }),
        Column::new("Endpoints", "Its addresses", |s, _| {
            let addresses = s.endpoints.iter().flatten().flat_map(|e| e.addresses.clone());
            json!(some(addresses.collect()))
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
        let kind = new.address_type.as_str();
        required_one_of(&mut errors, &path, Some(kind), &ADDRESS_TYPES);
        let path = FieldPath::new("endpoints");
        let endpoints = new.endpoints.as_deref().unwrap_or_default();
        errors.check(endpoints.len() <= ENDPOINTS_MAX, || {
            FieldError::TooMany(path.clone(), endpoints.len(), ENDPOINTS_MAX)
        });
        for (i, endpoint) in endpoints.iter().enumerate().take(ENDPOINTS_MAX) {
            validate_endpoint(&mut errors, &path.index(i), endpoint, kind);
        }
        validate_ports(&mut errors, new.ports.as_deref().unwrap_or_default());
        if let Some(old) = operation.old() {
            let path = FieldPath::new("addressType");
            immutable(&mut errors, &path, &new.address_type, &old.address_type);
        }
        errors
    }
}

fn validate_endpoint(errors: &mut FieldErrors, path: &FieldPath, endpoint: &Endpoint, kind: &str) {
    let at = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.push(required(&at, "must contain at least 1 address")),
        1..=ADDRESSES_MAX => {}
        count => errors.push(FieldError::TooMany(at.clone(), count, ADDRESSES_MAX)),
    }
    for (i, address) in endpoint.addresses.iter().enumerate().take(ADDRESSES_MAX) {
        validate_address(errors, &at.index(i), address, kind);
    }
    if let Some(node) = &endpoint.node_name {
        form(errors, &path.child("nodeName"), node, names::dns_subdomain);
    }
    if let Some(name) = &endpoint.hostname {
        form(errors, &path.child("hostname"), name, names::dns_label);
    }
    for key in endpoint.deprecated_topology.iter().flat_map(|topology| topology.keys()) {
        form(errors, &path.child("deprecatedTopology"), key, names::qualified);
    }
}

fn validate_address(errors: &mut FieldErrors, path: &FieldPath, address: &str, kind: &str) {
    let (parsed, why) = match kind {
        "IPv4" => (address.parse().map(IpAddr::V4), "must be a valid IPv4 address"),
        "IPv6" => (address.parse().map(IpAddr::V6), "must be a valid IPv6 address"),
        "FQDN" => return form(errors, path, address, names::dns_subdomain),
        _ => return,
    };
    match parsed {
        Ok(parsed) => not_special(errors, path, address, parsed),
        Err(_) => errors.push(invalid(path, address, why)),
    }
}

fn validate_ports(errors: &mut FieldErrors, ports: &[EndpointPort]) {
    let path = FieldPath::new("ports");
    errors.check(ports.len() <= PORTS_MAX, || {
        FieldError::TooMany(path.clone(), ports.len(), PORTS_MAX)
    });
    let mut seen = BTreeSet::new();
    for (i, item) in ports.iter().enumerate().take(PORTS_MAX) {
        let path = path.index(i);
        let name = item.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            form(errors, &path.child("name"), name, names::dns_label);
        }
        errors.check(seen.insert(name), || FieldError::Duplicate(path.child("name"), json!(name)));
        let protocol = item.protocol.as_deref().unwrap_or_default();
        one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        if let Some(number) = item.port {
            port(errors, &path.child("port"), number);
        }
        if let Some(protocol) = &item.app_protocol {
            form(errors, &path.child("appProtocol"), protocol, names::qualified);
        }
    }
}

/// The first few of `all`, and how many there are more.
fn some(all: Vec<String>) -> String {
    match all.len() {
        0 => "<unset>".into(),
        count if count > SHOWN => {
            format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN)
        }
        _ => all.join(","),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    fn slice(addresses: Value) -> Object {
        let slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": addresses}], "ports": [{"port": 80}]});
        object("discovery.k8s.io/v1", "EndpointSlice", slice)
    }

    #[test]
    fn ports_speak_tcp_and_have_a_name_even_if_empty() {
        let created = create(&slice(json!(["10.64.0.1"]))).unwrap();
        assert_eq!(created.body["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
        assert_eq!(cells(&created), ["IPv4", "80", "10.64.0.1"]);
    }

    #[test]
    fn rows_show_the_first_three() {
        let many = slice(json!(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]));
        assert_eq!(cells(&many)[2], "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...");
        let none = object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": []}),
        );
        assert_eq!(cells(&none), ["IPv4", "<unset>", "<unset>"]);
    }

    #[test]
    fn addresses_are_of_their_type_and_reachable() {
        assert_eq!(
            create_errors(&slice(json!(["::1", "127.0.0.1"]))),
            [
                "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                "endpoints[0].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ]
        );
        assert_eq!(
            create_errors(&slice(json!([]))),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"]
        );
    }

    #[test]
    fn the_address_type_stays_and_ports_differ_by_name() {
        let old = create(&slice(json!(["10.0.0.1"]))).unwrap();
        let new = with(
            &with(&old, "/addressType", json!("FQDN")),
            "/endpoints",
            json!([{"addresses": ["a.b"]}]),
        );
        assert_eq!(
            update(&old, &with(&new, "/ports", json!([{"port": 80}, {"port": 81}]))).unwrap_err(),
            [
                "ports[1].name: Duplicate value: \"\"",
                "addressType: Invalid value: \"FQDN\": field is immutable"
            ]
        );
    }
}
