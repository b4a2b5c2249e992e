//! Request bodies in `application/vnd.kubernetes.protobuf`, as client-go's
//! typed clients send them for built-in kinds, decoded to JSON.
//!
//! One table of messages and one loop, instead of a thousand generated
//! structs. `messages.txt` has a block per message: its name, then a line per
//! field with its number, JSON name (`-`: its fields stand in the parent), kind
//! and, for a message, the message's name. Kinds are `s`tring, b`y`tes,
//! `b`ool, `i`nteger, `d`ouble and `m`essage; `*` says repeated, `M` before a
//! kind a map from strings, and `0` that Go sends a zero where nothing was set.
//! `tests/generators/src/bin/tables.rs` generates it.
use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use wire::{Wire, fields};

#[cfg(test)]
mod tests;
mod wire;

/// The first bytes of every body.
const MAGIC: &[u8] = b"k8s\0";

/// As deep as messages may nest; a JSON schema, the deepest kind, needs far less.
const MAX_DEPTH: usize = 64;

/// Why a body does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The prefix is not there.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    /// The bytes end within a field, or are no protobuf.
    #[error("the protobuf message is malformed at byte {0}")]
    Malformed(usize),
    /// A text is not UTF-8.
    #[error("the protobuf message has a text that is not UTF-8")]
    NotUtf8,
    /// A field has another type than its message says.
    #[error("field {field} of {message} has the wrong wire type")]
    WireType {
        /// The message.
        message: String,
        /// Its field.
        field: String,
    },
    /// The kind cannot be sent as protobuf.
    #[error("no kind {kind:?} in {api_version:?} is known as protobuf; send JSON")]
    UnknownKind {
        /// Its `apiVersion`.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// An embedded JSON text does not parse.
    #[error("embedded JSON: {0}")]
    Json(String),
    /// A time is out of range.
    #[error("a time is out of range")]
    Time,
    /// Messages nest too deep.
    #[error("messages nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

struct Field {
    json: &'static str,
    kind: u8,
    map: bool,
    repeated: bool,
    unset_if_zero: bool,
    message: &'static str,
}

type Messages = HashMap<&'static str, HashMap<u32, Field>>;

/// The JSON document of a body: its kind, `apiVersion` and fields.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let body = body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    // runtime.Unknown: 1 typeMeta {1 apiVersion, 2 kind}, 2 raw.
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &body[..0]);
    for field in fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in fields(meta) {
                    match field? {
                        (1, Wire::Bytes(bytes)) => api_version = text(bytes)?.to_owned(),
                        (2, Wire::Bytes(bytes)) => kind = text(bytes)?.to_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_of(&api_version, &kind);
    let Some(name) = name else {
        return Err(ProtobufError::UnknownKind { api_version, kind });
    };
    let mut value = message(name, raw, 0)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), json!(api_version));
        object.insert("kind".into(), json!(kind));
    }
    Ok(value)
}

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut messages = Messages::new();
        let mut current = "";
        for line in include_str!("messages.txt").lines() {
            let Some(line) = line.strip_prefix(' ') else {
                current = line;
                messages.entry(current).or_default();
                continue;
            };
            let mut columns = line.split(' ');
            let mut column = || columns.next().unwrap_or_default();
            let number = column().parse().expect("the generator wrote a number");
            let json = column();
            let kind = column();
            let map = kind.starts_with('M');
            let field = Field {
                json,
                kind: kind.as_bytes()[usize::from(map)],
                map,
                repeated: kind.ends_with('*'),
                unset_if_zero: kind.ends_with('0'),
                message: column(),
            };
            messages.entry(current).or_default().insert(number, field);
        }
        messages
    })
}

