//! `runtimeclasses.node.k8s.io`
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::json;

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{canonical, form, immutable, labels};
use crate::apis::core::pod_template;

/// Classes that manifests for Wasm name, made by the projects that brought Wasm to
/// Kubernetes (runwasi, SpinKube, K3s, AKS); each means the one sandbox there is, and is its own handler.
pub const WASM_CLASSES: [&str; 8] =
    ["lunatic", "slight", "spin", "wasm", "wasmedge", "wasmer", "wasmtime", "wasmtime-spin-v2"];

/// The `runtimeclasses.node.k8s.io` resource.
#[derive(Debug)]
pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Kind = RuntimeClass;

    const COLUMNS: &'static [Column<RuntimeClass>] =
        &[Column::new("Handler", "What runs the containers of its Pods", |c, _| json!(c.handler))];

    fn default(&self, class: &mut RuntimeClass) {
        canonical(class.overhead.as_mut().and_then(|overhead| overhead.pod_fixed.as_mut()));
    }

    fn validate(&self, new: &RuntimeClass, operation: Operation<'_, RuntimeClass>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let handler = FieldPath::new("handler");
        if let Some(old) = operation.old() {
            immutable(&mut errors, &handler, &new.handler, &old.handler);
            return errors;
        }
        form(&mut errors, &handler, &new.handler, names::dns_label);
        if let Some(overhead) = &new.overhead {
            let path = FieldPath::new("overhead").child("limits");
            pod_template::validate_amounts(&mut errors, &path, overhead.pod_fixed.as_ref());
        }
        if let Some(scheduling) = &new.scheduling {
            let path = FieldPath::new("scheduling");
            labels(&mut errors, &path.child("nodeSelector"), scheduling.node_selector.as_ref());
            let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
            pod_template::validate_tolerations(
                &mut errors,
                &path.child("tolerations"),
                tolerations,
            );
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    fn class(rest: Value) -> Object {
        let mut class = rest;
        class["metadata"] = json!({"name": "spin"});
        object("node.k8s.io/v1", "RuntimeClass", class)
    }

    #[test]
    fn its_handler_stays() {
        let old = create(&class(json!({"handler": "spin"}))).unwrap();
        assert_eq!(cells(&old), ["spin"]);
        assert_eq!(
            update(&old, &with(&old, "/handler", json!("other"))).unwrap_err(),
            ["handler: Invalid value: \"other\": field is immutable"]
        );
        assert!(create_errors(&class(json!({"handler": "a.b"})))[0].contains("RFC 1123 label"));
    }

    #[test]
    fn overhead_and_scheduling_are_checked_like_those_of_a_pod() {
        let good = class(json!({"handler": "spin",
            "overhead": {"podFixed": {"memory": "1024Ki", "cpu": "1000m"}},
            "scheduling": {"nodeSelector": {"wasm": "yes"}, "tolerations": [{"key": "wasm", "operator": "Exists"}]}}));
        let created = create(&good).unwrap();
        assert_eq!(created.body["overhead"]["podFixed"], json!({"cpu": "1", "memory": "1Mi"}));
        let errors = create_errors(&class(json!({"handler": "spin",
            "overhead": {"podFixed": {"cpu": "-1"}},
            "scheduling": {"nodeSelector": {"-": "x"}, "tolerations": [{"operator": "Sometimes", "key": "a"}]}})));
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("overhead.limits[cpu]: Invalid value"), "{errors:?}");
    }
}
