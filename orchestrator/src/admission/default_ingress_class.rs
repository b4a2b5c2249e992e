//! An Ingress that names no class has the one that is marked as the default.
use std::cmp::Reverse;

use async_trait::async_trait;
use serde_json::json;

use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object};

/// The annotation that marks the default class.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// The annotation by which an Ingress named its class before there was a field.
const OLD_NAME: &str = "kubernetes.io/ingress.class";

/// The rule.
pub struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action == Action::Create && request.is_for("networking.k8s.io", "ingresses")
    }

    async fn mutate(
        &self,
        _: &Request<'_>,
        ingress: &mut Object,
        others: &Others,
    ) -> Result<(), ApiError> {
        if names_class(ingress) {
            return Ok(());
        }
        let classes = others.list("networking.k8s.io", "v1", "ingressclasses", None).await?;
        if let Some(class) = default_class(&classes) {
            let spec = ingress.body.entry("spec").or_insert_with(|| json!({}));
            spec["ingressClassName"] = json!(class);
        }
        Ok(())
    }
}

fn names_class(ingress: &Object) -> bool {
    let field = ingress.body.get("spec").and_then(|spec| spec.get("ingressClassName"));
    field.is_some_and(|name| !name.is_null()) || annotation(ingress, OLD_NAME).is_some()
}

/// The name of the default class; of several the youngest, as in Kubernetes.
fn default_class(classes: &[Object]) -> Option<&str> {
    let defaults = classes.iter().filter(|class| annotation(class, IS_DEFAULT) == Some("true"));
    let youngest = defaults.min_by_key(|class| {
        let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(created), class.metadata.name.as_deref())
    });
    youngest.and_then(|class| class.metadata.name.as_deref())
}

fn annotation<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn class(name: &str, created: &str, default: &str) -> Object {
        let metadata = json!({
            "name": name, "creationTimestamp": created, "annotations": {IS_DEFAULT: default},
        });
        Object::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn of_several_defaults_the_youngest_counts_and_then_the_first_by_name() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut classes = vec![class("a", old, "true"), class("z", new, "false")];
        assert_eq!(default_class(&classes), Some("a"));
        classes.extend([class("c", new, "true"), class("b", new, "true")]);
        assert_eq!(default_class(&classes), Some("b"));
        assert_eq!(default_class(&[class("x", new, "false")]), None);
    }

    #[test]
    fn a_class_is_named_by_field_or_by_the_old_annotation() {
        let names = |ingress: Value| names_class(&Object::from_value(ingress).unwrap());
        assert!(names(json!({"metadata": {}, "spec": {"ingressClassName": "x"}})));
        assert!(names(json!({"metadata": {"annotations": {OLD_NAME: "x"}}, "spec": {}})));
        assert!(!names(json!({"metadata": {}, "spec": {"ingressClassName": null}})));
    }
}
