//! `ingresses.networking.k8s.io`
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec};
use serde_json::json;

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, Subresource, names};
use crate::apis::checks::{forbidden, form, invalid, port, required, required_one_of};

/// The `ingresses` resource.
#[derive(Debug)]
pub struct Ingresses;

impl Strategy for Ingresses {
    type Kind = Ingress;

    const SHORT_NAMES: &'static [&'static str] = &["ing"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<Ingress>] = &[
        Column::new("Class", "The controller that serves it", |i: &Ingress, _| {
            let class = i.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
            json!(class.unwrap_or("<none>"))
        }),
        Column::new("Hosts", "The hosts of its rules", |i: &Ingress, _| json!(hosts(i))),
        Column::new("Address", "Where it is served", |i: &Ingress, _| json!(addresses(i))),
        Column::new("Ports", "The ports of its gateway", |i: &Ingress, _| {
            let tls =
                i.spec.iter().any(|spec| spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()));
            json!(if tls { "80, 443" } else { "80" })
        }),
    ];
    const HAS_GENERATION: bool = true;

    fn validate(&self, new: &Ingress, _: Operation<'_, Ingress>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        let Some(spec) = &new.spec else {
            errors.push(required(&path, "either `defaultBackend` or `rules` must be specified"));
            return errors;
        };
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && spec.default_backend.is_none() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.push(invalid(&path, json!(rules), why));
        }
        if let Some(class) = &spec.ingress_class_name {
            form(&mut errors, &path.child("ingressClassName"), class, names::dns_subdomain);
        }
        if let Some(backend) = &spec.default_backend {
            check_backend(&mut errors, &path.child("defaultBackend"), backend);
        }
        check_tls(&mut errors, &path.child("tls"), spec);
        for (i, rule) in rules.iter().enumerate() {
            let path = path.child("rules").index(i);
            check_host(&mut errors, &path.child("host"), rule.host.as_deref().unwrap_or_default());
            let Some(http) = &rule.http else { continue };
            let path = path.child("http").child("paths");
            errors.check(!http.paths.is_empty(), || required(&path, ""));
            for (i, one) in http.paths.iter().enumerate() {
                check_path(&mut errors, &path.index(i), one);
            }
        }
        errors
    }
}

fn check_tls(errors: &mut FieldErrors, path: &FieldPath, spec: &IngressSpec) {
    for (i, tls) in spec.tls.iter().flatten().enumerate() {
        for (j, host) in tls.hosts.iter().flatten().enumerate() {
            check_host(errors, &path.index(i).child("hosts").index(j), host);
        }
    }
}

fn check_host(errors: &mut FieldErrors, path: &FieldPath, host: &str) {
    if host.is_empty() {
        return;
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(invalid(path, host, "must be a DNS name, not an IP address"));
    } else if let Some(rest) = host.strip_prefix("*.") {
        form(errors, path, rest, names::dns_subdomain);
    } else {
        form(errors, path, host, names::dns_subdomain);
    }
}

fn check_path(errors: &mut FieldErrors, path: &FieldPath, one: &HTTPIngressPath) {
    let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
    let kind = Some(one.path_type.as_str());
    let text = one.path.as_deref().unwrap_or_default();
    if one.path_type.is_empty() {
        errors.push(required(&path.child("pathType"), "pathType must be specified"));
    } else {
        required_one_of(errors, &path.child("pathType"), kind, kinds);
    }
    let at = path.child("path");
    if one.path_type == "ImplementationSpecific" && text.is_empty() {
        // An empty path is all paths.
    } else if !text.starts_with('/') {
        errors.push(invalid(&at, text, "must be an absolute path"));
    } else if one.path_type != "ImplementationSpecific" {
        for part in ["//", "/./", "/../", "%2f", "%2F"] {
            errors.check(!text.contains(part), || {
                invalid(&at, text, format!("must not contain '{part}'"))
            });
        }
        for end in ["/..", "/."] {
            errors.check(!text.ends_with(end), || {
                invalid(&at, text, format!("cannot end with '{end}'"))
            });
        }
    }
    check_backend(errors, &path.child("backend"), &one.backend);
}

fn check_backend(errors: &mut FieldErrors, path: &FieldPath, backend: &IngressBackend) {
    if backend.resource.is_some() {
        errors.push(forbidden(&path.child("resource"), "Podium serves Services only"));
        return;
    }
    let path = path.child("service");
    let Some(service) = &backend.service else {
        errors.push(required(&path, ""));
        return;
    };
    if service.name.is_empty() {
        errors.push(required(&path.child("name"), ""));
    } else {
        form(errors, &path.child("name"), &service.name, names::dns_1035_label);
    }
    let path = path.child("port");
    match service.port.as_ref().map(|port| (port.name.as_deref().unwrap_or_default(), port.number))
    {
        None | Some(("", None)) => errors.push(required(&path, "port name or number is required")),
        Some(("", Some(number))) => port(errors, &path.child("number"), number),
        Some((_, Some(_))) => errors.push(invalid(
            &path,
            json!(service.port),
            "cannot set both port name & port number",
        )),
        Some((name, None)) => form(errors, &path.child("name"), name, names::port_name),
    }
}

fn hosts(ingress: &Ingress) -> String {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let hosts: Vec<&str> =
        rules.filter_map(|rule| rule.host.as_deref().filter(|host| !host.is_empty())).collect();
    match hosts.as_slice() {
        [] => "*".into(),
        hosts if hosts.len() > 3 => {
            format!("{} + {} more...", hosts[..3].join(","), hosts.len() - 3)
        }
        hosts => hosts.join(","),
    }
}

fn addresses(ingress: &Ingress) -> String {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.iter().flat_map(|status| status.ingress.iter().flatten());
    let names = points.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone()));
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create_errors, object};

    #[test]
    fn an_ingress_is_shown_with_hosts_and_addresses() {
        let path = json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
        let ingress = object(
            "networking.k8s.io/v1",
            "Ingress",
            json!({
                "spec": {"rules": [{"host": "a.example", "http": {"paths": [path]}}, {"host": "*.b.example"}], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}},
            }),
        );
        assert_eq!(create_errors(&ingress), Vec::<String>::new());
        assert_eq!(cells(&ingress), ["<none>", "a.example,*.b.example", "127.0.0.1", "80, 443"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let errors =
            |spec| create_errors(&object("networking.k8s.io/v1", "Ingress", json!({"spec": spec})));
        assert_eq!(
            errors(json!({})),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        let paths = json!([
            {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {}}}},
            {"path": "/a//b", "pathType": "Exact", "backend": {}},
            {"path": "/", "pathType": "Glob", "backend": {"service": {"name": "web", "port": {"number": 0}}}},
        ]);
        let expected = [
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
            "spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required",
            "spec.rules[0].http.paths[1].path: Invalid value: \"/a//b\": must not contain '//'",
            "spec.rules[0].http.paths[1].backend.service: Required value",
            "spec.rules[0].http.paths[2].pathType: Unsupported value: \"Glob\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            "spec.rules[0].http.paths[2].backend.service.port.number: Invalid value: 0: must be between 1 and 65535, inclusive",
        ];
        assert_eq!(
            errors(json!({"rules": [{"host": "10.0.0.1", "http": {"paths": paths}}]})),
            expected
        );
    }
}
