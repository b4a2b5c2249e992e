//! Checks that several kinds make, in Kubernetes' words.
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::int_or_string::percentage;
use crate::api::{self, FieldError, FieldErrors, FieldPath, Quantity, names};

/// What a form of names is checked with.
pub type Form = fn(&str) -> Result<(), String>;

/// What is wrong with a number below zero.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// A field whose value is `value`, refused with `why`.
pub fn invalid(path: &FieldPath, value: impl Into<Value>, why: impl Into<String>) -> FieldError {
    FieldError::Invalid(path.clone(), value.into(), why.into())
}

/// A field that is missing.
pub fn required(path: &FieldPath, why: &str) -> FieldError {
    FieldError::Required(path.clone(), why.into())
}

/// A field that may not be set.
pub fn forbidden(path: &FieldPath, why: &str) -> FieldError {
    FieldError::Forbidden(path.clone(), why.into())
}

/// `text` has the form that `check` wants.
pub fn form(errors: &mut FieldErrors, path: &FieldPath, text: &str, check: Form) {
    if let Err(why) = check(text) {
        errors.push(invalid(path, text, why));
    }
}

/// `text` is one of `supported`.
pub fn one_of(errors: &mut FieldErrors, path: &FieldPath, text: &str, supported: &[&str]) {
    errors.check(supported.contains(&text), || {
        let supported = supported.iter().map(|&s| s.to_owned()).collect();
        FieldError::NotSupported(path.clone(), text.into(), supported)
    });
}

/// `text` is there, and one of `supported`.
pub fn required_one_of(
    errors: &mut FieldErrors,
    path: &FieldPath,
    text: Option<&str>,
    supported: &[&str],
) {
    match text {
        None | Some("") => errors.push(required(path, "")),
        Some(text) => one_of(errors, path, text, supported),
    }
}

/// A number that may not be below zero.
pub fn not_negative(errors: &mut FieldErrors, path: &FieldPath, number: Option<i64>) {
    if let Some(number) = number {
        errors.check(number >= 0, || invalid(path, number, NOT_NEGATIVE));
    }
}

/// A number that may not be below zero, or a percentage.
pub fn int_or_percent(errors: &mut FieldErrors, path: &FieldPath, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => {
            errors.check(*number >= 0, || invalid(path, *number, NOT_NEGATIVE));
        }
        IntOrString::String(text) => errors.check(percentage(text).is_some(), || {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            invalid(path, text.as_str(), why)
        }),
    }
}

/// A percentage that may not be more than all.
pub fn not_more_than_all(errors: &mut FieldErrors, path: &FieldPath, value: &IntOrString) {
    if let IntOrString::String(text) = value {
        errors.check(percentage(text).is_none_or(|percent| percent <= 100), || {
            invalid(path, text.as_str(), "must not be greater than 100%")
        });
    }
}

/// A port number.
pub fn port(errors: &mut FieldErrors, path: &FieldPath, number: i32) {
    let why = "must be between 1 and 65535, inclusive";
    errors.check((1..=65_535).contains(&number), || invalid(path, number, why));
}

/// An IP address.
pub fn ip(errors: &mut FieldErrors, path: &FieldPath, text: &str) {
    let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    errors.check(text.parse::<IpAddr>().is_ok(), || invalid(path, text, why));
}

/// An IP address and the length of a prefix.
pub fn cidr(errors: &mut FieldErrors, path: &FieldPath, text: &str) {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let most = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
        length.parse::<u8>().ok().filter(|length| *length <= most)
    });
    let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    errors.check(parsed.is_some(), || invalid(path, text, why));
}

/// An address that can be dialled from elsewhere; `text` is what was written.
pub fn not_special(errors: &mut FieldErrors, path: &FieldPath, text: &str, address: IpAddr) {
    let (link_local, multicast) = match address {
        IpAddr::V4(ip) => {
            (ip.is_link_local(), ip.is_multicast() && ip.octets()[..3] == [224, 0, 0])
        }
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] == 0xff02),
    };
    let refused = [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (is, why) in refused {
        errors.check(!is, || invalid(path, text, why));
    }
}

