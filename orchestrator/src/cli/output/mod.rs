//! How commands print: what `-o` means, colours, aligned tables.
use std::str::FromStr;

use crate::api::yaml;
use anyhow::Result;
use serde_json::{Value, json};

mod colour;
pub(super) mod columns;
mod jsonpath;
mod report;
pub(super) mod table;

pub(super) use colour::{Tone, paint, paint_errors, tone};
pub(super) use jsonpath::{Template, TemplateError};
pub(super) use report::Report;

/// What `-o` asks for.
#[derive(Debug, Clone, Default)]
pub(super) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// `TYPE/NAME`, one a line.
    Name,
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// What a JSONPath template finds.
    JsonPath(Template),
    /// A table of columns of one's own.
    Columns(columns::Columns),
}

/// Every form: what tells of objects as `kubectl get` does.
pub(super) const ALL_FORMS: &[&str] = &["json", "yaml", "wide", "name", JSONPATH, COLUMNS];

/// Forms of objects that are told in passing.
pub(super) const OBJECT_FORMS: &[&str] = &["json", "yaml", "name", JSONPATH];

/// Forms of a list of objects that has no table of its own width.
pub(super) const LIST_FORMS: &[&str] = &["json", "yaml", "name", JSONPATH, COLUMNS];

/// Forms of a document that is no object.
pub(super) const DOCUMENT_FORMS: &[&str] = &["json", "yaml", JSONPATH];

const JSONPATH: &str = "jsonpath=TEMPLATE";
const COLUMNS: &str = "custom-columns=NAME:PATH,…";

/// What `-o` may say to a command that prints these forms and no others.
pub(super) fn one_of(
    forms: &'static [&'static str],
) -> impl Fn(&str) -> Result<Format, FormatError> + Clone + Send + Sync {
    move |text| {
        let known = |form: &&str| form.split('=').next() == text.split('=').next();
        if !forms.iter().any(known) {
            return Err(FormatError::Unknown(forms));
        }
        match text.parse() {
            Err(FormatError::Unknown(_)) => Err(FormatError::Unknown(forms)),
            parsed => parsed,
        }
    }
}

/// `json, yaml or name`.
fn listed(forms: &[&str]) -> String {
    match forms {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        forms => forms.concat(),
    }
}

/// A word after `-o` that means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// There is no such form, or not here.
    #[error("say {}", listed(.0))]
    Unknown(&'static [&'static str]),
    /// The template does not parse.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Ok(match text.split_once('=') {
            Some(("jsonpath", template)) => Self::JsonPath(Template::parse(template)?),
            Some(("custom-columns", list)) => Self::Columns(columns::Columns::parse(list)?),
            Some(_) => return Err(FormatError::Unknown(ALL_FORMS)),
            None => match text {
                "wide" => Self::Wide,
                "name" => Self::Name,
                "json" => Self::Json,
                "yaml" => Self::Yaml,
                _ => return Err(FormatError::Unknown(ALL_FORMS)),
            },
        })
    }
}

impl Format {
    /// Whether it needs whole objects, not the server's table.
    pub(super) fn wants_objects(&self) -> bool {
        !matches!(self, Self::Table | Self::Wide)
    }

    /// The same without headings.
    #[must_use]
    pub(super) fn without_heading(self) -> Self {
        match self {
            Self::Columns(columns) => Self::Columns(columns.without_heading()),
            other => other,
        }
    }

    /// One object as it is, or several as a list.
    pub(super) fn objects(&self, objects: &[Value]) -> Result<String> {
        match objects {
            [one] => self.document(one),
            many => self.document(&json!({"apiVersion": "v1", "kind": "List",
                "metadata": {"resourceVersion": ""}, "items": many})),
        }
    }

    /// One document of whatever form; tables and names are their caller's to print.
    pub(super) fn document(&self, value: &Value) -> Result<String> {
        Ok(match self {
            Self::Yaml => yaml::to_string(value)?,
            Self::JsonPath(template) => template.render(value)?,
            Self::Columns(columns) => columns.render(value)?,
            Self::Json | Self::Table | Self::Wide | Self::Name => {
                format!("{}\n", serde_json::to_string_pretty(value)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_form_names_those_there_are() {
        let error = one_of(ALL_FORMS)("xml").unwrap_err().to_string();
        assert!(error.contains("json, yaml, wide, name"), "{error}");
        let error = one_of(DOCUMENT_FORMS)("wide").unwrap_err().to_string();
        assert_eq!(error, "say json, yaml or jsonpath=TEMPLATE");
        assert!(one_of(DOCUMENT_FORMS)("custom-columns=A:.a").is_err());
        assert!(one_of(DOCUMENT_FORMS)("jsonpath").is_err());
        assert!(matches!(one_of(DOCUMENT_FORMS)("jsonpath={.a}"), Ok(Format::JsonPath(_))));
        assert!(matches!(Format::from_str("jsonpath={.a}"), Ok(Format::JsonPath(_))));
        assert!(Format::from_str("jsonpath={.a").is_err());
    }
}
