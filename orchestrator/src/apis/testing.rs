//! How tests of kinds write and show objects, as the pipeline would.
use jiff::Timestamp;
use serde_json::{Value, json};

use super::builtin;
use crate::api::{Object, Operation, Resource};

/// The row that serves `object`.
pub fn row(object: &Object) -> std::sync::Arc<Resource> {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    let table = builtin();
    let found = table
        .iter()
        .find(|r| r.gvk.group == group && r.gvk.version == version && r.gvk.kind == object.kind);
    found.unwrap_or_else(|| panic!("no row for {} {}", object.api_version, object.kind)).clone()
}

/// An object with `metadata` as most tests want it.
pub fn object(api_version: &str, kind: &str, mut rest: Value) -> Object {
    rest["apiVersion"] = json!(api_version);
    rest["kind"] = json!(kind);
    if rest.get("metadata").is_none() {
        rest["metadata"] = json!({"name": "web", "namespace": "default"});
    }
    Object::from_value(rest).unwrap()
}

/// What a create stores, or all that is wrong.
pub fn create(new: &Object) -> Result<Object, Vec<String>> {
    write(new, Operation::Create)
}

/// What an update of `old` stores, or all that is wrong.
pub fn update(old: &Object, new: &Object) -> Result<Object, Vec<String>> {
    write(new, Operation::Update(old))
}

/// What is wrong with a create.
pub fn create_errors(new: &Object) -> Vec<String> {
    create(new).err().unwrap_or_default()
}

/// `object` with the value at a JSON pointer replaced.
pub fn with(object: &Object, pointer: &str, value: Value) -> Object {
    let mut document = object.to_value().unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
    match parent {
        Value::Array(items) => {
            let index: usize = key.parse().unwrap();
            if index == items.len() {
                items.push(value);
            } else {
                items[index] = value;
            }
        }
        parent => parent[key] = value,
    }
    Object::from_value(document).unwrap()
}

/// What an object warns of.
pub fn warnings(new: &Object) -> Vec<String> {
    let mut new = new.clone();
    let row = row(&new);
    row.behaviour.prepare(&mut new, Operation::Create).unwrap();
    row.behaviour.validate(&new, Operation::Create).unwrap().1
}

/// The headers of a kind's columns.
pub fn headers(object: &Object) -> Vec<String> {
    row(object).behaviour.columns().iter().map(|column| column.0.to_owned()).collect()
}

/// The cells of a row as `kubectl` prints them, at 2026-01-01T01:00:00Z.
pub fn cells(object: &Object) -> Vec<String> {
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let cells = row(object).behaviour.cells(object, now).unwrap();
    cells
        .into_iter()
        .map(|cell| match cell {
            Value::String(text) => text,
            other => other.to_string(),
        })
        .collect()
}

/// The values of the selectable fields, as `path=value`.
pub fn fields(object: &Object) -> Vec<String> {
    let row = row(object);
    let values = row.behaviour.field_values(object).unwrap();
    let paths = row.behaviour.selectable_fields();
    paths.iter().zip(values).map(|(path, value)| format!("{path}={value}")).collect()
}

fn write(new: &Object, operation: Operation<'_, Object>) -> Result<Object, Vec<String>> {
    let mut new = new.clone();
    let row = row(&new);
    let unknown = row.behaviour.prepare(&mut new, operation).unwrap();
    assert_eq!(unknown, Vec::<String>::new(), "unknown fields in a test's object");
    let (errors, _) = row.behaviour.validate(&new, operation).unwrap();
    if errors.is_empty() {
        return Ok(new);
    }
    Err(errors.0.iter().map(ToString::to_string).collect())
}
