//! The forms of names, in the words of `k8s.io/apimachinery/pkg/util/validation`.
//!
//! Each check answers what is wrong, as the client is told.

/// As many bytes as a DNS label may have (RFC 1123).
const LABEL_MAX: usize = 63;
/// As many bytes as a DNS subdomain may have (RFC 1123).
const SUBDOMAIN_MAX: usize = 253;

/// A DNS label: the names of namespaces and services' pods.
pub fn dns_label(name: &str) -> Result<(), String> {
    at_most(name, LABEL_MAX)?;
    if is_label(name) {
        return Ok(());
    }
    Err("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".into())
}

/// A DNS label that begins with a letter: the names of services.
pub fn dns_1035_label(name: &str) -> Result<(), String> {
    at_most(name, LABEL_MAX)?;
    if is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(());
    }
    Err("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".into())
}

/// A DNS subdomain: the names of most objects.
pub fn dns_subdomain(name: &str) -> Result<(), String> {
    at_most(name, SUBDOMAIN_MAX)?;
    if name.split('.').all(is_label) {
        return Ok(());
    }
    Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".into())
}

/// A label's or annotation's key: a name, with a DNS subdomain and a slash before it or without.
pub fn qualified(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Err("prefix part must be non-empty".into());
            }
            dns_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
    };
    if name.is_empty() {
        return Err("name part must be non-empty".into());
    }
    at_most(name, LABEL_MAX).map_err(|why| format!("name part {why}"))?;
    if is_qualified(name) {
        return Ok(());
    }
    Err("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')".into())
}

/// A label's value.
pub fn label_value(value: &str) -> Result<(), String> {
    at_most(value, LABEL_MAX)?;
    if value.is_empty() || is_qualified(value) {
        return Ok(());
    }
    Err("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".into())
}

fn at_most(text: &str, bytes: usize) -> Result<(), String> {
    if text.len() > bytes {
        return Err(format!("must be no more than {bytes} characters"));
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    edges(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn is_qualified(text: &str) -> bool {
    edges(text, |c| c.is_ascii_alphanumeric())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn edges(text: &str, is: impl Fn(u8) -> bool) -> bool {
    text.bytes().next().is_some_and(&is) && text.bytes().next_back().is_some_and(&is)
}
