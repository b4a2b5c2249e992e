//! Routes out of the Ingresses that users write.
use serde_json::{Value, json};

use super::*;

fn service(name: &str, namespace: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "ports": [{"name": "metrics", "port": 9}, {"name": "http", "port": 80}]},
    })
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({
        "path": path, "pathType": kind,
        "backend": {"service": {"name": service, "port": {"number": 80}}},
    })
}

fn ingress(name: &str, created: &str, spec: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": created},
        "spec": spec,
    })
}

fn rule(host: Option<&str>, paths: Value) -> Value {
    match host {
        Some(host) => json!({"rules": [{"host": host, "http": {"paths": paths}}]}),
        None => json!({"rules": [{"http": {"paths": paths}}]}),
    }
}

fn routes(ingresses: &[Value]) -> Routes {
    let services = [
        service("a", "default", "10.43.0.1"),
        service("b", "default", "10.43.0.2"),
        service("c", "shop", "10.43.0.3"),
    ];
    let of = |value: &Value| Arc::new(serde_json::from_value(value.clone()).unwrap());
    let services: Vec<Arc<Service>> =
        services.iter().map(|s| Arc::new(serde_json::from_value(s.clone()).unwrap())).collect();
    Routes::new(&ingresses.iter().map(of).collect::<Vec<_>>(), &Classes::first(), &services)
}

fn found(routes: &Routes, host: &str, path: &str) -> String {
    match routes.find(host, path) {
        Some(Target::Service(address)) => address.to_string(),
        Some(Target::Missing(why)) => why.to_string(),
        None => "nothing".to_string(),
    }
}

const A: &str = "10.43.0.1:80";
const B: &str = "10.43.0.2:80";
const C: &str = "10.43.0.3:80";
const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-02-01T00:00:00Z";

#[test]
fn a_prefix_matches_whole_elements() {
    let routes = routes(&[ingress(
        "one",
        OLD,
        rule(
            Some("x.test"),
            json!([path("/foo", "Prefix", "a"), path("/foo/bar/", "Prefix", "b")]),
        ),
    )]);
    for (path, expected) in [
        ("/foo", A),
        ("/foo/", A),
        ("/foo/baz", A),
        ("/foo/bar", B),
        ("/foo/bar/x", B),
        ("/foobar", "nothing"),
        ("/", "nothing"),
    ] {
        assert_eq!(found(&routes, "x.test", path), expected, "{path}");
    }
}

#[test]
fn an_exact_path_wins_over_every_prefix() {
    let routes = routes(&[ingress(
        "one",
        OLD,
        rule(
            Some("x.test"),
            json!([path("/", "ImplementationSpecific", "a"), path("/foo", "Exact", "b")]),
        ),
    )]);
    assert_eq!(found(&routes, "x.test", "/foo"), B);
    assert_eq!(found(&routes, "x.test", "/foo/"), A);
    assert_eq!(found(&routes, "x.test", "/"), A);
}

#[test]
fn a_named_host_wins_over_a_wildcard_and_a_wildcard_is_one_label() {
    let routes = routes(&[
        ingress("wild", OLD, rule(Some("*.X.test"), json!([path("/", "Prefix", "a")]))),
        ingress("named", NEW, rule(Some("y.x.test"), json!([path("/", "Prefix", "b")]))),
    ]);
    assert_eq!(found(&routes, "y.x.test", "/"), B);
    assert_eq!(found(&routes, "z.x.test", "/"), A);
    assert_eq!(found(&routes, "q.z.x.test", "/"), "nothing");
    assert_eq!(found(&routes, "x.test", "/"), "nothing");
}

#[test]
fn of_two_equal_rules_the_older_ingress_has_it() {
    let routes = routes(&[
        ingress("newer", NEW, rule(Some("x.test"), json!([path("/", "Prefix", "b")]))),
        ingress("older", OLD, rule(Some("x.test"), json!([path("/", "Prefix", "a")]))),
    ]);
    assert_eq!(found(&routes, "x.test", "/"), A);
}

#[test]
fn what_nobody_claims_goes_to_the_default_backend() {
    let mut spec = rule(Some("x.test"), json!([path("/foo", "Prefix", "a")]));
    spec["defaultBackend"] = json!({"service": {"name": "b", "port": {"name": "http"}}});
    let routes = routes(&[ingress("one", OLD, spec)]);
    assert_eq!(found(&routes, "x.test", "/foo"), A);
    assert_eq!(found(&routes, "x.test", "/bar"), B);
    assert_eq!(found(&routes, "other.test", "/"), B);
}

