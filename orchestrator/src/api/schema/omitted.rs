//! Lists and maps of nothing, which Go leaves out of what it writes.
//!
//! An object that has them and one that lacks them are the same there, so they
//! must not differ here: a client in Go that reads an object and writes it back
//! would change it. Objects without fields, such as an `emptyDir`, stay.
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::{FieldShape, Form, shape, type_name, unpacked_omitted};
use crate::api::GroupVersionKind;

/// Drops the lists and maps of nothing from the fields of a built-in kind.
pub fn omit_empty(gvk: &GroupVersionKind, fields: &mut Map<String, Value>) {
    if let Some(type_name) = type_name(gvk) {
        tidy_fields(type_name, fields);
    }
}

fn tidy_fields(type_name: &str, fields: &mut Map<String, Value>) {
    let (omitted, shape) = (omitted().get(type_name), shape(type_name));
    fields.retain(|field, value| {
        if is_empty(value) && omitted.is_some_and(|omitted| omitted.contains(field.as_str())) {
            return false;
        }
        if let Some(shape) = shape.and_then(|shape| shape.get(field.as_str())) {
            tidy(shape, value);
        }
        true
    });
}

fn tidy(shape: &FieldShape, value: &mut Value) {
    let part = |value: &mut Value| {
        if let Value::Object(fields) = value {
            tidy_fields(shape.of, fields);
        }
    };
    match (shape.form, value) {
        (Form::One, value) => part(value),
        (Form::List, Value::Array(items)) => items.iter_mut().for_each(part),
        (Form::Map, Value::Object(values)) => values.values_mut().for_each(part),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// By type, its lists and maps that are not there without content.
fn omitted() -> &'static HashMap<&'static str, HashSet<&'static str>> {
    static OMITTED: OnceLock<HashMap<&str, HashSet<&str>>> = OnceLock::new();
    OMITTED.get_or_init(|| {
        let lines = unpacked_omitted().lines().filter_map(|line| line.split_once('\t'));
        lines.map(|(type_name, fields)| (type_name, fields.split(' ').collect())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tidied(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        value: Value,
    ) -> Value {
        let gvk =
            GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() };
        let Value::Object(mut fields) = value else { panic!("{value} has no fields") };
        omit_empty(&gvk, &mut fields);
        Value::Object(fields)
    }

    #[test]
    fn lists_and_maps_of_nothing_are_left_out() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}, "annotations": {}},
            "spec": {
                "nodeSelector": {}, "tolerations": [], "securityContext": {},
                "containers": [{"name": "c", "args": [], "resources": {"limits": {}}}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        }}});
        assert_eq!(
            tidied("apps", "v1", "Deployment", deployment),
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "securityContext": {},
                    "containers": [{"name": "c", "resources": {}}],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                },
            }}})
        );
        assert_eq!(tidied("", "v1", "ConfigMap", json!({"data": {}})), json!({}));
    }

    #[test]
    fn what_go_writes_though_it_is_empty_stays() {
        for (group, kind, value) in [
            ("", "Pod", json!({"spec": {"containers": []}})),
            (
                "",
                "Pod",
                json!({"spec": {"volumes": [{"name": "v", "projected": {"sources": []}}]}}),
            ),
            ("discovery.k8s.io", "EndpointSlice", json!({"endpoints": [], "ports": []})),
            ("apps", "ControllerRevision", json!({"data": {"spec": {"list": [], "map": {}}}})),
        ] {
            assert_eq!(tidied(group, "v1", kind, value.clone()), value);
        }
    }
}
