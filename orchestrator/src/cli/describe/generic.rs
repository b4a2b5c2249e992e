//! Any object, field by field.
use serde_json::Value;

use super::sheet::Sheet;

/// Levels that are taken apart; deeper ones are shown as JSON.
const MAX_DEPTH: usize = 12;

/// As much of a long text as is shown.
const MAX_TEXT: usize = 2048;

/// Everything but what stands in every head.
pub(super) fn describe(object: &Value, sheet: &mut Sheet) {
    sheet.some(0, "API Version", &object["apiVersion"]);
    sheet.some(0, "Kind", &object["kind"]);
    for (name, value) in object.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        field(0, &title(name), value, sheet);
    }
}

fn field(level: usize, name: &str, value: &Value, sheet: &mut Sheet) {
    match value {
        Value::Object(map) if map.is_empty() => sheet.line(level, name, "{}"),
        Value::Array(list) if list.is_empty() => sheet.line(level, name, "[]"),
        Value::Object(_) | Value::Array(_) if level >= MAX_DEPTH => {
            sheet.line(level, name, &value.to_string());
        }
        Value::Object(map) => {
            sheet.line(level, name, "");
            for (key, value) in map {
                field(level + 1, &title(key), value, sheet);
            }
        }
        Value::Array(list) if list.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = list.iter().map(plain).collect();
            sheet.line(level, name, &items.join("\n"));
        }
        Value::Array(list) => {
            for (i, item) in list.iter().enumerate() {
                field(level, &format!("{name} {}", i + 1), item, sheet);
            }
        }
        plain_value => sheet.line(level, name, &plain(plain_value)),
    }
}

/// A value in one line, or a long text's beginning.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::String(text) if text.chars().count() > MAX_TEXT => {
            let shown: String = text.chars().take(MAX_TEXT).collect();
            format!("{shown}… ({} bytes)", text.len())
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `resourceVersion` for people: `Resource Version`; keys that are no field names stay.
fn title(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut out = String::new();
    let mut before = ' ';
    for (i, c) in name.chars().enumerate() {
        if i == 0 {
            out.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !before.is_uppercase() {
                out.push(' ');
            }
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_named_for_people_and_lists_numbered() {
        let mut sheet = Sheet::default();
        let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {},
            "spec": {"podCIDR": "10.0.0.0/8", "items": [{"a": 1}], "tags": ["x", "y"]}});
        describe(&object, &mut sheet);
        assert_eq!(
            sheet.render(),
            "API Version:  example.com/v1\nKind:         Thing\nSpec:\n  Items 1:\n    A:  1\n  \
             Pod CIDR:  10.0.0.0/8\n  Tags:      x\n             y\n"
        );
    }
}