#[test]
fn a_host_has_the_default_backend_of_its_own_ingress_first() {
    let with_default = |rule: Value, service: &str| {
        let mut spec = rule;
        spec["defaultBackend"] = json!({"service": {"name": service, "port": {"number": 80}}});
        spec
    };
    let paths = || json!([path("/foo", "Prefix", "a")]);
    let routes = routes(&[
        ingress("stranger", OLD, with_default(rule(Some("x.test"), paths()), "b")),
        ingress("own", NEW, with_default(rule(Some("y.test"), paths()), "a")),
        ingress("wild", NEW, with_default(rule(Some("*.z.test"), paths()), "a")),
        ingress("bare", NEW, rule(Some("q.test"), paths())),
    ]);
    assert_eq!(found(&routes, "x.test", "/bar"), B);
    assert_eq!(found(&routes, "y.test", "/bar"), A);
    assert_eq!(found(&routes, "w.z.test", "/bar"), A);
    assert_eq!(found(&routes, "q.test", "/bar"), B);
}

#[test]
fn all_hosts_of_a_wildcard_have_one_certificate() {
    let paths = || json!([path("/", "Prefix", "a")]);
    let routes = routes(&[
        ingress("wild", OLD, rule(Some("*.x.test"), paths())),
        ingress("all", OLD, rule(Some("*.localhost"), paths())),
        ingress("named", OLD, rule(Some("y.x.test"), paths())),
    ]);
    for (host, expected) in [
        ("1.x.test", Some("*.x.test")),
        ("2.x.test", Some("*.x.test")),
        ("y.x.test", Some("y.x.test")),
        ("a.localhost", Some("a.localhost")),
        ("b.a.x.test", None),
        ("x.test", None),
    ] {
        assert_eq!(routes.certified_name(host).as_deref(), expected, "{host}");
    }
}

#[test]
fn services_are_found_below_localhost_by_their_first_http_port() {
    let routes = routes(&[ingress("any", OLD, rule(None, json!([path("/", "Prefix", "b")])))]);
    assert_eq!(found(&routes, "a.localhost", "/x"), A);
    assert_eq!(found(&routes, "a.default.localhost", "/x"), A);
    assert_eq!(found(&routes, "c.shop.localhost", "/x"), C);
    assert_eq!(found(&routes, "c.localhost", "/x"), B);
    assert_eq!(found(&routes, "localhost", "/x"), B);
}

#[test]
fn an_ingress_may_take_a_name_below_localhost() {
    let routes = routes(&[ingress(
        "one",
        OLD,
        rule(Some("a.localhost"), json!([path("/", "Prefix", "b")])),
    )]);
    assert_eq!(found(&routes, "a.localhost", "/"), B);
}

#[test]
fn a_backend_that_is_not_there_is_named() {
    let mut wrong_port = path("/port", "Prefix", "a");
    wrong_port["backend"]["service"]["port"] = json!({"number": 81});
    let routes = routes(&[ingress(
        "one",
        OLD,
        rule(Some("x.test"), json!([path("/gone", "Prefix", "gone"), wrong_port])),
    )]);
    assert_eq!(found(&routes, "x.test", "/gone"), "there is no Service default/gone");
    assert_eq!(
        found(&routes, "x.test", "/port"),
        "Service default/a has no such port as its Ingress names"
    );
}

#[test]
fn ingresses_of_another_class_are_not_ours() {
    let mut other = rule(Some("x.test"), json!([path("/", "Prefix", "a")]));
    other["ingressClassName"] = json!("nginx");
    let mut mine = rule(Some("y.test"), json!([path("/", "Prefix", "a")]));
    mine["ingressClassName"] = json!("podium");
    let mut annotated =
        ingress("annotated", OLD, rule(Some("z.test"), json!([path("/", "Prefix", "a")])));
    annotated["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "nginx"});
    let routes = routes(&[ingress("other", OLD, other), ingress("mine", OLD, mine), annotated]);
    assert_eq!(found(&routes, "x.test", "/"), "nothing");
    assert_eq!(found(&routes, "y.test", "/"), A);
    assert_eq!(found(&routes, "z.test", "/"), "nothing");
}
