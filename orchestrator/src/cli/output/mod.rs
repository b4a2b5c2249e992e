//! How commands print: what `-o` means, colours, aligned tables.
use std::str::FromStr;

use anyhow::Result;
use serde_json::Value;

mod colour;
pub(super) mod columns;
mod jsonpath;
pub(super) mod table;

pub(super) use colour::{Tone, paint, paint_errors, tone};
pub(super) use jsonpath::{Template, TemplateError};

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

/// A word after `-o` that means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// There is no such form.
    #[error("say json, yaml, wide, name, jsonpath=TEMPLATE or custom-columns=NAME:PATH,…")]
    Unknown,
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
            Some(_) => return Err(FormatError::Unknown),
            None => match text {
                "wide" => Self::Wide,
                "name" => Self::Name,
                "json" => Self::Json,
                "yaml" => Self::Yaml,
                _ => return Err(FormatError::Unknown),
            },
        })
    }
}

impl Format {
    /// Whether it needs whole objects, not the server's table.
    pub(super) fn wants_objects(&self) -> bool {
        !matches!(self, Self::Table | Self::Wide)
    }

    /// One document of whatever form; tables and names are their caller's to print.
    pub(super) fn document(&self, value: &Value) -> Result<String> {
        Ok(match self {
            Self::Yaml => serde_yaml::to_string(value)?,
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
        let error = Format::from_str("xml").unwrap_err().to_string();
        assert!(error.contains("json, yaml, wide, name"), "{error}");
        assert!(matches!(Format::from_str("jsonpath={.a}"), Ok(Format::JsonPath(_))));
        assert!(Format::from_str("jsonpath={.a").is_err());
    }
}
