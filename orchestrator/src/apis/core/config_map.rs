//! `configmaps`
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::api::{Column, FieldError, FieldErrors, FieldPath, Operation, Strategy, names};
use crate::apis::checks::{forbidden, form, invalid};

/// As many bytes as all values of a ConfigMap or Secret may have together; the same as upstream's.
pub const DATA_MAX: usize = 1024 * 1024;

/// What is wrong with a change to an immutable ConfigMap or Secret.
pub const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// The `configmaps` resource.
#[derive(Debug)]
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Kind = ConfigMap;

    const SHORT_NAMES: &'static [&'static str] = &["cm"];
    const COLUMNS: &'static [Column<ConfigMap>] =
        &[Column::new("Data", "The number of its keys", |c, _| json!(keys(c))).integer()];

    fn validate(&self, new: &ConfigMap, operation: Operation<'_, ConfigMap>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let (text, binary) = (FieldPath::new("data"), FieldPath::new("binaryData"));
        let mut total = 0;
        for (key, value) in new.data.iter().flatten() {
            form(&mut errors, &text.key(key), key, names::config_key);
            if new.binary_data.as_ref().is_some_and(|all| all.contains_key(key)) {
                let why = "duplicate of key present in binaryData";
                errors.push(invalid(&text.key(key), key.as_str(), why));
            }
            total += value.len();
        }
        for (key, value) in new.binary_data.iter().flatten() {
            form(&mut errors, &binary.key(key), key, names::config_key);
            total += value.0.len();
        }
        // `[]` is how upstream writes the whole object.
        errors.check(total <= DATA_MAX, || FieldError::TooLong(FieldPath::new("[]"), DATA_MAX));
        if let Some(old) = operation.old().filter(|old| old.immutable == Some(true)) {
            errors.check(new.immutable == Some(true), || {
                forbidden(&FieldPath::new("immutable"), IMMUTABLE)
            });
            errors.check(new.data == old.data, || forbidden(&text, IMMUTABLE));
            errors.check(new.binary_data == old.binary_data, || forbidden(&binary, IMMUTABLE));
        }
        errors
    }
}

fn keys(config: &ConfigMap) -> usize {
    config.data.as_ref().map_or(0, |all| all.len())
        + config.binary_data.as_ref().map_or(0, |all| all.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    #[test]
    fn both_sorts_of_data_are_counted() {
        let config = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAA="}});
        assert_eq!(cells(&create(&object("v1", "ConfigMap", config)).unwrap()), ["3"]);
    }

    #[test]
    fn keys_must_be_file_names_and_stand_once() {
        let config = json!({"data": {"a b": "1", "..": "", "x": ""}, "binaryData": {"x": ""}});
        let errors = create_errors(&object("v1", "ConfigMap", config));
        assert_eq!(
            errors,
            [
                "data[..]: Invalid value: \"..\": must not be '..'",
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                "data[x]: Invalid value: \"x\": duplicate of key present in binaryData",
            ]
        );
    }

    #[test]
    fn a_mebibyte_is_the_most() {
        let fits = object("v1", "ConfigMap", json!({"data": {"a": "x".repeat(1 << 20)}}));
        assert!(create(&fits).is_ok());
        let errors = create_errors(&with(&fits, "/data/b", json!("y")));
        assert_eq!(errors, ["[]: Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn an_immutable_map_stays_as_it_is() {
        let old = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "1"}}));
        let new = object("v1", "ConfigMap", json!({"immutable": false, "data": {"a": "2"}}));
        assert_eq!(
            update(&old, &new).unwrap_err(),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(update(&old, &old).is_ok());
    }
}
