//! What is wrong with the environment of a container.
use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};

use crate::api::{FieldError, FieldErrors, FieldPath, names};
use crate::apis::checks::{form, invalid, required};

/// Fields of a Pod that a variable may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a Pod that a file may show.
const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Resources of a container that a variable may show.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What CPU may be counted in.
const CPU_DIVISORS: [&str; 2] = ["1m", "1"];
/// What memory may be counted in.
const MEMORY_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Checks `env`.
pub fn variables(errors: &mut FieldErrors, path: &FieldPath, variables: &[EnvVar]) {
    for (i, variable) in variables.iter().enumerate() {
        let path = path.index(i);
        if variable.name.is_empty() {
            errors.push(required(&path.child("name"), ""));
        } else {
            form(errors, &path.child("name"), &variable.name, names::env_var);
        }
        if let Some(source) = &variable.value_from {
            let valued = variable.value.as_ref().is_some_and(|value| !value.is_empty());
            value_from(errors, &path.child("valueFrom"), source, valued);
        }
    }
}

/// Checks `envFrom`.
pub fn sources(errors: &mut FieldErrors, path: &FieldPath, sources: &[EnvFromSource]) {
    for (i, source) in sources.iter().enumerate() {
        let path = path.index(i);
        if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            form(errors, &path.child("prefix"), prefix, names::env_var);
        }
        let config = source.config_map_ref.as_ref().map(|source| ("configMapRef", &source.name));
        let secret = source.secret_ref.as_ref().map(|source| ("secretRef", &source.name));
        for (field, name) in config.iter().chain(&secret) {
            let path = path.child(field).child("name");
            if name.is_empty() {
                errors.push(required(&path, ""));
            } else {
                form(errors, &path, name, names::dns_subdomain);
            }
        }
        match (config, secret) {
            (Some(_), Some(_)) => {
                errors.push(invalid(
                    &path,
                    "",
                    "may not have more than one field specified at a time",
                ));
            }
            (None, None) => {
                errors.push(invalid(
                    &path,
                    "",
                    "must specify one of: `configMapRef` or `secretRef`",
                ));
            }
            _ => {}
        }
    }
}

fn value_from(errors: &mut FieldErrors, path: &FieldPath, source: &EnvVarSource, valued: bool) {
    let mut count = 0;
    if let Some(of) = &source.field_ref {
        count += 1;
        field(errors, &path.child("fieldRef"), of, &FIELDS);
    }
    if let Some(of) = &source.resource_field_ref {
        count += 1;
        resource_field(errors, &path.child("resourceFieldRef"), of);
    }
    if let Some(of) = &source.config_map_key_ref {
        count += 1;
        key(errors, &path.child("configMapKeyRef"), &of.name, &of.key);
    }
    if let Some(of) = &source.secret_key_ref {
        count += 1;
        key(errors, &path.child("secretKeyRef"), &of.name, &of.key);
    }
    if source.file_key_ref.is_some() {
        count += 1;
        let why = "variables out of files are not supported";
        errors.push(FieldError::Forbidden(path.child("fileKeyRef"), why.into()));
    }
    match count {
        0 => errors.push(invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        )),
        _ if valued => {
            errors.push(invalid(path, "", "may not be specified when `value` is not empty"));
        }
        1 => {}
        _ => errors.push(invalid(path, "", "may not have more than one field specified at a time")),
    }
}

fn key(errors: &mut FieldErrors, path: &FieldPath, name: &str, key: &str) {
    errors.check(!name.is_empty(), || required(&path.child("name"), ""));
    if key.is_empty() {
        errors.push(required(&path.child("key"), ""));
    } else {
        form(errors, &path.child("key"), key, names::config_key);
    }
}

/// Checks a field that a file of a volume shows.
pub fn file_field(errors: &mut FieldErrors, path: &FieldPath, of: &ObjectFieldSelector) {
    field(errors, path, of, &FILE_FIELDS);
}

fn field(errors: &mut FieldErrors, path: &FieldPath, of: &ObjectFieldSelector, supported: &[&str]) {
    let api_version = of.api_version.as_deref().unwrap_or_default();
    errors.check(!api_version.is_empty(), || required(&path.child("apiVersion"), ""));
    let path = path.child("fieldPath");
    let text = of.field_path.as_str();
    if text.is_empty() {
        errors.push(required(&path, ""));
        return;
    }
    if let Some((list, key)) = subscript(text) {
        match list {
            "metadata.labels" => form(errors, &path, key, names::qualified),
            "metadata.annotations" => {
                if let Err(why) = names::qualified(&key.to_lowercase()) {
                    errors.push(invalid(&path, key, why));
                }
            }
            _ => errors.push(invalid(&path, list, "does not support subscript")),
        }
        return;
    }
    let known = FIELDS.contains(&text) || FILE_FIELDS.contains(&text);
    if !known {
        let why = format!("error converting fieldPath: field label not supported: {text}");
        errors.push(invalid(&path, text, why));
    } else if !supported.contains(&text) {
        let supported = supported.iter().map(|&field| field.to_owned()).collect();
        errors.push(FieldError::NotSupported(path, text.into(), supported));
    }
}

/// `metadata.labels['key']` in its parts.
fn subscript(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix("']")?.split_once("['")
}

/// Checks a resource of a container that is shown to it.
pub fn resource_field(errors: &mut FieldErrors, path: &FieldPath, of: &ResourceFieldSelector) {
    let at = path.child("resource");
    let name = of.resource.as_str();
    if name.is_empty() {
        errors.push(required(&at, ""));
        return;
    }
    if !RESOURCES.contains(&name) {
        let supported = RESOURCES.iter().map(|&name| name.to_owned()).collect();
        errors.push(FieldError::NotSupported(at, name.into(), supported));
        return;
    }
    let divisor = of.divisor.as_ref().map_or("0", |divisor| divisor.0.as_str());
    let (_, what) = name.split_once('.').unwrap_or(("", name));
    let allowed: &[&str] = if what == "cpu" { &CPU_DIVISORS } else { &MEMORY_DIVISORS };
    errors.check(divisor == "0" || allowed.contains(&divisor), || {
        let list = allowed.join(", ");
        let why = format!("only divisor's values {list} are supported with the {what} resource");
        invalid(&path.child("divisor"), divisor, why)
    });
}
