//! How a change becomes a line of a watch.
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Server;
use super::errors::storage_error;
use super::negotiate::Shape;
use super::output::partial_metadata;
use super::output::table::{self, Include};
use crate::api::{ApiError, Object, Resource, schema};
use crate::storage::{Stored, WatchEvent};

/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Turns the changes of one watch into lines.
pub struct Follow {
    row: Arc<Resource>,
    server: Server,
    shape: Shape,
    include: Include,
    /// A table's columns are told with its first line alone.
    columns_told: bool,
}

impl Follow {
    /// Lines in this shape.
    pub fn new(row: Arc<Resource>, server: Server, shape: Shape, include: Include) -> Self {
        Self { row, server, shape, include, columns_told: false }
    }

    /// The line of a change, or of the error that ends the watch.
    pub fn line(&mut self, event: Result<WatchEvent, crate::storage::StorageError>) -> Bytes {
        let written = match event {
            Ok(WatchEvent::Added(stored)) => self.change("ADDED", stored),
            Ok(WatchEvent::Modified(stored)) => self.change("MODIFIED", stored),
            Ok(WatchEvent::Deleted(stored)) => self.change("DELETED", stored),
            Ok(WatchEvent::Bookmark { revision, initial_events_end }) => {
                self.bookmark(revision, initial_events_end)
            }
            Err(error) => Err(storage_error(&self.row, "", error)),
        };
        written.unwrap_or_else(|error| line("ERROR", error.to_status().to_string().as_bytes()))
    }

    fn change(&mut self, kind: &str, stored: Stored) -> Result<Bytes, ApiError> {
        match self.shape {
            Shape::Whole => Ok(line(kind, &stored.json()?)),
            Shape::PartialMetadata => {
                let metadata = partial_metadata(&stored.object()?);
                Ok(line(kind, metadata.to_string().as_bytes()))
            }
            Shape::Table => {
                let object = stored.object()?;
                let row = table::row(&self.row, &object, self.include, self.server.now())?;
                Ok(self.table(kind, &object.metadata.resource_version, row))
            }
        }
    }

    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Result<Bytes, ApiError> {
        let gvk = &self.row.gvk;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let mut value = json!({
            "kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": metadata,
        });
        match self.shape {
            Shape::Whole => {
                // As an empty object of the kind is written: clients decode it as any other.
                for field in ["spec", "status"] {
                    if schema::has_struct(gvk, field) {
                        value[field] = json!({});
                    }
                }
            }
            Shape::PartialMetadata | Shape::Table => {
                let object = Object::from_value(value)?;
                value = partial_metadata(&object);
            }
        }
        if self.shape == Shape::Table {
            let row = json!({"cells": [], "object": value});
            return Ok(self.table("BOOKMARK", &Some(revision.to_string()), row));
        }
        Ok(line("BOOKMARK", value.to_string().as_bytes()))
    }

    fn table(&mut self, kind: &str, version: &Option<String>, row: Value) -> Bytes {
        let metadata = json!({"resourceVersion": version});
        let definitions = !std::mem::replace(&mut self.columns_told, true);
        let table = table::table(&self.row, metadata, definitions, vec![row]);
        line(kind, table.to_string().as_bytes())
    }
}

/// `{"type":…,"object":…}` and a line end, around JSON.
fn line(kind: &str, json: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(json.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(json);
    line.extend_from_slice(b"}\n");
    line.into()
}
