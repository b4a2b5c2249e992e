//! Validation errors that name the offending field, in Kubernetes' words.
use std::fmt;

use serde_json::Value;

/// The path of a field, such as `spec.containers[0].image`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// A path of one field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
    /// This path extended by a field.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }
    /// This path extended by a list index.
    #[must_use]
    pub fn index(&self, i: usize) -> Self {
        Self(format!("{}[{i}]", self.0))
    }
    /// This path extended by a map key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One invalid field; becomes one `causes[]` entry of a `Status`.
///
/// The texts and reasons are those of `k8s.io/apimachinery` `field.Error`.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldError {
    /// A mandatory field is empty.
    Required(FieldPath, String),
    /// The value is not acceptable: field, rejected value, why.
    Invalid(FieldPath, Value, String),
    /// The value is not one of these: field, rejected value, supported values.
    NotSupported(FieldPath, Value, Vec<String>),
    /// The value stands twice where it may stand once.
    Duplicate(FieldPath, Value),
    /// The field may not be set here: field, why.
    Forbidden(FieldPath, String),
    /// More bytes than allowed: field, limit.
    TooLong(FieldPath, usize),
    /// More items than allowed: field, actual, limit.
    TooMany(FieldPath, usize, usize),
    /// The value refers to something that is not there.
    NotFound(FieldPath, Value),
}

impl FieldError {
    /// The field cannot change after creation; `value` is the one refused.
    pub fn immutable(path: FieldPath, value: Value) -> Self {
        Self::Invalid(path, value, "field is immutable".into())
    }

    /// The field.
    pub fn path(&self) -> &FieldPath {
        match self {
            Self::Required(path, _)
            | Self::Invalid(path, ..)
            | Self::NotSupported(path, ..)
            | Self::Duplicate(path, _)
            | Self::Forbidden(path, _)
            | Self::TooLong(path, _)
            | Self::TooMany(path, ..)
            | Self::NotFound(path, _) => path,
        }
    }

    /// The `reason` of the cause.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Required(..) => "FieldValueRequired",
            Self::Invalid(..) => "FieldValueInvalid",
            Self::NotSupported(..) => "FieldValueNotSupported",
            Self::Duplicate(..) => "FieldValueDuplicate",
            Self::Forbidden(..) => "FieldValueForbidden",
            Self::TooLong(..) => "FieldValueTooLong",
            Self::TooMany(..) => "FieldValueTooMany",
            Self::NotFound(..) => "FieldValueNotFound",
        }
    }

    /// The `message` of the cause: this error without its path.
    pub fn detail(&self) -> String {
        let with = |head: String, tail: &str| {
            if tail.is_empty() { head } else { format!("{head}: {tail}") }
        };
        match self {
            Self::Required(_, why) => with("Required value".into(), why),
            Self::Invalid(_, Value::Null, why) => with("Invalid value".into(), why),
            Self::Invalid(_, value, why) => with(format!("Invalid value: {value}"), why),
            Self::NotSupported(_, value, supported) => {
                let quoted: Vec<_> = supported.iter().map(|s| format!("{s:?}")).collect();
                format!("Unsupported value: {value}: supported values: {}", quoted.join(", "))
            }
            Self::Duplicate(_, value) => format!("Duplicate value: {value}"),
            Self::Forbidden(_, why) => with("Forbidden".into(), why),
            Self::TooLong(_, limit) => format!("Too long: may not be more than {limit} bytes"),
            Self::TooMany(_, actual, limit) => {
                format!("Too many: {actual}: must have at most {limit} items")
            }
            Self::NotFound(_, value) => format!("Not found: {value}"),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.detail())
    }
}

/// All that is wrong with one object.
#[derive(Debug, Default, PartialEq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Records `error`.
    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }
    /// Records `error` unless `ok` holds.
    pub fn check(&mut self, ok: bool, error: impl FnOnce() -> FieldError) {
        if !ok {
            self.0.push(error());
        }
    }
    /// Records all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                let texts: Vec<_> = many.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}
