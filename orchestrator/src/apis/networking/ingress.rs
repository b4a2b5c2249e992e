//! `ingresses.networking.k8s.io`
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
};
use serde_json::{Value, json};

use crate::api::{
    Column, FieldError, FieldErrors, FieldPath, Operation, Strategy, Subresource, names,
};
use crate::apis::checks::{form, invalid, port, required};

/// How paths match.
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What a path may not contain: it would not be the path it seems to be.
const BAD_PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
/// What a path may not end with.
const BAD_ENDS: [&str; 2] = ["/..", "/."];
/// As many hosts as a cell of its table shows.
const SHOWN: usize = 3;
/// The annotation that named the class before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

/// The `ingresses.networking.k8s.io` resource.
#[derive(Debug)]
pub struct Ingresses;

impl Strategy for Ingresses {
    type Kind = Ingress;

    const SHORT_NAMES: &'static [&'static str] = &["ing"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<Ingress>] = &[
        Column::new("Class", "The class of gateway that serves it", |i, _| {
            let class = spec(i).and_then(|spec| spec.ingress_class_name.as_deref());
            json!(class.unwrap_or("<none>"))
        }),
        Column::new("Hosts", "Hosts that requests are matched against", |i, _| json!(hosts(i))),
        Column::new("Address", "Where it can be reached", |i, _| json!(addresses(i))),
        Column::new("Ports", "Ports that it opens", |i, _| {
            let tls = spec(i).and_then(|spec| spec.tls.as_ref()).is_some_and(|tls| !tls.is_empty());
            json!(if tls { "80, 443" } else { "80" })
        }),
    ];
    const HAS_GENERATION: bool = true;

    fn empty_status(&self) -> Value {
        json!({"loadBalancer": {}})
    }

    fn validate(&self, new: &Ingress, operation: Operation<'_, Ingress>) -> FieldErrors {
        if let Operation::UpdateStatus(_) = operation {
            return validate_status(new);
        }
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        let empty = IngressSpec::default();
        let spec = new.spec.as_ref().unwrap_or(&empty);
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && spec.default_backend.is_none() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.push(invalid(&path, json!(rules), why));
        }
        if let Some(backend) = &spec.default_backend {
            validate_backend(&mut errors, &path.child("defaultBackend"), backend);
        }
        for (i, rule) in rules.iter().enumerate() {
            validate_rule(&mut errors, &path.child("rules").index(i), rule);
        }
        for (i, tls) in spec.tls.iter().flatten().enumerate() {
            let path = path.child("tls").index(i);
            for (i, host) in tls.hosts.iter().flatten().enumerate() {
                let path = path.child("hosts").index(i);
                form(&mut errors, &path, host, host_form(host));
            }
            if let Some(secret) = &tls.secret_name {
                form(&mut errors, &path.child("secretName"), secret, names::dns_subdomain);
            }
        }
        if let Some(class) = &spec.ingress_class_name {
            form(&mut errors, &path.child("ingressClassName"), class, names::dns_subdomain);
            let annotations = new.metadata.annotations.as_ref();
            if matches!(operation, Operation::Create)
                && let Some(other) = annotations.and_then(|all| all.get(CLASS))
            {
                let path = FieldPath::new("metadata").child("annotations").child(CLASS);
                let why = "can not be set when the class field is also set";
                errors.push(invalid(&path, other.as_str(), why));
            }
        }
        errors
    }

    fn warnings(&self, ingress: &Ingress) -> Vec<String> {
        let annotations = ingress.metadata.annotations.as_ref();
        let class = annotations.is_some_and(|all| all.contains_key(CLASS));
        let named = spec(ingress).is_some_and(|spec| spec.ingress_class_name.is_some());
        if class && !named {
            let text = format!(
                "annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
            );
            return vec![text];
        }
        Vec::new()
    }
}

