//! A ConfigMap, and a Secret without what it keeps.
use serde_json::Value;

use super::generic::plain;
use super::sheet::Sheet;

/// What is told about a ConfigMap.
pub(super) fn describe_config(object: &Value, sheet: &mut Sheet) {
    entries("Data", &object["data"], plain, sheet);
    if object["binaryData"].is_object() {
        entries("Binary Data", &object["binaryData"], size, sheet);
    }
    sheet.some(0, "Immutable", &object["immutable"]);
}

/// What is told about a Secret: how much it holds, never what.
pub(super) fn describe_secret(object: &Value, sheet: &mut Sheet) {
    sheet.some(0, "Type", &object["type"]);
    entries("Data", &object["data"], size, sheet);
    sheet.some(0, "Immutable", &object["immutable"]);
}

fn entries(heading: &str, map: &Value, show: fn(&Value) -> String, sheet: &mut Sheet) {
    let Some(entries) = map.as_object().filter(|map| !map.is_empty()) else {
        return sheet.line(0, heading, "<none>");
    };
    sheet.line(0, heading, "");
    for (key, value) in entries {
        sheet.line(1, key, &show(value));
    }
}

/// Bytes behind base64.
fn size(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let padding = text.chars().rev().take_while(|c| *c == '=').count();
    format!("{} bytes", (text.len() / 4 * 3).saturating_sub(padding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_secret_holds_is_counted_not_shown() {
        let mut sheet = Sheet::default();
        let secret = json!({"type": "Opaque", "data": {"password": "aGVsbG8="}});
        describe_secret(&secret, &mut sheet);
        assert_eq!(sheet.render(), "Type:  Opaque\nData:\n  password:  5 bytes\n");
    }

    #[test]
    fn keys_of_a_config_map_stay_as_they_are() {
        let mut sheet = Sheet::default();
        let map =
            json!({"data": {"color": "blue", "app.conf": "a\nb"}, "binaryData": {"b": "AAAA"}});
        describe_config(&map, &mut sheet);
        assert_eq!(
            sheet.render(),
            "Data:\n  app.conf:  a\n             b\n  color:     blue\nBinary Data:\n  b:         3 bytes\n"
        );
    }
}
