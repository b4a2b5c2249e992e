//! An API object of any kind, as the server stores and serves it.
//!
//! Metadata is split off by hand: deserializing through `#[serde(flatten)]`
//! buffers the whole document a second time.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::ObjectKey;

/// A JSON document with typed metadata.
///
/// The server moves objects of every kind, custom ones included, through one
/// code path, so it knows only what all kinds share. Code that knows a kind
/// asks for a typed view with [`Object::decode`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// Group and version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// `spec`, `status`, `data` and every other top-level field.
    pub body: Map<String, Value>,
}

/// Hears of each field that a type lacks. One type for every kind: with closures of their own, a
/// Pod template would be compiled anew for each kind that has one, some 2 MB of code each.
type Report<'a> = &'a mut dyn FnMut(serde_ignored::Path<'_>);

/// An object that does not fit the kind it claims to be.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {kind} at {path}")]
pub struct DecodeError {
    /// The kind it claims to be; empty if it names none.
    pub kind: String,
    /// The field that does not fit, such as `spec.replicas`; `.` is the whole.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

impl Object {
    /// The object a JSON document describes.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        Self::from_value_reporting(value, &mut |_| ())
    }

    /// The object a JSON document describes, reporting the path of each field its metadata lacks.
    pub fn from_value_reporting(
        value: Value,
        unknown: &mut dyn FnMut(String),
    ) -> Result<Self, DecodeError> {
        let Value::Object(mut body) = value else {
            return Err(undecodable("", ".", serde_json::Error::custom("not a JSON object")));
        };
        let mut text = |name: &str| match body.remove(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(s)) => Ok(s),
            Some(_) => Err(undecodable("", name, serde_json::Error::custom("not a string"))),
        };
        let api_version = text("apiVersion")?;
        let kind = text("kind")?;
        let metadata = match body.remove("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(value) => {
                let mut track = serde_path_to_error::Track::new();
                let tracked = serde_path_to_error::Deserializer::new(&value, &mut track);
                let mut report = |path: serde_ignored::Path<'_>| {
                    unknown(format!("metadata.{}", field_path(&path.to_string())));
                };
                serde_ignored::deserialize(tracked, &mut report as Report<'_>).map_err(
                    |source| {
                        let path = format!("metadata.{}", track.path());
                        undecodable(&kind, &path, source)
                    },
                )?
            }
        };
        Ok(Self { api_version, kind, metadata: without_empty(metadata), body })
    }

    /// The object a JSON text describes.
    pub fn from_slice(json: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(json)
            .map_err(|source| undecodable("", ".", source))
            .and_then(Self::from_value)
    }

    /// The JSON document of this object.
    pub fn to_value(&self) -> Result<Value, DecodeError> {
        serde_json::to_value(self).map_err(|source| undecodable(&self.kind, ".", source))
    }

    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Views this object as `K`.
    pub fn decode<K: DeserializeOwned>(&self) -> Result<K, DecodeError> {
        self.decode_reporting(&mut |_| ())
    }

    /// Views this object as `K`, reporting the path of each field `K` lacks.
    pub fn decode_reporting<K: DeserializeOwned>(
        &self,
        unknown: &mut dyn FnMut(String),
    ) -> Result<K, DecodeError> {
        let metadata = serde_json::to_value(&self.metadata)
            .map_err(|source| undecodable(&self.kind, ".", source))?;
        let names = [("apiVersion", &self.api_version), ("kind", &self.kind)]
            .map(|(field, name)| (field, Value::String(name.clone())));
        let names = names.iter().filter(|(_, name)| name.as_str() != Some(""));
        // Read where it stands: cloning the body first would cost as much again.
        let mut fields: Vec<(&str, &Value)> = Vec::with_capacity(self.body.len() + 3);
        fields.extend(names.map(|(field, name)| (*field, name)));
        fields.push(("metadata", &metadata));
        fields.extend(self.body.iter().map(|(field, value)| (field.as_str(), value)));
        let mut track = serde_path_to_error::Track::new();
        let fields = MapDeserializer::new(fields.into_iter());
        let tracked = serde_path_to_error::Deserializer::new(fields, &mut track);
        let mut report = |path: serde_ignored::Path<'_>| unknown(field_path(&path.to_string()));
        serde_ignored::deserialize(tracked, &mut report as Report<'_>)
            .map_err(|source| undecodable(&self.kind, &track.path().to_string(), source))
    }

    /// Replaces this object by what `typed` holds.
    pub fn encode<K: Serialize>(&mut self, typed: &K) -> Result<(), DecodeError> {
        *self = serde_json::to_value(typed)
            .map_err(|source| undecodable(&self.kind, ".", source))
            .and_then(Self::from_value)?;
        Ok(())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.body.len() + 3))?;
        if !self.api_version.is_empty() {
            map.serialize_entry("apiVersion", &self.api_version)?;
        }
        if !self.kind.is_empty() {
            map.serialize_entry("kind", &self.kind)?;
        }
        map.serialize_entry("metadata", &self.metadata)?;
        for (name, value) in &self.body {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?)
            .map_err(|error| serde::de::Error::custom(format!("{error}: {}", error.source)))
    }
}

/// Metadata as Kubernetes writes it: lists and maps of nothing are left out, such as that of the
/// finalizers once the last one was taken off it.
fn without_empty(mut metadata: ObjectMeta) -> ObjectMeta {
    metadata.finalizers.take_if(|list| list.is_empty());
    metadata.owner_references.take_if(|list| list.is_empty());
    metadata.labels.take_if(|map| map.is_empty());
    metadata.annotations.take_if(|map| map.is_empty());
    metadata
}

/// A path of `serde_ignored` as Kubernetes writes it: `a[0].b` for `a.?.0.b`.
fn field_path(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    // `?` stands for the Option that k8s-openapi wraps a field in.
    for part in path.split('.').filter(|part| *part != "?") {
        if part.bytes().all(|digit| digit.is_ascii_digit()) {
            written.push_str(&format!("[{part}]"));
            continue;
        }
        if !written.is_empty() {
            written.push('.');
        }
        written.push_str(part);
    }
    written
}

fn undecodable(kind: &str, path: &str, source: serde_json::Error) -> DecodeError {
    DecodeError { kind: kind.to_owned(), path: path.to_owned(), source }
}
