//! Walks over the documents of a kind that know how its lists and maps are told
//! apart: which fields a document has, what differs, how one merges into another.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::set::{FieldSet, key_element};
use crate::api::schema::{self, FieldShape, Form, ListType, Shape};

/// Objects that are never absent in Kubernetes' own types, so that nobody comes to own them.
const ALWAYS_THERE: &[&str] =
    &["jobTemplate", "metadata", "spec", "status", "strategy", "template", "updateStrategy"];

/// The keys of list items that have a default.
const KEY_DEFAULTS: &[(&str, &str)] = &[("protocol", "TCP")];

/// A list in a configuration whose items cannot be told apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedError {
    /// Two items are the same.
    #[error("{0}: duplicate entries for key {1}")]
    Duplicate(String, String),
    /// An item does not say which it is.
    #[error(
        "{0}: element {1}: associative list with keys has an element that omits key field {2:?} (and doesn't have default value)"
    )]
    NoKey(String, usize, &'static str),
}

/// What is known of the value at a place in a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    /// One value, whatever it holds.
    Atomic,
    /// An object with the fields of a type; an unknown type has none that are special.
    Struct(Option<&'static Shape>),
    /// An object whose names the user chooses.
    Map(&'static FieldShape),
    /// A list.
    List(&'static FieldShape),
}

/// What differs between two documents.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// What is in the new one alone, or other than it was.
    pub(super) changed: FieldSet,
    /// What is in the old one alone.
    pub(super) removed: FieldSet,
}

impl Node {
    /// The document of a type; none for a kind without schema.
    pub(super) fn root(type_name: Option<&str>) -> Self {
        Self::Struct(type_name.and_then(schema::shape))
    }

    fn of(shape: &'static FieldShape) -> Self {
        match shape.form {
            Form::One if shape.atomic => Self::Atomic,
            Form::One => Self::Struct(schema::shape(shape.of)),
            Form::Map if shape.atomic => Self::Atomic,
            Form::Map => Self::Map(shape),
            Form::List if shape.list == ListType::Atomic => Self::Atomic,
            Form::List => Self::List(shape),
        }
    }

    /// What is known of the field `name` of an object here.
    fn field(self, name: &str) -> Self {
        match self {
            Self::Struct(Some(shape)) => shape.get(name).map_or(Self::Struct(None), Self::of),
            Self::Map(shape) => Self::Struct(schema::shape(shape.of)),
            _ => Self::Struct(None),
        }
    }

    /// What is known of an item of a list here.
    fn item(self) -> Self {
        match self {
            Self::List(shape) if !shape.atomic => Self::Struct(schema::shape(shape.of)),
            _ => Self::Atomic,
        }
    }

    /// Whether the names below are the type's, not the user's.
    fn names_fields(self) -> bool {
        matches!(self, Self::Struct(Some(_)))
    }
}

fn field(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// Which item of a list this is.
pub(super) fn element(shape: &FieldShape, item: &Value) -> Box<str> {
    let ListType::Map(keys) = &shape.list else { return format!("v:{item}").into() };
    let mut found = BTreeMap::new();
    for key in keys {
        let default = KEY_DEFAULTS.iter().find(|(name, _)| name == key);
        let default = default.map(|(_, value)| Value::from(*value));
        if let Some(value) = item.get(key).cloned().or(default) {
            found.insert(*key, value);
        }
    }
    key_element(found.iter().map(|(name, value)| (*name, value)))
}

/// The fields that a document has.
pub(super) fn fields_of(node: Node, value: &Value) -> FieldSet {
    match (node, value) {
        (Node::Struct(_) | Node::Map(_), Value::Object(object)) => {
            let mut set = FieldSet::default();
            for (name, value) in object {
                let below = node.field(name);
                let mut child = fields_of(below, value);
                let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                child.member |= hollow || matches!(node, Node::Map(_));
                set.put(field(name), child);
            }
            set
        }
        (Node::List(shape), Value::Array(items)) => {
            let mut set = FieldSet::default();
            for item in items {
                let mut child = match shape.list {
                    ListType::Map(_) => fields_of(node.item(), item),
                    _ => FieldSet::default(),
                };
                child.member = true;
                set.children.insert(element(shape, item), child);
            }
            set
        }
        (Node::List(_), Value::Null) => FieldSet::default(),
        _ => FieldSet::leaf(),
    }
}

/// Every node of a document that was not there, or is no more.
fn all_of(node: Node, value: &Value) -> FieldSet {
    let mut set = FieldSet::leaf();
    match (node, value) {
        (Node::Struct(_) | Node::Map(_), Value::Object(object)) => {
            for (name, value) in object {
                set.put(field(name), all_of(node.field(name), value));
            }
        }
        (Node::List(shape), Value::Array(items)) => {
            for item in items {
                let child = match shape.list {
                    ListType::Map(_) => all_of(node.item(), item),
                    _ => FieldSet::leaf(),
                };
                set.children.insert(element(shape, item), child);
            }
        }
        _ => {}
    }
    set
}

/// What differs between two documents.
pub(super) fn compare(node: Node, old: &Value, new: &Value) -> Comparison {
    let mut found = Comparison::default();
    if old == new {
        return found;
    }
    match (node, old, new) {
        (Node::Struct(_) | Node::Map(_), Value::Object(was), Value::Object(is)) => {
            compare_objects(node, was, is, &mut found);
        }
        (Node::List(shape), Value::Array(was), Value::Array(is)) => {
            let (was, is) = (by_element(shape, was), by_element(shape, is));
            compare_lists(node, &was, &is, &mut found);
        }
        _ => found.changed.member = true,
    }
    found
}

fn compare_objects(
    node: Node,
    was: &Map<String, Value>,
    is: &Map<String, Value>,
    found: &mut Comparison,
) {
    for (name, new) in is {
        let below = node.field(name);
        let there = ALWAYS_THERE.contains(&name.as_str()) && new.is_object();
        let inner = match was.get(name) {
            Some(old) => compare(below, old, new),
            None if there => compare(below, &Value::Object(Map::new()), new),
            None => Comparison { changed: all_of(below, new), removed: FieldSet::default() },
        };
        found.changed.put(field(name), inner.changed);
        found.removed.put(field(name), inner.removed);
    }
    for (name, old) in was.iter().filter(|(name, _)| !is.contains_key(*name)) {
        found.removed.put(field(name), all_of(node.field(name), old));
    }
}

fn compare_lists(
    node: Node,
    was: &BTreeMap<Box<str>, Vec<&Value>>,
    is: &BTreeMap<Box<str>, Vec<&Value>>,
    found: &mut Comparison,
) {
    let all = |items: &[&Value]| {
        items.iter().fold(FieldSet::leaf(), |set, item| set.union(&all_of(node.item(), item)))
    };
    for (element, new) in is {
        let inner = match (was.get(element).map(Vec::as_slice), new.as_slice()) {
            (Some([old]), [new]) => compare(node.item(), old, new),
            (Some(old), new) if old == new => Comparison::default(),
            (_, new) => Comparison { changed: all(new), removed: FieldSet::default() },
        };
        found.changed.put(element.clone(), inner.changed);
        found.removed.put(element.clone(), inner.removed);
    }
    for (element, old) in was.iter().filter(|(element, _)| !is.contains_key(*element)) {
        found.removed.put(element.clone(), all(old));
    }
}

/// Items may stand twice in what was written by other means than apply.
fn by_element<'a>(shape: &FieldShape, items: &'a [Value]) -> BTreeMap<Box<str>, Vec<&'a Value>> {
    let mut found: BTreeMap<Box<str>, Vec<&Value>> = BTreeMap::new();
    for item in items {
        found.entry(element(shape, item)).or_default().push(item);
    }
    found
}

