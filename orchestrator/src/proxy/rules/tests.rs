//! Rules out of the objects that users and controllers write.
use serde_json::{Value, json};

use super::*;

fn services(objects: &[Value]) -> Vec<Arc<Service>> {
    objects.iter().map(|o| Arc::new(serde_json::from_value(o.clone()).unwrap())).collect()
}

fn slices(objects: &[Value]) -> Vec<Arc<EndpointSlice>> {
    objects.iter().map(|o| Arc::new(serde_json::from_value(o.clone()).unwrap())).collect()
}

fn web() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080},
                {"name": "admin", "port": 9000, "targetPort": "admin", "protocol": "TCP"},
            ],
        },
    })
}

fn slice(service: &str, endpoints: Value) -> Value {
    json!({
        "metadata": {
            "name": format!("{service}-abc"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin", "port": 9001}],
        "endpoints": endpoints,
    })
}

fn endpoint(ip: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    json!({
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    })
}

fn port(rules: &Rules, address: &str) -> network::ServicePort {
    let address: SocketAddr = address.parse().unwrap();
    rules.services.ports.iter().find(|port| port.address == address).unwrap().clone()
}

fn record(rules: &Rules, name: &str) -> Record {
    rules.names.records.get(name).cloned().unwrap_or_else(|| panic!("{name} is unknown"))
}

fn addresses(ips: &[&str]) -> Record {
    Record::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect())
}

#[test]
fn each_port_leads_to_the_target_port_of_every_usable_endpoint() {
    let slice = slice(
        "web",
        json!([
            endpoint("10.64.0.4", true, true, false),
            endpoint("10.64.0.3", false, true, true),
            endpoint("10.64.0.2", false, false, false),
            endpoint("10.64.0.5", false, false, true),
        ]),
    );
    let rules = plan(&services(&[web()]), &slices(&[slice]), "cluster.local");
    let used: Vec<(String, Condition)> = port(&rules, "10.43.0.9:80")
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address.to_string(), endpoint.condition))
        .collect();
    assert_eq!(
        used,
        [
            ("10.64.0.3:8080".to_string(), Condition::Terminating),
            ("10.64.0.4:8080".to_string(), Condition::Ready),
        ]
    );
    let admin = port(&rules, "10.43.0.9:9000");
    assert_eq!(admin.endpoints[0].address.port(), 9001);
    assert_eq!(record(&rules, "web.shop.svc.cluster.local"), addresses(&["10.43.0.9"]));
}

#[test]
fn conditions_that_are_not_told_mean_ready() {
    let slice = slice("web", json!([{"addresses": ["10.64.0.4"]}]));
    let rules = plan(&services(&[web()]), &slices(&[slice]), "cluster.local");
    assert_eq!(port(&rules, "10.43.0.9:80").endpoints[0].condition, Condition::Ready);
}

#[test]
fn a_service_without_slices_has_an_address_that_leads_nowhere() {
    let other = slice("other", json!([endpoint("10.64.0.4", true, true, false)]));
    let rules = plan(&services(&[web()]), &slices(&[other]), "cluster.local");
    assert!(port(&rules, "10.43.0.9:80").endpoints.is_empty());
}

#[test]
fn the_rules_do_not_depend_on_the_order_of_objects() {
    let one = slice("web", json!([endpoint("10.64.0.4", true, true, false)]));
    let two = slice("web", json!([endpoint("10.64.0.3", true, true, false)]));
    let other: Value = serde_json::from_str(
        &serde_json::to_string(&web())
            .unwrap()
            .replace("web", "api")
            .replace("0.9", "0.8")
            .replace("30080", "30081"),
    )
    .unwrap();
    let there = plan(
        &services(&[web(), other.clone()]),
        &slices(&[one.clone(), two.clone()]),
        "cluster.local",
    );
    let back = plan(&services(&[other, web()]), &slices(&[two, one]), "cluster.local");
    assert_eq!(there, back);
}

#[test]
fn only_ports_that_users_exposed_are_opened_on_the_host() {
    let rules = plan(&services(&[web()]), &[], "cluster.local");
    let opened: Vec<_> = rules.host_ports.iter().map(|(n, port)| (*n, port.target)).collect();
    assert_eq!(opened, [(30080, "10.43.0.9:80".parse::<SocketAddr>().unwrap())]);
    let port = &rules.host_ports[&30080];
    assert_eq!((&*port.namespace, &*port.name), ("shop", "web"));
    assert_eq!(port.field, "spec.ports[0].nodePort");
    let mut inner = web();
    inner["spec"]["type"] = json!("ClusterIP");
    assert!(plan(&services(&[inner]), &[], "cluster.local").host_ports.is_empty());
}

#[test]
fn a_headless_service_has_a_name_for_all_and_one_for_each() {
    let service = json!({
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"clusterIP": "None", "ports": [{"port": 5432}]},
    });
    let mut named = endpoint("10.64.0.4", true, true, false);
    named["hostname"] = json!("db-0");
    let slice = slice(
        "db",
        json!([
            named,
            endpoint("10.64.0.3", true, true, false),
            endpoint("10.64.0.2", false, false, false)
        ]),
    );
    let rules = plan(&services(&[service]), &slices(&[slice]), "cluster.local");
    let full = "db.shop.svc.cluster.local";
    assert_eq!(record(&rules, full), addresses(&["10.64.0.3", "10.64.0.4"]));
    assert_eq!(record(&rules, &format!("db-0.{full}")), addresses(&["10.64.0.4"]));
    assert_eq!(record(&rules, &format!("10-64-0-3.{full}")), addresses(&["10.64.0.3"]));
    assert!(rules.services.ports.is_empty());
}

#[test]
fn an_external_name_is_an_alias() {
    let service = json!({
        "metadata": {"name": "mail", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "mx.example.com"},
    });
    let rules = plan(&services(&[service]), &[], "cluster.local");
    assert_eq!(
        record(&rules, "mail.shop.svc.cluster.local"),
        Record::Alias("mx.example.com".to_string())
    );
}

#[test]
fn only_the_api_server_may_be_on_the_host() {
    let service = |namespace: &str| {
        json!({
            "metadata": {"name": "kubernetes", "namespace": namespace},
            "spec": {"clusterIP": "10.43.0.1", "ports": [{"port": 443, "targetPort": 6443}]},
        })
    };
    let allowed = |namespace: &str| {
        plan(&services(&[service(namespace)]), &[], "cluster.local").services.ports[0]
            .host_endpoints
    };
    assert!(allowed("default"));
    assert!(!allowed("shop"));
}

#[test]
fn session_affinity_is_passed_on() {
    let mut sticky = web();
    sticky["spec"]["sessionAffinity"] = json!("ClientIP");
    let rules = plan(&services(&[sticky]), &[], "cluster.local");
    assert!(port(&rules, "10.43.0.9:80").session_affinity);
}
