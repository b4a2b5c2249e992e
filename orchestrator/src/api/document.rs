//! How deep and how large a JSON document is.
use std::io;

use serde_json::Value;

/// As many levels as a document may nest: its parser takes 127, and who owns its fields is
/// written beside it some levels deeper.
pub const LEVELS_MAX: usize = 100;

/// The levels of a document: 0 for a plain value.
pub fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// The levels of a document that is written already.
pub fn levels_of_json(json: &[u8]) -> usize {
    let (mut level, mut deepest, mut in_text) = (0_usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_text = !in_text,
            // What follows belongs to it, be it a quote.
            b'\\' if in_text => {
                bytes.next();
            }
            _ if in_text => {}
            b'{' | b'[' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// As many bytes as a document has when it is written.
pub fn size(value: &Value) -> usize {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value)
        .expect("a document can be written, and is only counted");
    count.0
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn levels_and_size_are_those_of_the_text() {
        for (value, expected) in [
            (json!(1), 0),
            (json!([]), 1),
            (json!({"a": [{}, 1], "b": [[[]]]}), 4),
            (json!({"a\"{[": "\\\"]{{{"}), 1),
        ] {
            let text = value.to_string();
            assert_eq!(levels(&value), expected, "{text}");
            assert_eq!(levels_of_json(text.as_bytes()), expected, "{text}");
            assert_eq!(size(&value), text.len());
        }
    }
}