/// A path under a domain, such as `acme.io/foo`.
pub fn domain_prefixed_path(errors: &mut FieldErrors, path: &FieldPath, text: &str) {
    if text.is_empty() {
        errors.push(required(path, ""));
        return;
    }
    let parts = text.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty());
    let Some((host, rest)) = parts else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(invalid(path, text, why));
        return;
    };
    form(errors, path, host, names::dns_subdomain);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    errors.check(rest.chars().all(allowed), || {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        invalid(path, rest, why)
    });
}

/// A field that may not change after creation.
pub fn immutable<T: PartialEq + Serialize>(
    errors: &mut FieldErrors,
    path: &FieldPath,
    new: &T,
    old: &T,
) {
    errors.check(new == old, || FieldError::immutable(path.clone(), json!(new)));
}

/// Labels.
pub fn labels(
    errors: &mut FieldErrors,
    path: &FieldPath,
    labels: Option<&BTreeMap<String, String>>,
) {
    for (key, value) in labels.into_iter().flatten() {
        form(errors, path, key, names::qualified);
        form(errors, path, value, names::label_value);
    }
}

/// Annotations.
pub fn annotations(
    errors: &mut FieldErrors,
    path: &FieldPath,
    annotations: Option<&BTreeMap<String, String>>,
) {
    errors.extend(api::annotations::validate(path, annotations));
}

/// A label selector.
pub fn label_selector(errors: &mut FieldErrors, path: &FieldPath, selector: &LabelSelector) {
    labels(errors, &path.child("matchLabels"), selector.match_labels.as_ref());
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = requirement.values.as_deref().unwrap_or_default();
        let at = path.child("values");
        match requirement.operator.as_str() {
            "In" | "NotIn" => errors.check(!values.is_empty(), || {
                required(&at, "must be specified when `operator` is 'In' or 'NotIn'")
            }),
            "Exists" | "DoesNotExist" => errors.check(values.is_empty(), || {
                forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            }),
            other => {
                let why = "not a valid selector operator";
                errors.push(invalid(&path.child("operator"), other, why));
            }
        }
        form(errors, &path.child("key"), &requirement.key, names::qualified);
        for (i, value) in values.iter().enumerate() {
            form(errors, &at.index(i), value, names::label_value);
        }
    }
}

/// Whether `selector` selects objects with these labels.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let get = |key: &str| labels.and_then(|labels| labels.get(key));
    let mut exact = selector.match_labels.iter().flatten();
    exact.all(|(key, value)| get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let value = get(&requirement.key);
            let listed = value
                .is_some_and(|v| requirement.values.as_ref().is_some_and(|all| all.contains(v)));
            match requirement.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// Whether `selector` has no requirement at all.
pub fn selects_all(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// An amount that parses and is not negative.
pub fn quantity(
    errors: &mut FieldErrors,
    path: &FieldPath,
    quantity: &resource::Quantity,
) -> Option<Quantity> {
    match Quantity::try_from(quantity) {
        Ok(parsed) => {
            errors
                .check(!parsed.is_negative(), || invalid(path, quantity.0.as_str(), NOT_NEGATIVE));
            Some(parsed)
        }
        Err(error) => {
            errors.push(invalid(path, quantity.0.as_str(), error.to_string()));
            None
        }
    }
}

/// Writes amounts in canonical form, thousandths being the smallest; what does not parse stays for validation.
pub fn canonical(amounts: Option<&mut BTreeMap<String, resource::Quantity>>) {
    for amount in amounts.into_iter().flat_map(BTreeMap::values_mut) {
        if let Ok(parsed) = Quantity::try_from(&*amount) {
            *amount = parsed.rounded_to_milli().into();
        }
    }
}

/// Labels as `kubectl` shows a selector: `a=b,c=d`.
pub fn joined(labels: Option<&BTreeMap<String, String>>) -> String {
    let parts: Vec<String> =
        labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if parts.is_empty() { "<none>".into() } else { parts.join(",") }
}

/// A label selector as `kubectl` shows it: `a=b,c in (d,e),!f`.
pub fn selector_text(selector: &LabelSelector) -> String {
    match api::selector_text(selector) {
        text if text.is_empty() => "<none>".into(),
        text => text,
    }
}
