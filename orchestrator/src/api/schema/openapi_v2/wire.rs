//! gnostic's protobuf form of an OpenAPI v2 document (`openapiv2/OpenAPIv2.proto`),
//! as far as our document goes.
use serde_json::{Map, Value};

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.0.push((number as u8) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: usize, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn nested(&mut self, field: usize, message: Self) {
        self.bytes(field, &message.0);
    }

    fn flag(&mut self, field: usize, value: bool) {
        if value {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    /// The text that `from` has under `name`.
    fn text(&mut self, field: usize, from: &Value, name: &str) {
        if let Some(text) = from.get(name).and_then(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    /// The texts that `from` has under `name`.
    fn texts(&mut self, field: usize, from: &Value, name: &str) {
        let texts = from.get(name).and_then(Value::as_array).into_iter().flatten();
        for text in texts.filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    /// What `from` has under names that begin with `x-`, as YAML.
    fn extensions(&mut self, field: usize, from: &Value) {
        for (name, value) in entries(from).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.bytes(2, format!("{value}\n").as_bytes());
            self.named(field, name, any);
        }
    }

    fn named(&mut self, field: usize, name: &str, value: Self) {
        let mut entry = Self::default();
        entry.bytes(1, name.as_bytes());
        entry.nested(2, value);
        self.nested(field, entry);
    }
}

/// `Document`.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, document, "swagger");
    let mut info = Message::default();
    info.text(1, &document["info"], "title");
    info.text(2, &document["info"], "version");
    message.nested(2, info);
    let mut paths = Message::default();
    for (path, item) in entries(&document["paths"]) {
        paths.named(2, path, path_item(item));
    }
    message.nested(8, paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(&document["definitions"]) {
        definitions.named(1, name, schema(definition));
    }
    message.nested(9, definitions);
    message.0
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(found) = item.get(method) {
            message.nested(field, operation(found));
        }
    }
    parameters(&mut message, 9, item);
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.text(5, operation, "operationId");
    message.texts(6, operation, "produces");
    message.texts(7, operation, "consumes");
    parameters(&mut message, 8, operation);
    let mut responses = Message::default();
    for (code, response) in entries(&operation["responses"]) {
        let mut written = Message::default();
        written.text(1, response, "description");
        if let Some(of) = response.get("schema") {
            written.nested(2, wrapped(1, schema(of)));
        }
        responses.named(1, code, wrapped(1, written));
    }
    message.nested(9, responses);
    message.extensions(13, operation);
    message
}

fn parameters(message: &mut Message, field: usize, of: &Value) {
    for parameter in of.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let mut written = Message::default();
        let required = parameter["required"] == true;
        let unique = parameter["uniqueItems"] == true;
        let item = match parameter["in"].as_str() {
            Some("body") => {
                written.text(2, parameter, "name");
                written.text(3, parameter, "in");
                written.flag(4, required);
                written.nested(5, schema(&parameter["schema"]));
                wrapped(1, written)
            }
            place => {
                let in_path = place == Some("path");
                written.flag(1, required);
                written.text(2, parameter, "in");
                written.text(4, parameter, "name");
                written.text(if in_path { 5 } else { 6 }, parameter, "type");
                written.flag(if in_path { 19 } else { 20 }, unique);
                wrapped(2, wrapped(if in_path { 4 } else { 3 }, written))
            }
        };
        message.nested(field, wrapped(1, item));
    }
}

fn schema(of: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, of, "$ref");
    message.text(2, of, "format");
    message.text(4, of, "description");
    message.texts(19, of, "required");
    match of.get("additionalProperties") {
        Some(Value::Bool(any)) => {
            let mut item = Message::default();
            item.flag(2, *any);
            message.nested(21, item);
        }
        Some(values) => message.nested(21, wrapped(1, schema(values))),
        None => {}
    }
    if let Some(kind) = of.get("type").and_then(Value::as_str) {
        let mut item = Message::default();
        item.bytes(1, kind.as_bytes());
        message.nested(22, item);
    }
    if let Some(items) = of.get("items") {
        message.nested(23, wrapped(1, schema(items)));
    }
    if let Some(properties) = of.get("properties") {
        let mut written = Message::default();
        for (name, property) in entries(properties) {
            written.named(1, name, schema(property));
        }
        message.nested(25, written);
    }
    message.extensions(31, of);
    message
}

/// A message that holds another in a field.
fn wrapped(field: usize, inner: Message) -> Message {
    let mut outer = Message::default();
    outer.nested(field, inner);
    outer
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_written_field_by_field() {
        let written = document(&json!({
            "swagger": "2.0", "info": {"title": "T", "version": "v"}, "paths": {},
            "definitions": {"a": {"type": "object", "x-y": 1}},
        }));
        let head = b"\x0a\x032.0\x12\x06\x0a\x01T\x12\x01v\x42\x00";
        assert_eq!(&written[..head.len()], head);
        assert!(written.windows(8).any(|part| part == b"\x0a\x06object"));
        assert!(written.ends_with(b"\x0a\x03x-y\x12\x04\x12\x021\n"), "{written:x?}");
    }

    #[test]
    fn long_messages_have_long_lengths() {
        let text = "d".repeat(300);
        let written = schema(&json!({"description": text})).0;
        assert_eq!(written[..3], [0x22, 0xac, 0x02]);
        assert_eq!(written.len(), 303);
    }
}