fn validate_rule(errors: &mut FieldErrors, path: &FieldPath, rule: &IngressRule) {
    if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
        let path = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            errors.push(invalid(&path, host, "must be a DNS name, not an IP address"));
        }
        form(errors, &path, host, host_form(host));
    }
    let Some(http) = &rule.http else { return };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.push(required(&path, ""));
    }
    for (i, item) in http.paths.iter().enumerate() {
        validate_path(errors, &path.index(i), item);
    }
}

fn validate_path(errors: &mut FieldErrors, path: &FieldPath, item: &HTTPIngressPath) {
    let text = item.path.as_deref().unwrap_or_default();
    let at = path.child("path");
    let must_be_absolute = || invalid(&at, text, "must be an absolute path");
    match item.path_type.as_str() {
        "" => errors.push(required(&path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            errors.check(text.starts_with('/'), must_be_absolute);
            for part in BAD_PARTS.iter().filter(|part| text.contains(**part)) {
                errors.push(invalid(&at, text, format!("must not contain '{part}'")));
            }
            for end in BAD_ENDS.iter().filter(|end| text.ends_with(**end)) {
                errors.push(invalid(&at, text, format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            errors.check(text.is_empty() || text.starts_with('/'), must_be_absolute);
        }
        other => {
            let supported = PATH_TYPES.iter().map(|&s| s.to_owned()).collect();
            let path = path.child("pathType");
            errors.push(FieldError::NotSupported(path, other.into(), supported));
        }
    }
    validate_backend(errors, &path.child("backend"), &item.backend);
}

fn validate_backend(errors: &mut FieldErrors, path: &FieldPath, backend: &IngressBackend) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            let why = "cannot set both resource and service backends";
            errors.push(invalid(path, "", why));
        }
        (None, None) => errors.push(required(path, "resource or service backend is required")),
        (None, Some(resource)) => {
            let path = path.child("resource");
            for (field, text) in [("kind", &resource.kind), ("name", &resource.name)] {
                errors.check(!text.is_empty(), || required(&path.child(field), ""));
            }
        }
        (Some(service), None) => validate_service(errors, &path.child("service"), service),
    }
}

fn validate_service(errors: &mut FieldErrors, path: &FieldPath, service: &IngressServiceBackend) {
    let at = path.child("name");
    if service.name.is_empty() {
        errors.push(required(&at, ""));
    } else {
        form(errors, &at, &service.name, names::dns_1035_label);
    }
    let path = path.child("port");
    let wanted = service.port.clone().unwrap_or_default();
    let name = wanted.name.filter(|name| !name.is_empty());
    let number = wanted.number.filter(|number| *number != 0);
    match (name, number) {
        (Some(name), Some(_)) => {
            let why = "cannot set both port name & port number";
            errors.push(invalid(&path, name.as_str(), why));
        }
        (None, None) => errors.push(required(&path, "port name or number is required")),
        (Some(name), None) => form(errors, &path.child("name"), &name, names::port_name),
        (None, Some(number)) => port(errors, &path.child("number"), number),
    }
}

fn validate_status(ingress: &Ingress) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("status").child("loadBalancer").child("ingress");
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    for (i, point) in points.iter().enumerate() {
        let path = path.index(i);
        if let Some(ip) = point.ip.as_deref().filter(|ip| !ip.is_empty()) {
            crate::apis::checks::ip(&mut errors, &path.child("ip"), ip);
        }
        if let Some(host) = point.hostname.as_deref().filter(|host| !host.is_empty()) {
            form(&mut errors, &path.child("hostname"), host, names::dns_subdomain);
        }
    }
    errors
}

fn host_form(host: &str) -> crate::apis::checks::Form {
    if host.contains('*') { names::wildcard_subdomain } else { names::dns_subdomain }
}

fn spec(ingress: &Ingress) -> Option<&IngressSpec> {
    ingress.spec.as_ref()
}

fn hosts(ingress: &Ingress) -> String {
    let rules = spec(ingress).and_then(|spec| spec.rules.as_ref());
    let hosts: Vec<&str> = rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.host.as_deref())
        .filter(|host| !host.is_empty())
        .collect();
    match hosts.len() {
        0 => "*".into(),
        count if count > SHOWN => {
            format!("{} + {} more...", hosts[..SHOWN].join(","), count - SHOWN)
        }
        _ => hosts.join(","),
    }
}

