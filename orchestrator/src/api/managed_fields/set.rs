//! Sets of fields, and their form in `fieldsV1`.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The name under which `fieldsV1` says that a node itself is in the set.
const SELF: &str = ".";

/// A set of the fields of an object: a tree whose nodes may be members.
///
/// A child is called as in `fieldsV1`: `f:NAME` is a field, `k:{…}` the item of a
/// list with these keys, `v:…` that value in a list, `i:N` the item at that place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    pub(super) member: bool,
    pub(super) children: BTreeMap<Box<str>, FieldSet>,
}

/// A `fieldsV1` that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("fieldsV1 has no element {0:?}")]
pub struct FieldsError(String);

impl FieldSet {
    /// The set with the root alone.
    pub(super) fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Adds a child unless it is empty.
    pub(super) fn put(&mut self, element: Box<str>, child: Self) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.member |= other.member;
        for (element, child) in &other.children {
            let own = self.children.remove(element).unwrap_or_default();
            self.children.insert(element.clone(), own.union(child));
        }
        self
    }

    /// What is in this one and not in `other`.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        self.member &= !other.member;
        for (element, theirs) in &other.children {
            if let Some(own) = self.children.remove(element) {
                self.put(element.clone(), own.minus(theirs));
            }
        }
        self
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, ..Self::default() };
        for (element, child) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                both.put(element.clone(), child.intersection(theirs));
            }
        }
        both
    }

    /// Drops what is at and below `path`.
    pub(super) fn cut(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.children.remove(*last)),
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.cut(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// Its `fieldsV1`.
    pub fn to_fields(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(SELF.into(), Value::Object(Map::new()));
        }
        for (element, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            fields.insert(element.to_string(), child.to_fields());
        }
        Value::Object(fields)
    }

    /// The set that a `fieldsV1` describes.
    pub fn of_fields(fields: &Value) -> Result<Self, FieldsError> {
        let mut set = Self::read(fields)?;
        // The root is no field.
        set.member = false;
        Ok(set)
    }

    fn read(fields: &Value) -> Result<Self, FieldsError> {
        let map = fields.as_object().ok_or_else(|| FieldsError(fields.to_string()))?;
        let mut set = Self { member: map.is_empty(), ..Self::default() };
        for (element, child) in map {
            if element == SELF {
                set.member = true;
            } else {
                set.put(canonical(element)?, Self::read(child)?);
            }
        }
        Ok(set)
    }

    /// The paths of its members as Kubernetes writes them, such as `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.to_owned());
        }
        for (element, child) in &self.children {
            child.collect(&format!("{path}{}", written(element)), paths);
        }
    }
}

/// The element as we would write it: equal ones must be equal text.
fn canonical(element: &str) -> Result<Box<str>, FieldsError> {
    let wrong = || FieldsError(element.to_owned());
    let (kind, rest) = element.split_once(':').ok_or_else(wrong)?;
    match kind {
        "f" => Ok(element.into()),
        "i" => rest.parse::<u64>().map(|_| element.into()).map_err(|_| wrong()),
        "v" => {
            let value: Value = serde_json::from_str(rest).map_err(|_| wrong())?;
            Ok(format!("v:{value}").into())
        }
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).map_err(|_| wrong())?;
            Ok(key_element(keys.iter().map(|(name, value)| (name.as_str(), value))))
        }
        _ => Err(wrong()),
    }
}

/// The element of the item with these keys, which must come in order.
pub(super) fn key_element<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Box<str> {
    let mut text = String::from("k:{");
    for (i, (name, value)) in keys.enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let name = Value::from(name);
        write!(text, "{comma}{name}:{value}").expect("a String grows");
    }
    text.push('}');
    text.into()
}

/// An element as it stands in a path.
fn written(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            match serde_json::from_str::<BTreeMap<String, Value>>(keys) {
                Ok(keys) => {
                    let pairs = keys.iter().map(|(name, value)| format!("{name}={value}"));
                    format!("[{}]", pairs.collect::<Vec<_>>().join(","))
                }
                // Not written by us: shown as it stands.
                Err(_) => format!("[{keys}]"),
            }
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, rest)) => format!("[{rest}]"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(fields: Value) -> FieldSet {
        FieldSet::of_fields(&fields).unwrap()
    }

    #[test]
    fn fields_are_read_and_written_alike() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}},
        });
        assert_eq!(set(fields.clone()).to_fields(), fields);
        let disordered = json!({"f:p": {"k:{\"protocol\":\"TCP\", \"port\":80}": {}}});
        assert_eq!(set(disordered).paths(), [r#".p[port=80,protocol="TCP"]"#]);
        for broken in [json!({"x": {}}), json!({"k:1": {}}), json!({"f:a": 1}), json!({"i:x": {}})]
        {
            assert!(FieldSet::of_fields(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn members_are_counted_node_by_node() {
        let (a, b) = (set(json!({"f:x": {".": {}, "f:y": {}}})), set(json!({"f:x": {"f:y": {}}})));
        assert_eq!(a.clone().minus(&b), set(json!({"f:x": {}})));
        assert_eq!(a.intersection(&b), b);
        assert_eq!(b.clone().union(&set(json!({"f:x": {}}))), a);
        assert!(b.clone().minus(&a).is_empty());
    }

    #[test]
    fn a_key_that_is_no_json_is_shown_as_it_stands() {
        assert_eq!(written("k:{port:80}"), "[{port:80}]");
        assert_eq!(written(r#"k:{"port":80}"#), "[port=80]");
    }

    #[test]
    fn a_cut_takes_what_is_below() {
        let mut cut = set(json!({"f:metadata": {"f:name": {}}, "f:status": {"f:x": {}}}));
        cut.cut(&["f:metadata", "f:name"]);
        cut.cut(&["f:status"]);
        assert!(cut.is_empty() && cut.children.is_empty());
    }
}
