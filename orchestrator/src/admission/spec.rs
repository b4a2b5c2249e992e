//! What several rules read of an object: its name and its spec.
use serde_json::{Map, Value};

use crate::api::Object;

/// The name; empty while the server has not made one.
pub fn name_of(object: &Object) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

/// The spec, if there is one.
pub fn spec_of(object: &mut Object) -> Option<&mut Map<String, Value>> {
    object.body.get_mut("spec").and_then(Value::as_object_mut)
}

/// A text in a spec; none if it is empty.
pub fn text<'a>(spec: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    spec.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}
