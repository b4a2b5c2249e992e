//! The schemas of the built-in kinds: how their parts merge, what of them is
//! left out, and their OpenAPI.
//!
//! `build.rs` makes them out of k8s-openapi's types and of `merge-keys.txt`,
//! which holds what those types do not say: a line per field with its type's
//! name, the field (`.`: the type itself), list-type, list-map-keys, map-type,
//! patch-merge-key and patch-strategy, `-` for none.
//! `tests/generators/src/bin/tables.rs` generates that file. The results are compressed into the binary and
//! unpacked when they are first asked for: parsed, they would take tens of megabytes.
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::DeflateDecoder;

use super::GroupVersionKind;

mod omitted;
mod openapi;
mod openapi_v2;

pub use omitted::omit_empty;
pub use openapi::{document, index_hash};
pub use openapi_v2::{hash as hash_v2, json as json_v2, protobuf as protobuf_v2};

/// As large as an unpacked table can be; the real ones are a tenth of it.
const MAX_UNPACKED: u64 = 32 << 20;

/// How one field of a type merges.
#[derive(Debug, Default)]
pub(super) struct FieldShape {
    /// The type of the field, of its items or of its values; empty for a scalar.
    pub(super) of: &'static str,
    /// The key by which a strategic merge patch finds an item of a list.
    pub(super) patch_merge_key: Option<&'static str>,
    /// Whether a strategic merge patch merges the list rather than replacing it.
    pub(super) merges: bool,
    /// Whether it is one thing, a list or a map.
    pub(super) form: Form,
    /// How the items of a list are told apart.
    pub(super) list: ListType,
    /// Whether it, or each item of a list, is owned and applied as one value.
    pub(super) atomic: bool,
}

/// The form of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// A scalar or an object with fields of its own.
    #[default]
    One,
    /// A list.
    List,
    /// An object whose names the user chooses.
    Map,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum ListType {
    /// One value.
    #[default]
    Atomic,
    /// Values, each at most once.
    Set,
    /// Objects with these keys.
    Map(Box<[&'static str]>),
}

/// A type's fields that are more than plain values.
pub(super) type Shape = HashMap<&'static str, FieldShape>;

/// The name of a kind's type, if it is built in.
pub(super) fn type_name(gvk: &GroupVersionKind) -> Option<&'static str> {
    static TYPES: OnceLock<HashMap<(&str, &str, &str), &str>> = OnceLock::new();
    let types = TYPES.get_or_init(|| {
        let lines = unpacked_kinds().lines().map(|line| {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap_or_default();
            let (group, version, kind) = (column(), column(), column());
            ((group, version, kind), column())
        });
        lines.collect()
    });
    types.get(&(&*gvk.group, &*gvk.version, &*gvk.kind)).copied()
}

/// Whether the objects of a kind have this field, with fields of its own.
pub fn has_struct(gvk: &GroupVersionKind, field: &str) -> bool {
    let shape = type_name(gvk).and_then(shape);
    shape.is_some_and(|shape| shape.get(field).is_some_and(|field| !field.of.is_empty()))
}

/// The shape of a type.
pub(super) fn shape(type_name: &str) -> Option<&'static Shape> {
    static SHAPES: OnceLock<HashMap<&str, Shape>> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        let mut shapes: HashMap<&str, Shape> = HashMap::new();
        for line in unpacked_shapes().lines() {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap_or_default();
            let (type_name, field, of, key, strategy) =
                (column(), column(), column(), column(), column());
            let (list, keys, form, atomic) = (column(), column(), column(), column());
            let shape = FieldShape {
                of,
                patch_merge_key: (key != "-").then_some(key),
                merges: strategy.split(',').any(|word| word == "merge"),
                form: match form {
                    "list" => Form::List,
                    "map" => Form::Map,
                    _ => Form::One,
                },
                list: match list {
                    "map" => ListType::Map(keys.split(',').collect()),
                    "set" => ListType::Set,
                    _ => ListType::Atomic,
                },
                atomic: atomic == "atomic",
            };
            shapes.entry(type_name).or_default().insert(field, shape);
        }
        shapes
    });
    shapes.get(type_name)
}

/// Lines of what `build.rs` knows of each field.
fn unpacked_shapes() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/shapes.deflate"))))
}

/// Lines of a type and its lists and maps that are not there without content.
fn unpacked_omitted() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/omitted.deflate"))))
}

/// Lines of group, version, kind and type.
fn unpacked_kinds() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/kinds.deflate"))))
}

fn unpack(compressed: &[u8]) -> String {
    let mut text = String::new();
    DeflateDecoder::new(compressed)
        .take(MAX_UNPACKED)
        .read_to_string(&mut text)
        .expect("the build script wrote it");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_with_a_spec_have_one() {
        let has = |kind: &'static str, field| {
            let gvk =
                GroupVersionKind { group: "".into(), version: "v1".into(), kind: kind.into() };
            has_struct(&gvk, field)
        };
        assert!(has("Pod", "spec") && has("Pod", "status"));
        assert!(!has("ConfigMap", "spec") && !has("ConfigMap", "data"));
        assert!(!has("Secret", "status"));
    }
}
