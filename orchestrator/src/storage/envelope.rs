//! The form of a stored value: a format byte, the id of the key it is
//! encrypted with, where the resourceVersion belongs, and the object's JSON
//! without it.
//!
//! The sequencer alone knows a write's revision, so the reader joins it in.
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::api::{DecodeError, Object};

/// The format this version writes.
const FORMAT: u8 = 1;
/// Not encrypted.
const NO_KEY: u8 = 0;
/// Bytes before the JSON: format, key, and the place of the resourceVersion.
const HEAD: usize = 6;

/// The value of an object.
pub(super) fn seal(object: &Object) -> Result<Bytes, DecodeError> {
    let mut object = object.clone();
    object.metadata.resource_version = None;
    let undecodable = |source| DecodeError { kind: object.kind.clone(), path: ".".into(), source };
    let json = serde_json::to_vec(&object).map_err(undecodable)?;
    let mut value = BytesMut::with_capacity(HEAD + json.len());
    value.put_u8(FORMAT);
    value.put_u8(NO_KEY);
    value.put_u32_le(place(&object));
    value.put_slice(&json);
    Ok(value.freeze())
}

/// Where metadata's first field stands: after the texts that come before it.
fn place(object: &Object) -> u32 {
    let field = |name: &str, text: &str| {
        if text.is_empty() { 0 } else { name.len() + serde_json::json!(text).to_string().len() + 4 }
    };
    let before = field("apiVersion", &object.api_version) + field("kind", &object.kind);
    u32::try_from(1 + before + r#""metadata":{"#.len()).unwrap_or(u32::MAX)
}

/// A value taken apart: what stands before and after the resourceVersion.
pub(super) struct Opened {
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
}

/// What is wrong with a value.
pub(super) fn open(value: &Bytes) -> Result<Opened, String> {
    let [format, key, a, b, c, d, ..] = **value else { return Err("it is too short".into()) };
    if format != FORMAT {
        return Err(format!("it has format {format}, this podium knows {FORMAT}"));
    }
    if key != NO_KEY {
        return Err(format!("it is encrypted with the unknown key {key}"));
    }
    let place = u32::from_le_bytes([a, b, c, d]) as usize;
    let json = value.slice(HEAD..);
    if place > json.len() || json[..place].last() != Some(&b'{') {
        return Err("the place of its resourceVersion is wrong".into());
    }
    Ok(Opened { head: json.slice(..place), tail: json.slice(place..) })
}

impl Opened {
    /// The whole JSON, with the resourceVersion.
    pub(super) fn join(&self, revision: u64) -> Bytes {
        let comma = if self.tail.first() == Some(&b'}') { "" } else { "," };
        let version = format!(r#""resourceVersion":"{revision}"{comma}"#);
        let mut json = BytesMut::with_capacity(self.head.len() + version.len() + self.tail.len());
        json.put_slice(&self.head);
        json.put_slice(version.as_bytes());
        json.put_slice(&self.tail);
        json.freeze()
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
    fn what_is_no_envelope_is_told() {
        assert!(open(&Bytes::from_static(b"{}")).is_err());
        assert!(
            open(&Bytes::from_static(b"\x02\0\0\0\0\0{}"))
                .is_err_and(|why| why.contains("format 2"))
        );
        assert!(open(&Bytes::from_static(b"\x01\0\x09\0\0\0{}")).is_err());
    }
}
