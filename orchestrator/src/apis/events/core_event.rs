//! `events`: the stored form.
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::json;

use super::{TIME_TO_LIVE, columns, validate};
use crate::api::{Column, FieldErrors, Operation, SelectableField, Strategy};

/// The `events` resource of the core group.
#[derive(Debug)]
pub struct CoreEvents;

impl Strategy for CoreEvents {
    type Kind = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const NAME_COLUMN: bool = false;
    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<Event>] = &[
        Column::new("Last Seen", "How long ago it happened last", |e, now| {
            json!(columns::last_seen(e, now))
        }),
        Column::new("Type", "Normal or Warning", |e, _| json!(e.type_)),
        Column::new("Reason", "Why it happened, in one word", |e, _| json!(e.reason)),
        Column::new("Object", "What it is about", |e, _| json!(columns::object(e))),
        Column::new("Subobject", "Which part of it", |e: &Event, _| {
            json!(e.involved_object.field_path.as_deref().unwrap_or_default())
        })
        .wide(),
        Column::new("Source", "Who reported it, and where", |e, _| json!(columns::source(e)))
            .wide(),
        Column::new("Message", "What happened", |e: &Event, _| {
            json!(e.message.as_deref().unwrap_or_default().trim())
        }),
        Column::new("First Seen", "How long ago it happened first", |e, now| {
            json!(columns::first_seen(e, now))
        })
        .wide(),
        Column::new("Count", "How often it happened", |e, _| json!(columns::count(e)))
            .integer()
            .wide(),
        Column::new("Name", "Its name", |e: &Event, _| json!(e.metadata.name)).wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Event>] = &[
        SelectableField { path: "involvedObject.kind", value: |e| about(e, |o| &o.kind) },
        SelectableField { path: "involvedObject.namespace", value: |e| about(e, |o| &o.namespace) },
        SelectableField { path: "involvedObject.name", value: |e| about(e, |o| &o.name) },
        SelectableField { path: "involvedObject.uid", value: |e| about(e, |o| &o.uid) },
        SelectableField {
            path: "involvedObject.apiVersion",
            value: |e| about(e, |o| &o.api_version),
        },
        SelectableField {
            path: "involvedObject.resourceVersion",
            value: |e| about(e, |o| &o.resource_version),
        },
        SelectableField {
            path: "involvedObject.fieldPath",
            value: |e| about(e, |o| &o.field_path),
        },
        SelectableField { path: "reason", value: |e| e.reason.clone().unwrap_or_default() },
        SelectableField {
            path: "reportingComponent",
            value: |e| e.reporting_component.clone().unwrap_or_default(),
        },
        SelectableField { path: "source", value: source },
        SelectableField { path: "type", value: |e| e.type_.clone().unwrap_or_default() },
    ];
    const CREATE_ON_UPDATE: bool = true;
    const EXPIRES_AFTER: Option<Duration> = Some(TIME_TO_LIVE);

    fn validate(&self, new: &Event, _: Operation<'_, Event>) -> FieldErrors {
        validate::event(new, &validate::CORE)
    }
}

fn about(event: &Event, field: fn(&ObjectReference) -> &Option<String>) -> String {
    field(&event.involved_object).clone().unwrap_or_default()
}

fn source(event: &Event) -> String {
    let component = event.source.as_ref().and_then(|source| source.component.clone());
    let component = component.filter(|component| !component.is_empty());
    component.or_else(|| event.reporting_component.clone()).unwrap_or_default()
}
