//! `secrets`
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::config_map::{DATA_MAX, IMMUTABLE};
use crate::api::{
    Column, FieldError, FieldErrors, FieldPath, Operation, SelectableField, Strategy, names,
};
use crate::apis::checks::{forbidden, form, immutable, invalid, required};

/// The type of a Secret that names none.
const OPAQUE: &str = "Opaque";
/// The annotation a service account's token must carry.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// The `secrets` resource.
#[derive(Debug)]
pub struct Secrets;

impl Strategy for Secrets {
    type Kind = Secret;

    const COLUMNS: &'static [Column<Secret>] = &[
        Column::new(
            "Type",
            "Used to facilitate programmatic handling of its data",
            |s: &Secret, _| json!(s.type_),
        ),
        Column::new("Data", "The number of its keys", |s: &Secret, _| {
            json!(s.data.as_ref().map_or(0, |data| data.len()))
        })
        .integer(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Secret>] =
        &[SelectableField { path: "type", value: |s| s.type_.clone().unwrap_or_default() }];

    fn default(&self, secret: &mut Secret) {
        if secret.type_.as_ref().is_none_or(String::is_empty) {
            secret.type_ = Some(OPAQUE.into());
        }
    }

    fn prepare(&self, secret: &mut Secret, operation: Operation<'_, Secret>) {
        if let Some(text) = secret.string_data.take() {
            let data = secret.data.get_or_insert_default();
            data.extend(text.into_iter().map(|(key, value)| (key, ByteString(value.into()))));
        }
        if let Some(old) = operation.old()
            && secret.type_.as_ref().is_none_or(String::is_empty)
        {
            secret.type_.clone_from(&old.type_);
        }
    }

    fn validate(&self, new: &Secret, operation: Operation<'_, Secret>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("data");
        let mut total = 0;
        for (key, value) in new.data.iter().flatten() {
            form(&mut errors, &path.key(key), key, names::config_key);
            total += value.0.len();
        }
        errors.check(total <= DATA_MAX, || FieldError::TooLong(path.clone(), DATA_MAX));
        typed(&mut errors, &path, new);
        if let Some(old) = operation.old() {
            immutable(&mut errors, &FieldPath::new("type"), &new.type_, &old.type_);
            if old.immutable == Some(true) {
                errors.check(new.immutable == Some(true), || {
                    forbidden(&FieldPath::new("immutable"), IMMUTABLE)
                });
                errors.check(new.data == old.data, || forbidden(&path, IMMUTABLE));
            }
        }
        errors
    }
}

/// What the type of a Secret asks of its keys.
fn typed(errors: &mut FieldErrors, path: &FieldPath, secret: &Secret) {
    let get = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let mut must = |keys: &[&str]| {
        for key in keys {
            errors.check(get(key).is_some(), || required(&path.key(key), ""));
        }
    };
    let mut document = None;
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/tls" => must(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => {
            let key = get("ssh-privatekey").filter(|key| !key.0.is_empty());
            errors.check(key.is_some(), || required(&path.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/basic-auth" if get("username").or(get("password")).is_none() => {
            must(&["username", "password"]);
        }
        "kubernetes.io/dockercfg" => document = Some(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => document = Some(".dockerconfigjson"),
        "kubernetes.io/service-account-token" => {
            let annotation =
                secret.metadata.annotations.as_ref().and_then(|all| all.get(SERVICE_ACCOUNT));
            let path = FieldPath::new("metadata").child("annotations").key(SERVICE_ACCOUNT);
            errors.check(annotation.is_some_and(|name| !name.is_empty()), || required(&path, ""));
        }
        _ => {}
    }
    let Some(key) = document else { return };
    match get(key) {
        None => errors.push(required(&path.key(key), "")),
        Some(bytes) => {
            if let Err(why) = serde_json::from_slice::<Value>(&bytes.0) {
                let hidden = "<secret contents redacted>";
                errors.push(invalid(&path.key(key), hidden, why.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, fields, object, update, with};

    #[test]
    fn string_data_is_folded_into_data() {
        let secret = json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}});
        let created = create(&object("v1", "Secret", secret)).unwrap();
        assert_eq!(created.body["data"], json!({"a": "eQ==", "b": "eg=="}));
        assert_eq!(created.body["type"], "Opaque");
        assert!(!created.body.contains_key("stringData"));
        assert_eq!(cells(&created), ["Opaque", "2"]);
        assert_eq!(fields(&created), ["type=Opaque"]);
    }

    #[test]
    fn the_type_cannot_change_and_is_kept_if_left_out() {
        let old = create(&object("v1", "Secret", json!({"type": "a/b"}))).unwrap();
        let kept = update(&old, &object("v1", "Secret", json!({}))).unwrap();
        assert_eq!(kept.body["type"], "a/b");
        let errors = update(&old, &with(&old, "/type", json!("c/d"))).unwrap_err();
        assert_eq!(errors, ["type: Invalid value: \"c/d\": field is immutable"]);
    }

    #[test]
    fn types_require_their_keys() {
        let errors = |kind: &str, data| {
            create_errors(&object("v1", "Secret", json!({"type": kind, "stringData": data})))
        };
        assert_eq!(
            errors("kubernetes.io/tls", json!({"tls.crt": "x"})),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            errors("kubernetes.io/basic-auth", json!({})),
            ["data[username]: Required value", "data[password]: Required value"]
        );
        assert!(errors("kubernetes.io/basic-auth", json!({"password": "x"})).is_empty());
        assert_eq!(
            errors("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""})),
            ["data[ssh-privatekey]: Required value"]
        );
        assert_eq!(
            errors("kubernetes.io/service-account-token", json!({})),
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
        );
        let broken =
            errors("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "{hush"}));
        assert!(broken[0].contains("<secret contents redacted>"), "{broken:?}");
        assert!(!broken[0].contains("hush"), "{broken:?}");
    }
}