/// Refuses a configuration whose list items cannot be told apart.
pub(super) fn check(node: Node, value: &Value, path: &str) -> Result<(), TypedError> {
    match (node, value) {
        (Node::Struct(_) | Node::Map(_), Value::Object(object)) => {
            for (name, value) in object {
                check(node.field(name), value, &format!("{path}.{name}"))?;
            }
        }
        (Node::List(shape), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                if let ListType::Map(keys) = &shape.list {
                    let lacks = |key: &&&str| {
                        item.get(**key).is_none()
                            && !KEY_DEFAULTS.iter().any(|(name, _)| name == *key)
                    };
                    if let Some(key) = keys.iter().find(lacks) {
                        return Err(TypedError::NoKey(path.to_owned(), index, key));
                    }
                }
                let own = element(shape, item);
                let place =
                    FieldSet { member: false, children: [(own.clone(), FieldSet::leaf())].into() };
                let place = place.paths().concat();
                if !seen.insert(own) {
                    return Err(TypedError::Duplicate(path.to_owned(), place));
                }
                check(node.item(), item, &format!("{path}{place}"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a configuration makes of a document: what it says, and what the document says beside it.
pub(super) fn merge(node: Node, live: &Value, config: &Value) -> Value {
    match (node, live, config) {
        (Node::Struct(_) | Node::Map(_), Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(live) => merge(node.field(name), live, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Node::List(shape), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_lists(node, shape, live, config))
        }
        (Node::Struct(_) | Node::Map(_), Value::Object(_), Value::Null)
        | (Node::List(_), Value::Array(_), Value::Null) => live.clone(),
        _ => config.clone(),
    }
}

/// The items in the configuration's order; what only the live list has keeps its place among them.
fn merge_lists(node: Node, shape: &FieldShape, live: &[Value], config: &[Value]) -> Vec<Value> {
    let elements = |items: &[Value]| items.iter().map(|item| element(shape, item)).collect();
    let (wished, present): (Vec<Box<str>>, Vec<Box<str>>) = (elements(config), elements(live));
    let place: HashMap<&str, usize> =
        wished.iter().enumerate().map(|(at, own)| (&**own, at)).collect();
    let mut found: Vec<Option<usize>> = vec![None; config.len()];
    for (at, own) in present.iter().enumerate().rev() {
        if let Some(wish) = place.get(&**own) {
            found[*wish] = Some(at);
        }
    }
    let merged = |at: usize| match found[at] {
        Some(present) => merge(node.item(), &live[present], &config[at]),
        None => config[at].clone(),
    };
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut next, mut shared) = (0, 0);
    for (own, item) in present.iter().zip(live) {
        while found.get(shared).is_some_and(Option::is_none) {
            shared += 1;
        }
        match place.get(&**own) {
            None => out.push(item.clone()),
            // The next that both have, behind those that the configuration has before it.
            Some(at) if shared == *at => {
                out.extend((next..=*at).map(merged));
                next = at + 1;
                shared = next;
            }
            Some(_) => {}
        }
    }
    out.extend((next..config.len()).map(merged));
    out
}

/// Takes the members of `gone` out of a document; what becomes empty by it goes too.
pub(super) fn remove(node: Node, value: &mut Value, gone: &FieldSet) {
    match (node, value) {
        (Node::Struct(_) | Node::Map(_), Value::Object(object)) => {
            for (element, gone) in &gone.children {
                let Some(name) = element.strip_prefix("f:") else { continue };
                if gone.member {
                    object.remove(name);
                } else if let Some(value) = object.get_mut(name).filter(|value| !is_hollow(value)) {
                    remove(node.field(name), value, gone);
                    if is_hollow(value) {
                        object.remove(name);
                    }
                }
            }
        }
        (Node::List(shape), Value::Array(items)) => {
            items.retain_mut(|item| match gone.children.get(&element(shape, item)) {
                Some(gone) if gone.member => false,
                Some(gone) => {
                    remove(node.item(), item, gone);
                    true
                }
                None => true,
            });
        }
        _ => {}
    }
}

fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The set with every field of a type that it passes through: who owns what is in
/// an object owns the object, as far as leaving it out goes.
pub(super) fn with_parents(node: Node, set: &FieldSet) -> FieldSet {
    let mut whole = FieldSet { member: set.member, children: BTreeMap::new() };
    for (element, child) in &set.children {
        let name = element.strip_prefix("f:");
        let below = match name {
            Some(name) => node.field(name),
            None => node.item(),
        };
        let mut child = with_parents(below, child);
        child.member |= name.is_some() && node.names_fields();
        whole.children.insert(element.clone(), child);
    }
    whole
}
