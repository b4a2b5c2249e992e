//! Lines of `Key:  value`, aligned within their level.
use jiff::Timestamp;
use serde_json::Value;

use super::painted;
use crate::api::age;
use crate::cli::output::{Tone, paint};

/// Spaces of one level.
const INDENT: usize = 2;

/// Characters between the longest key and its value.
const GAP: usize = 2;

/// What is told about an object.
#[derive(Debug, Default)]
pub(super) struct Sheet(Vec<Entry>);

#[derive(Debug)]
enum Entry {
    Line {
        level: usize,
        key: String,
        value: String,
    },
    /// Text that is laid out already.
    Block(String),
}

impl Sheet {
    /// A key and its value; none of either makes a heading or a further line.
    pub(super) fn line(&mut self, level: usize, key: &str, value: &str) {
        self.0.push(Entry::Line { level, key: key.into(), value: value.into() });
    }

    /// A line if there is something to say.
    pub(super) fn some(&mut self, level: usize, key: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => self.line(level, key, text),
            other => self.line(level, key, &other.to_string()),
        }
    }

    /// A map, an entry a line.
    pub(super) fn map(&mut self, level: usize, key: &str, map: &Value) {
        let entries = map.as_object().filter(|map| !map.is_empty());
        let Some(entries) = entries else { return self.line(level, key, "<none>") };
        for (i, (name, value)) in entries.iter().enumerate() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.line(level, if i == 0 { key } else { "" }, &format!("{name}={value}"));
        }
    }

    /// A heading and what stands below it.
    pub(super) fn block(&mut self, heading: &str, text: &str) {
        self.0.push(Entry::Block(format!(
            "{}\n{text}",
            paint().text(Tone::Strong, &format!("{heading}:"))
        )));
    }

    /// The text.
    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for entry in &self.0 {
            if let Entry::Line { level, key, value } = entry
                && !value.is_empty()
            {
                widths.resize(widths.len().max(level + 1), 0);
                widths[*level] = widths[*level].max(key.chars().count() + 1);
            }
        }
        let mut text = String::new();
        for entry in &self.0 {
            match entry {
                Entry::Block(block) => text.push_str(block),
                Entry::Line { level, key, value } => {
                    let indent = " ".repeat(level * INDENT);
                    let key = if key.is_empty() { String::new() } else { format!("{key}:") };
                    if value.is_empty() {
                        text.push_str(&format!("{indent}{}\n", paint().text(Tone::Strong, &key)));
                        continue;
                    }
                    let width = widths[*level] + GAP;
                    // Further lines of a value stand below its first.
                    let below = format!("\n{}", " ".repeat(level * INDENT + width));
                    let value = painted(value).trim_end().replace('\n', &below);
                    text.push_str(&format!("{indent}{key:width$}{value}\n"));
                }
            }
        }
        text
    }
}

/// How long ago a time was.
pub(super) fn age_of(time: &str) -> String {
    age(time.parse().ok(), Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_aligned_within_a_level() {
        let mut sheet = Sheet::default();
        sheet.line(0, "Name", "web");
        sheet.map(0, "Annotations", &json!({"a": "1", "b": "2"}));
        sheet.line(0, "Containers", "");
        sheet.line(1, "Image", "x");
        sheet.some(1, "Nothing", &Value::Null);
        assert_eq!(
            sheet.render(),
            "Name:         web\nAnnotations:  a=1\n              b=2\nContainers:\n  Image:  x\n"
        );
    }
}
