//! `endpoints`
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use serde_json::json;

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{form, ip, not_special, port, required, required_one_of};

/// As many addresses as a cell of its table shows.
const SHOWN: usize = 3;

/// The `endpoints` resource.
#[derive(Debug)]
pub struct EndpointsOfServices;

impl Strategy for EndpointsOfServices {
    type Kind = Endpoints;

    const SINGULAR: &'static str = "endpoints";
    const SHORT_NAMES: &'static [&'static str] = &["ep"];
    const COLUMNS: &'static [Column<Endpoints>] =
        &[Column::new("Endpoints", "Addresses and ports that are ready", |e, _| json!(shown(e)))];

    fn default(&self, endpoints: &mut Endpoints) {
        let subsets = endpoints.subsets.iter_mut().flatten();
        for port in subsets.flat_map(|subset| subset.ports.iter_mut().flatten()) {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(&self, new: &Endpoints, _: Operation<'_, Endpoints>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        for (i, subset) in new.subsets.iter().flatten().enumerate() {
            let path = FieldPath::new("subsets").index(i);
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let other = subset.not_ready_addresses.as_deref().unwrap_or_default();
            errors.check(!(ready.is_empty() && other.is_empty()), || {
                required(&path, "must specify `addresses` or `notReadyAddresses`")
            });
            for (field, addresses) in [("addresses", ready), ("notReadyAddresses", other)] {
                for (i, address) in addresses.iter().enumerate() {
                    validate_address(&mut errors, &path.child(field).index(i), address);
                }
            }
            let ports = subset.ports.as_deref().unwrap_or_default();
            for (i, item) in ports.iter().enumerate() {
                validate_port(&mut errors, &path.child("ports").index(i), item, ports.len() > 1);
            }
        }
        errors
    }

    fn warnings(&self, _: &Endpoints) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into()]
    }
}

fn validate_address(errors: &mut FieldErrors, path: &FieldPath, address: &EndpointAddress) {
    let at = path.child("ip");
    ip(errors, &at, &address.ip);
    if let Some(name) = address.hostname.as_deref().filter(|name| !name.is_empty()) {
        form(errors, &path.child("hostname"), name, names::dns_label);
    }
    if let Some(node) = &address.node_name {
        form(errors, &path.child("nodeName"), node, names::dns_subdomain);
    }
    if let Ok(parsed) = address.ip.parse::<IpAddr>() {
        not_special(errors, &at, &address.ip, parsed);
    }
}

fn validate_port(errors: &mut FieldErrors, path: &FieldPath, item: &EndpointPort, named: bool) {
    match item.name.as_deref().unwrap_or_default() {
        "" if named => errors.push(required(&path.child("name"), "")),
        "" => {}
        name => form(errors, &path.child("name"), name, names::dns_label),
    }
    port(errors, &path.child("port"), item.port);
    let protocol = item.protocol.as_deref();
    required_one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    if let Some(protocol) = &item.app_protocol {
        form(errors, &path.child("appProtocol"), protocol, names::qualified);
    }
}

/// The first few addresses that are ready, each with each port, and how many there are more.
fn shown(endpoints: &Endpoints) -> String {
    let subsets = endpoints.subsets.as_deref().unwrap_or_default();
    if subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = subset.addresses.as_deref().unwrap_or_default();
        let ports = subset.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| address.ip.clone()));
        }
        for port in ports {
            all.extend(addresses.iter().map(|address| {
                let ip = &address.ip;
                let port = port.port;
                if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
            }));
        }
    }
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} + {more} more...", all[..SHOWN].join(",")),
        _ => all.join(","),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, object};

    fn endpoints(subsets: Value) -> Object {
        object("v1", "Endpoints", json!({"subsets": subsets}))
    }

    fn addresses(count: usize) -> Value {
        (1..=count).map(|n| json!({"ip": format!("10.64.0.{n}")})).collect()
    }

    #[test]
    fn its_row_shows_the_first_three_of_all_addresses_and_ports() {
        let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
        let two = endpoints(json!([{"addresses": addresses(2), "ports": ports}]));
        assert_eq!(cells(&two), ["10.64.0.1:80,10.64.0.2:80,10.64.0.1:81 + 1 more..."]);
        let headless = endpoints(json!([{"addresses": addresses(1)}]));
        assert_eq!(cells(&headless), ["10.64.0.1"]);
        let other = endpoints(json!([{"notReadyAddresses": addresses(1)}]));
        assert_eq!(cells(&other), [""]);
        assert_eq!(cells(&endpoints(json!([]))), ["<none>"]);
        let created = create(&two).unwrap();
        assert_eq!(created.body["subsets"][0]["ports"][1]["protocol"], "TCP");
    }

    #[test]
    fn addresses_are_reachable_and_several_ports_have_names() {
        let subsets = json!([
            {"ports": [{"port": 80}]},
            {"addresses": [{"ip": "127.0.0.1"}, {"ip": "x", "hostname": "A"}],
             "ports": [{"port": 0}, {"name": "b", "port": 80, "protocol": "HTTP"}]},
        ]);
        let errors = create_errors(&endpoints(subsets));
        assert_eq!(
            errors[..3],
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[1].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "subsets[1].addresses[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ]
        );
        assert!(errors[3].starts_with("subsets[1].addresses[1].hostname"), "{errors:?}");
        assert_eq!(
            errors[4..],
            [
                "subsets[1].ports[0].name: Required value",
                "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[1].ports[1].protocol: Unsupported value: \"HTTP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }
}
