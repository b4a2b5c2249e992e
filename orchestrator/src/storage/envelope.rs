//! The form of a stored value: a format byte, the id of the key it is
//! encrypted with, where the resourceVersion belongs, and the object's JSON
//! without it.
//!
//! The sequencer alone knows a write's revision, so the reader joins it in.
use bytes::Bytes;
use serde::Serialize;

use super::metadata::Unversioned;
use crate::api::document::levels_of_json;
use crate::api::{DecodeError, Object};

/// The format this version writes.
const FORMAT: u8 = 1;
/// Not encrypted.
const NO_KEY: u8 = 0;
/// Bytes before the JSON: format, key, and the place of the resourceVersion.
const HEAD: usize = 6;
/// Room for a typical object, so that most are written without growing.
const TYPICAL: usize = 2_048;

/// The value of an object.
pub(super) fn seal(object: &Object) -> Result<Bytes, DecodeError> {
    let undecodable = |source| DecodeError { kind: object.kind.clone(), path: ".".into(), source };
    let mut value = Vec::with_capacity(TYPICAL);
    value.extend_from_slice(&[FORMAT, NO_KEY, 0, 0, 0, 0]);
    let place = write(object, &mut value).map_err(undecodable)?;
    value[2..HEAD].copy_from_slice(&place.to_le_bytes());
    value.shrink_to_fit();
    Ok(value.into())
}

/// Writes the JSON; answers where in it the fields of metadata begin.
fn write(object: &Object, out: &mut Vec<u8>) -> serde_json::Result<u32> {
    out.push(b'{');
    for (name, text) in [("apiVersion", &object.api_version), ("kind", &object.kind)] {
        if !text.is_empty() {
            field(out, name, text)?;
            out.push(b',');
        }
    }
    let metadata = out.len() + r#""metadata":{"#.len();
    field(out, "metadata", &Unversioned(&object.metadata))?;
    for (name, value) in &object.body {
        out.push(b',');
        field(out, name, value)?;
    }
    out.push(b'}');
    u32::try_from(metadata - HEAD).map_err(serde::ser::Error::custom)
}

fn field(out: &mut Vec<u8>, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, name)?;
    out.push(b':');
    serde_json::to_writer(out, value)
}

/// The levels of the object in a value.
pub(super) fn levels(value: &[u8]) -> usize {
    value.get(HEAD..).map_or(0, levels_of_json)
}

/// A value taken apart.
pub(super) struct Opened<'a> {
    /// The object's JSON, without a resourceVersion.
    pub(super) json: &'a [u8],
    /// Where in it the fields of metadata begin.
    place: usize,
}

/// Takes a value apart; the error says what is wrong with it.
pub(super) fn open(value: &[u8]) -> Result<Opened<'_>, String> {
    let [format, key, a, b, c, d, json @ ..] = value else { return Err("it is too short".into()) };
    if *format != FORMAT {
        return Err(format!("it has format {format}, this podium knows {FORMAT}"));
    }
    if *key != NO_KEY {
        return Err(format!("it is encrypted with the unknown key {key}"));
    }
    let place = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if place >= json.len() || json[..place].last() != Some(&b'{') {
        return Err("the place of its resourceVersion is wrong".into());
    }
    Ok(Opened { json, place })
}

impl Opened<'_> {
    /// The JSON from metadata's opening brace on; what follows metadata is still there.
    pub(super) fn metadata(&self) -> &[u8] {
        &self.json[self.place - 1..]
    }

    /// The whole JSON, with the resourceVersion.
    pub(super) fn join(&self, revision: u64) -> Bytes {
        let (head, tail) = self.json.split_at(self.place);
        let comma = if tail.first() == Some(&b'}') { "" } else { "," };
        let version = format!(r#""resourceVersion":"{revision}"{comma}"#);
        [head, version.as_bytes(), tail].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_revision_is_joined_in_wherever_metadata_begins() {
        for object in [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "{"}}),
            json!({"apiVersion": "v1", "kind": "Quo\"ted", "metadata": {}}),
            json!({"metadata": {"resourceVersion": "7", "name": "a"}}),
        ] {
            let value = seal(&Object::from_value(object.clone()).unwrap()).unwrap();
            let joined: Value = serde_json::from_slice(&open(&value).unwrap().join(42)).unwrap();
            let mut expected = object;
            expected["metadata"]["resourceVersion"] = json!("42");
            assert_eq!(joined, expected);
        }
    }

    #[test]
    fn all_metadata_but_the_resource_version_is_stored() {
        let metadata = json!({
            "annotations": {"a": "1"}, "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionGracePeriodSeconds": 30, "deletionTimestamp": "2026-01-02T03:04:06Z",
            "finalizers": ["f/g"], "generateName": "n-", "generation": 3, "labels": {"l": "2"},
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:x": {}}}],
            "name": "n-1", "namespace": "default",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}],
            "selfLink": "/s", "uid": "u-1", "resourceVersion": "9",
        });
        let object = Object::from_value(json!({"metadata": metadata})).unwrap();
        let value = seal(&object).unwrap();
        let found = Object::from_slice(open(&value).unwrap().json).unwrap();
        let mut expected = object;
        expected.metadata.resource_version = None;
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_envelope_is_told() {
        assert!(open(b"{}").is_err());
        assert!(open(b"\x02\0\0\0\0\0{}").is_err_and(|why| why.contains("format 2")));
        assert!(open(b"\x01\x07\0\0\0\0{}").is_err_and(|why| why.contains("key 7")));
        assert!(open(b"\x01\0\x09\0\0\0{}").is_err());
        assert!(open(b"\x01\0\0\0\0\0{}").is_err());
    }
}