/// The message of a kind: in its own group, or one of those all groups share.
fn message_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let group = group.split('.').next().unwrap_or_default();
    let own = format!("api.{group}.{version}.{kind}");
    let shared = format!("apimachinery.pkg.apis.meta.v1.{kind}");
    let messages = messages();
    [own, shared].iter().find_map(|name| messages.get_key_value(name.as_str()).map(|(k, _)| *k))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::TooDeep);
    }
    if let Some(value) = special(name, bytes)? {
        return Ok(value);
    }
    let table = messages().get(name);
    let mut object = Map::new();
    for entry in fields(bytes) {
        let (number, wire) = entry?;
        // A field newer than the table is dropped, as Go drops it.
        let Some(field) = table.and_then(|table| table.get(&number)) else { continue };
        let wrong = || ProtobufError::WireType { message: name.into(), field: field.json.into() };
        if field.map {
            let Wire::Bytes(entry) = wire else { return Err(wrong()) };
            let (key, value) = map_entry(field, entry, depth)?;
            let map = object.entry(field.json).or_insert_with(|| json!({}));
            map.as_object_mut().ok_or_else(wrong)?.insert(key, value);
            continue;
        }
        if field.kind == b'm' && field.json == "-" {
            let Wire::Bytes(inner) = wire else { return Err(wrong()) };
            if let Value::Object(inner) = message(field.message, inner, depth + 1)? {
                object.extend(inner);
            }
            continue;
        }
        if let (true, b'i', Wire::Bytes(packed)) = (field.repeated, field.kind, &wire) {
            let list = object.entry(field.json).or_insert_with(|| json!([]));
            let list = list.as_array_mut().ok_or_else(wrong)?;
            for number in wire::packed(packed) {
                list.push(json!(number? as i64));
            }
            continue;
        }
        let Some(value) = value(field, &wire, depth)?.ok_or_else(wrong)? else { continue };
        if field.repeated {
            let list = object.entry(field.json).or_insert_with(|| json!([]));
            list.as_array_mut().ok_or_else(wrong)?.push(value);
        } else {
            object.insert(field.json.to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

/// The value of one field: `Err` of the protobuf, `None` for the wrong wire
/// type, `Some(None)` for one that says nothing.
#[expect(clippy::option_option, reason = "the two absences are told apart by the one caller")]
fn value(
    field: &Field,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<Option<Option<Value>>, ProtobufError> {
    let unset = |zero: bool| zero && field.unset_if_zero && !field.repeated;
    let value = match (field.kind, wire) {
        (b's', Wire::Bytes(bytes)) => match text(bytes)? {
            "" if !field.repeated => None,
            text => Some(json!(text)),
        },
        (b'y', Wire::Bytes(bytes)) => Some(json!(BASE64.encode(bytes))),
        (b'b', Wire::Varint(n)) => (!unset(*n == 0)).then(|| json!(*n != 0)),
        (b'i', Wire::Varint(n)) => (!unset(*n == 0)).then(|| json!(*n as i64)),
        (b'd', Wire::Fixed(bits)) => Some(json!(f64::from_bits(*bits))),
        (b'm', Wire::Bytes(bytes)) => match message(field.message, bytes, depth + 1)? {
            Value::Null => None,
            // Go sends an empty status with every object.
            Value::Object(object) if object.is_empty() && field.json == "status" => None,
            value => Some(value),
        },
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn map_entry(field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut found) = (String::new(), None);
    let of = Field {
        json: field.json,
        kind: field.kind,
        map: false,
        repeated: true, // an empty text is a value here
        unset_if_zero: false,
        message: field.message,
    };
    for entry in fields(bytes) {
        match entry? {
            (1, Wire::Bytes(bytes)) => text(bytes)?.clone_into(&mut key),
            (2, wire) => found = value(&of, &wire, depth)?.flatten(),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or_else(|| json!(""))))
}

/// Messages whose JSON is not an object of their fields.
fn special(name: &str, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    let kind = name.rsplit('.').next().unwrap_or_default();
    let value = match kind {
        "Quantity" | "QuantityValue" => json!(match first_bytes(bytes)? {
            Some(bytes) => text(bytes)?,
            None => "0",
        }),
        "RawExtension" | "FieldsV1" | "Json" => match first_bytes(bytes)? {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| ProtobufError::Json(error.to_string()))?,
            None => Value::Null,
        },
        "IntOrString" => int_or_string(bytes)?,
        "Time" | "MicroTime" | "Timestamp" => time(bytes, kind == "MicroTime")?,
        "ExtraValue" | "Verbs" => {
            let mut items = Vec::new();
            for field in fields(bytes) {
                if let (1, Wire::Bytes(bytes)) = field? {
                    items.push(json!(text(bytes)?));
                }
            }
            Value::Array(items)
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    // 1 type (0 number, 1 text), 2 intVal, 3 strVal.
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(n)) => is_text = n == 1,
            (2, Wire::Varint(n)) => number = n as i64,
            (3, Wire::Bytes(bytes)) => text(bytes)?.clone_into(&mut string),
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(n)) => seconds = n as i64,
            (2, Wire::Varint(n)) => {
                nanoseconds = i32::try_from(n).map_err(|_| ProtobufError::Time)?;
            }
            _ => {}
        }
    }
    let time = jiff::Timestamp::new(seconds, nanoseconds).map_err(|_| ProtobufError::Time)?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(json!(time.strftime(format).to_string()))
}

fn first_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    for field in fields(bytes) {
        if let (1, Wire::Bytes(bytes)) = field? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn text(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::NotUtf8)
}