fn addresses(ingress: &Ingress) -> String {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let texts = points
        .filter_map(|p| p.ip.as_deref().filter(|ip| !ip.is_empty()).or(p.hostname.as_deref()));
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, object, warnings, with};

    fn ingress(spec: Value) -> Object {
        object("networking.k8s.io/v1", "Ingress", json!({"spec": spec}))
    }

    fn web() -> Value {
        json!({"service": {"name": "web", "port": {"number": 80}}})
    }

    fn path(path: Value) -> Vec<String> {
        create_errors(&ingress(json!({"rules": [{"http": {"paths": [path]}}]})))
    }

    #[test]
    fn rows_show_hosts_and_where_they_are_served() {
        let rule = |host: &str| json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": web()}]}});
        let many = ingress(
            json!({"rules": [rule("a.com"), rule("b.com"), rule("*.c.com"), rule("d.com")], "tls": [{}], "ingressClassName": "podium"}),
        );
        let served = with(
            &create(&many).unwrap(),
            "/status",
            json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}, {"hostname": "localhost"}]}}),
        );
        assert_eq!(
            cells(&served),
            ["podium", "a.com,b.com,*.c.com + 1 more...", "127.0.0.1,localhost", "80, 443"]
        );
        let plain = ingress(json!({"defaultBackend": web()}));
        assert_eq!(cells(&create(&plain).unwrap()), ["<none>", "*", "", "80"]);
    }

    #[test]
    fn paths_have_a_type_and_are_absolute() {
        assert_eq!(
            path(json!({"path": "/", "backend": web()})),
            ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"]
        );
        assert_eq!(
            path(json!({"path": "a//b/..", "pathType": "Exact", "backend": web()})),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ]
        );
        assert_eq!(
            path(json!({"pathType": "Regex", "backend": web()})),
            [
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ]
        );
        assert!(path(json!({"pathType": "ImplementationSpecific", "backend": web()})).is_empty());
    }

    #[test]
    fn backends_name_one_service_and_one_port() {
        let backend = |backend| create_errors(&ingress(json!({"defaultBackend": backend})));
        assert_eq!(
            backend(json!({})),
            ["spec.defaultBackend: Required value: resource or service backend is required"]
        );
        assert_eq!(
            backend(json!({"service": {"name": ""}})),
            [
                "spec.defaultBackend.service.name: Required value",
                "spec.defaultBackend.service.port: Required value: port name or number is required",
            ]
        );
        assert_eq!(
            backend(json!({"service": {"name": "web", "port": {"name": "http", "number": 80}}})),
            [
                "spec.defaultBackend.service.port: Invalid value: \"http\": cannot set both port name & port number"
            ]
        );
    }

    #[test]
    fn hosts_are_names_and_something_must_be_served() {
        assert_eq!(
            create_errors(&ingress(json!({}))),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        assert_eq!(
            create_errors(&ingress(json!({"rules": [{"host": "1.2.3.4"}]}))),
            [
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
            ]
        );
        let errors = create_errors(&ingress(json!({"rules": [{"host": "a.*.com"}]})));
        assert!(
            errors[0].contains("a wildcard DNS-1123 subdomain must start with '*.'"),
            "{errors:?}"
        );
    }

    #[test]
    fn the_old_annotation_warns_or_clashes() {
        let old = with(
            &ingress(json!({"defaultBackend": web()})),
            "/metadata/annotations",
            json!({"kubernetes.io/ingress.class": "x"}),
        );
        assert_eq!(
            warnings(&old),
            [
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
            ]
        );
        let both = with(&old, "/spec/ingressClassName", json!("y"));
        assert_eq!(
            create_errors(&both),
            [
                "metadata.annotations.kubernetes.io/ingress.class: Invalid value: \"x\": can not be set when the class field is also set"
            ]
        );
    }
}
