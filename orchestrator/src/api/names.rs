//! The forms of names, in the words of `k8s.io/apimachinery/pkg/util/validation`.
//!
//! Each check answers what is wrong, as the client is told.

/// As many bytes as a DNS label may have (RFC 1123).
const LABEL_MAX: usize = 63;
/// As many bytes as a DNS subdomain may have (RFC 1123).
const SUBDOMAIN_MAX: usize = 253;
/// As many bytes as the name of a port may have (RFC 6335).
const PORT_NAME_MAX: usize = 15;

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

/// A key of a ConfigMap or Secret, which may become a file's name.
pub fn config_key(key: &str) -> Result<(), String> {
    at_most(key, SUBDOMAIN_MAX)?;
    let is = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(is) {
        return Err("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".into());
    }
    match key {
        "." => Err("must not be '.'".into()),
        ".." => Err("must not be '..'".into()),
        _ if key.starts_with("..") => Err("must not start with '..'".into()),
        _ => Ok(()),
    }
}

/// The name of an environment variable.
pub fn env_var(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return Ok(());
    }
    Err("a valid environment variable name must consist only of printable ASCII characters other than '='".into())
}

/// The name of a port (RFC 6335).
pub fn port_name(name: &str) -> Result<(), String> {
    at_most(name, PORT_NAME_MAX)?;
    let text = if !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        "must contain only alphanumeric characters (a-z, 0-9), and hyphens (-)"
    } else if !name.bytes().any(|c| c.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if name.contains("--") {
        "must not contain consecutive hyphens"
    } else if name.starts_with('-') || name.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return Ok(());
    };
    Err(text.into())
}

/// A DNS subdomain whose first label is `*`.
pub fn wildcard_subdomain(name: &str) -> Result<(), String> {
    at_most(name, SUBDOMAIN_MAX)?;
    if name.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        return Ok(());
    }
    Err("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".into())
}

/// The name of an HTTP header.
pub fn http_header(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Ok(());
    }
    Err("a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".into())
}

/// A name that may stand alone between two slashes of a path.
pub fn path_segment(name: &str) -> Result<(), String> {
    if name == "." || name == ".." {
        return Err(format!("may not be '{name}'"));
    }
    match name.chars().find(|c| matches!(c, '/' | '%')) {
        Some(c) => Err(format!("may not contain '{c}'")),
        None => Ok(()),
    }
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
