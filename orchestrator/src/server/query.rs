//! The options of a request, as they stand in its query string.
use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, managed_fields};

/// The name-value pairs of a query string.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The pairs in `text`; what is no pair is ignored, as in Kubernetes.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is there and not said to be false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "false" | "0" | "f" | "F" | "False"))
    }

    /// The number that `name` is set to.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::BadRequest(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })
    }
}

/// What to do about fields that the kind lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// Warn.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Whether to store nothing.
    pub dry_run: bool,
    /// What to do about unknown fields.
    pub field_validation: FieldValidation,
    /// Who writes; empty if the client does not say.
    pub field_manager: String,
    /// Whether an apply takes what others set; only an apply may say.
    pub force: Option<bool>,
}

impl WriteOptions {
    /// The options in `query`; `kind` names them in a refusal, such as `CreateOptions`.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::default();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["Ignore", "Strict", "Warn"].map(str::to_owned).to_vec();
                let path = FieldPath::new("fieldValidation");
                errors.push(FieldError::NotSupported(path, other.into(), supported));
                FieldValidation::Warn
            }
        };
        let field_manager = query.get("fieldManager").unwrap_or_default().to_owned();
        let path = FieldPath::new("fieldManager");
        errors.extend(managed_fields::validate_name(&field_manager, &path));
        let force = query.text("force").map(|_| query.flag("force"));
        refuse(kind, errors)?;
        Ok(Self { dry_run, field_validation, field_manager, force })
    }

    /// The options of a PATCH, which is an apply or not.
    pub fn of_patch(query: &Query, apply: bool) -> Result<Self, ApiError> {
        let options = Self::parse(query, "PatchOptions")?;
        let mut errors = FieldErrors::default();
        if apply {
            errors.check(!options.field_manager.is_empty(), || {
                let why = "is required for apply patch".to_owned();
                FieldError::Required(FieldPath::new("fieldManager"), why)
            });
        } else {
            errors.check(options.force.is_none(), || {
                let why = "may not be specified for non-apply patch".to_owned();
                FieldError::Forbidden(FieldPath::new("force"), why)
            });
        }
        refuse("PatchOptions", errors)?;
        Ok(options)
    }
}

/// Whether `dryRun` says so; anything but `All` is an error.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut FieldErrors) -> bool {
    let mut dry_run = false;
    for value in values.filter(|value| !value.is_empty()) {
        let path = FieldPath::new("dryRun");
        let all = value == "All";
        dry_run |= all;
        errors.check(all, || FieldError::NotSupported(path, value.into(), vec!["All".into()]));
    }
    dry_run
}

/// Refuses options of `kind`, such as `ListOptions`, that are wrong.
pub fn refuse(kind: &str, errors: FieldErrors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let (group, kind) = ("meta.k8s.io".to_owned(), kind.to_owned());
    Err(ApiError::Invalid { group, kind, name: String::new(), errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_set_by_their_presence() {
        let query = Query::parse("a&b=&c=true&d=false&e=0&x=%2C+y");
        let set: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| query.flag(name)).into();
        assert_eq!(set, [true, true, true, false, false, false]);
        assert_eq!(query.get("x"), Some(", y"));
    }

    #[test]
    fn wrong_options_are_refused_by_name() {
        let refused = |query: &str| {
            WriteOptions::parse(&Query::parse(query), "CreateOptions").unwrap_err().to_string()
        };
        assert_eq!(
            refused("dryRun=Some"),
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All""#
        );
        assert_eq!(
            refused("fieldValidation=Loose"),
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Loose": supported values: "Ignore", "Strict", "Warn""#
        );
        let options = WriteOptions::parse(&Query::parse("dryRun=All&fieldValidation=Strict"), "");
        let options = options.unwrap();
        assert!(options.dry_run && options.field_validation == FieldValidation::Strict);
    }

    #[test]
    fn numbers_must_be_numbers() {
        assert_eq!(Query::parse("limit=5").number("limit").unwrap(), Some(5));
        assert_eq!(Query::parse("limit=").number("limit").unwrap(), None);
        assert!(Query::parse("limit=x").number("limit").is_err());
    }
}
