//! `ingressclasses.networking.k8s.io`
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use serde_json::json;

use crate::api::{Column, FieldError, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{domain_prefixed_path, forbidden, form, immutable, one_of, required};

/// As many bytes as the name of a controller may have; upstream's.
const CONTROLLER_MAX: usize = 250;
/// Where the parameters of a class are.
const SCOPES: [&str; 2] = ["Cluster", "Namespace"];

/// The `ingressclasses.networking.k8s.io` resource.
#[derive(Debug)]
pub struct IngressClasses;

impl Strategy for IngressClasses {
    type Kind = IngressClass;

    const COLUMNS: &'static [Column<IngressClass>] = &[
        Column::new("Controller", "What serves its Ingresses", |c, _| {
            let controller = c.spec.as_ref().and_then(|spec| spec.controller.as_deref());
            json!(controller.unwrap_or_default())
        }),
        Column::new("Parameters", "More configuration of the controller", |c, _| {
            let Some(parameters) = c.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
                return json!("<none>");
            };
            let group = parameters.api_group.iter().map(|group| format!(".{group}"));
            let group = group.collect::<String>();
            json!(format!("{}{group}/{}", parameters.kind, parameters.name))
        }),
    ];
    const HAS_GENERATION: bool = true;

    fn default(&self, class: &mut IngressClass) {
        let parameters = class.spec.as_mut().and_then(|spec| spec.parameters.as_mut());
        if let Some(parameters) = parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }

    fn validate(&self, new: &IngressClass, operation: Operation<'_, IngressClass>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let spec = new.spec.clone().unwrap_or_default();
        let path = FieldPath::new("spec");
        let at = path.child("controller");
        if let Some(old) = operation.old() {
            let old = old.spec.as_ref().and_then(|spec| spec.controller.clone());
            immutable(&mut errors, &at, &spec.controller, &old);
        }
        let controller = spec.controller.as_deref().unwrap_or_default();
        errors.check(controller.len() <= CONTROLLER_MAX, || {
            FieldError::TooLong(at.clone(), CONTROLLER_MAX)
        });
        domain_prefixed_path(&mut errors, &at, controller);
        if let Some(parameters) = &spec.parameters {
            validate_parameters(&mut errors, &path.child("parameters"), parameters);
        }
        errors
    }
}

fn validate_parameters(
    errors: &mut FieldErrors,
    path: &FieldPath,
    parameters: &IngressClassParametersReference,
) {
    if let Some(group) = &parameters.api_group {
        form(errors, &path.child("apiGroup"), group, names::dns_subdomain);
    }
    for (field, text, why) in [
        ("kind", &parameters.kind, "kind is required"),
        ("name", &parameters.name, "name is required"),
    ] {
        if text.is_empty() {
            errors.push(required(&path.child(field), why));
        } else {
            form(errors, &path.child(field), text, names::path_segment);
        }
    }
    let scope = parameters.scope.as_deref().unwrap_or_default();
    one_of(errors, &path.child("scope"), scope, &SCOPES);
    let at = path.child("namespace");
    match (scope, parameters.namespace.as_deref()) {
        ("Namespace", None) => {
            errors.push(required(&at, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", Some(namespace)) => form(errors, &at, namespace, names::dns_label),
        ("Cluster", Some(_)) => {
            errors.push(forbidden(&at, "`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    fn class(spec: Value) -> Object {
        object(
            "networking.k8s.io/v1",
            "IngressClass",
            json!({"metadata": {"name": "web"}, "spec": spec}),
        )
    }

    #[test]
    fn its_row_names_controller_and_parameters() {
        let bare = create(&class(json!({"controller": "acme.io/gateway"}))).unwrap();
        assert_eq!(cells(&bare), ["acme.io/gateway", "<none>"]);
        let parameters = json!({"apiGroup": "acme.io", "kind": "Settings", "name": "big"});
        let full = create(&with(&bare, "/spec/parameters", parameters)).unwrap();
        assert_eq!(cells(&full)[1], "Settings.acme.io/big");
        assert_eq!(full.body["spec"]["parameters"]["scope"], "Cluster");
    }

    #[test]
    fn the_controller_is_a_path_under_a_domain_and_stays() {
        let errors = |controller: &str| create_errors(&class(json!({"controller": controller})));
        assert_eq!(errors(""), ["spec.controller: Required value"]);
        assert_eq!(
            errors("gateway"),
            [
                "spec.controller: Invalid value: \"gateway\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ]
        );
        assert!(errors("acme.io/a b")[0].contains("Invalid path (regex used"));
        assert!(errors("ACME/x")[0].contains("RFC 1123 subdomain"));
        let old = create(&class(json!({"controller": "acme.io/a"}))).unwrap();
        let new = with(&old, "/spec/controller", json!("acme.io/b"));
        assert_eq!(
            update(&old, &new).unwrap_err(),
            ["spec.controller: Invalid value: \"acme.io/b\": field is immutable"]
        );
    }

    #[test]
    fn parameters_have_a_namespace_if_their_scope_says_so() {
        let errors = |more: Value| {
            let mut parameters = json!({"kind": "Settings", "name": "big"});
            parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            create_errors(&class(json!({"controller": "acme.io/a", "parameters": parameters})))
        };
        assert_eq!(errors(json!({"scope": "Namespace", "namespace": "team"})), [""; 0]);
        assert_eq!(
            errors(json!({"scope": "Namespace"})),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
        assert_eq!(
            errors(json!({"namespace": "team", "kind": "", "name": "a/b"})),
            [
                "spec.parameters.kind: Required value: kind is required",
                "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ]
        );
    }
}
