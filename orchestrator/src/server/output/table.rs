//! `meta.k8s.io/v1` Table: what `kubectl get` prints.
use jiff::Timestamp;
use serde_json::{Value, json};

use super::partial_metadata;
use crate::api::{ApiError, ColumnType, FieldError, FieldErrors, FieldPath, Object, Resource, age};
use crate::server::query::{Query, refuse};

/// What of each object a row carries beside its cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    Nothing,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// What `includeObject` asks for.
    pub fn parse(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject") {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::Nothing),
            Some("Object") => Ok(Self::Object),
            Some(other) => {
                let supported = ["Metadata", "None", "Object"].map(str::to_owned).to_vec();
                let path = FieldPath::new("includeObject");
                let error = FieldError::NotSupported(path, other.into(), supported);
                refuse("TableOptions", FieldErrors(vec![error])).map(|()| Self::Metadata)
            }
        }
    }
}

/// A table without rows; `metadata` is that of the list.
pub fn table(row: &Resource, metadata: Value, definitions: bool, rows: Vec<Value>) -> Value {
    let columns = if definitions { column_definitions(row) } else { Vec::new() };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The row of one object.
pub fn row(
    row: &Resource,
    object: &Object,
    include: Include,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let mut cells = row.behaviour.cells(object, now)?.into_iter();
    let mut ordered = Vec::with_capacity(cells.len() + 2);
    if row.name_column {
        ordered.push(json!(object.metadata.name));
    }
    if row.age_column {
        let columns = row.behaviour.columns();
        let shown = columns.iter().filter(|(_, _, priority, _)| *priority == 0).count();
        ordered.extend(cells.by_ref().take(shown));
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        ordered.push(Value::String(age(created, now)));
    }
    ordered.extend(cells);
    let mut value = json!({"cells": ordered});
    match include {
        Include::Nothing => {}
        Include::Metadata => value["object"] = partial_metadata(object),
        Include::Object => value["object"] = object.to_value()?,
    }
    Ok(value)
}

/// NAME, the columns of priority 0, AGE, the others.
fn column_definitions(row: &Resource) -> Vec<Value> {
    let definition = |name: &str, kind: ColumnType, format: &str, priority: u8, text: &str| {
        let kind = match kind {
            ColumnType::Integer => "integer",
            ColumnType::Boolean => "boolean",
            // Ages are written out by the server, so a date is text by now.
            ColumnType::String | ColumnType::Date => "string",
        };
        json!({
            "name": name, "type": kind, "format": format,
            "description": text, "priority": priority,
        })
    };
    let mut columns = Vec::new();
    if row.name_column {
        let text = "The name of the object, unique among its kind in its namespace.";
        columns.push(definition("Name", ColumnType::String, "name", 0, text));
    }
    let own = row.behaviour.columns();
    let plain = |(name, kind, priority, text): &(&str, ColumnType, u8, &str)| {
        definition(name, *kind, "", *priority, text)
    };
    if !row.age_column {
        columns.extend(own.iter().map(plain));
        return columns;
    }
    columns.extend(own.iter().filter(|column| column.2 == 0).map(plain));
    columns.push(definition("Age", ColumnType::String, "", 0, "How long ago it was created."));
    columns.extend(own.iter().filter(|column| column.2 > 0).map(plain));
    columns
}
