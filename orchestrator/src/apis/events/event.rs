//! `events.events.k8s.io`: the served form of what is stored as a core Event.
use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

use super::{TIME_TO_LIVE, columns, validate};
use crate::api::{
    Column, DecodeError, FieldErrors, FieldPath, GroupResource, Object, Operation, SelectableField,
    Strategy,
};
use crate::apis::checks::{immutable, invalid, one_of, required};

/// What fields are called: served, stored.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// The `events.events.k8s.io` resource.
#[derive(Debug)]
pub struct Events;

impl Strategy for Events {
    type Kind = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const NAME_COLUMN: bool = false;
    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<Event>] = &[
        Column::new("Last Seen", "How long ago it happened last", |e, now| {
            cell(e, now, |e, now| json!(columns::last_seen(e, now)))
        }),
        Column::new("Type", "Normal or Warning", |e, _| json!(e.type_)),
        Column::new("Reason", "Why it happened, in one word", |e, _| json!(e.reason)),
        Column::new("Object", "What it is about", |e, now| {
            cell(e, now, |e, _| json!(columns::object(e)))
        }),
        Column::new("Subobject", "Which part of it", |e: &Event, _| {
            let regarding = e.regarding.as_ref();
            json!(regarding.and_then(|object| object.field_path.as_deref()).unwrap_or_default())
        })
        .wide(),
        Column::new("Source", "Who reported it, and where", |e, now| {
            cell(e, now, |e, _| json!(columns::source(e)))
        })
        .wide(),
        Column::new("Message", "What happened", |e: &Event, _| {
            json!(e.note.as_deref().unwrap_or_default().trim())
        }),
        Column::new("First Seen", "How long ago it happened first", |e, now| {
            cell(e, now, |e, now| json!(columns::first_seen(e, now)))
        })
        .wide(),
        Column::new("Count", "How often it happened", |e, now| {
            cell(e, now, |e, _| json!(columns::count(e)))
        })
        .integer()
        .wide(),
        Column::new("Name", "Its name", |e: &Event, _| json!(e.metadata.name)).wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<Event>] = &[
        SelectableField { path: "regarding.kind", value: |e| about(e, |o| &o.kind) },
        SelectableField { path: "regarding.namespace", value: |e| about(e, |o| &o.namespace) },
        SelectableField { path: "regarding.name", value: |e| about(e, |o| &o.name) },
        SelectableField { path: "regarding.uid", value: |e| about(e, |o| &o.uid) },
        SelectableField { path: "regarding.apiVersion", value: |e| about(e, |o| &o.api_version) },
        SelectableField {
            path: "regarding.resourceVersion",
            value: |e| about(e, |o| &o.resource_version),
        },
        SelectableField { path: "regarding.fieldPath", value: |e| about(e, |o| &o.field_path) },
        SelectableField { path: "reason", value: |e| e.reason.clone().unwrap_or_default() },
        SelectableField {
            path: "reportingController",
            value: |e| e.reporting_controller.clone().unwrap_or_default(),
        },
        SelectableField { path: "type", value: |e| e.type_.clone().unwrap_or_default() },
    ];
    const CREATE_ON_UPDATE: bool = true;
    const EXPIRES_AFTER: Option<Duration> = Some(TIME_TO_LIVE);
    const STORED_AS: Option<GroupResource> =
        Some(GroupResource { group: Cow::Borrowed(""), resource: Cow::Borrowed("events") });

    fn validate(&self, new: &Event, operation: Operation<'_, Event>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match operation.old() {
            None => current(&mut errors, new),
            Some(old) => kept(&mut errors, new, old),
        }
        errors.extend(validate::event(&stored(new), &validate::EVENTS));
        errors
    }

    fn to_stored(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(renamed(object, "v1", |(served, stored)| (served, stored)))
    }

    fn to_served(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(renamed(object, "events.k8s.io/v1", |(served, stored)| (stored, served)))
    }
}

/// What only this group asks: the fields of today, none of yesterday's.
fn current(errors: &mut FieldErrors, event: &Event) {
    if event.event_time.is_none() {
        errors.push(required(&FieldPath::new("eventTime"), ""));
    }
    let kind = event.type_.as_deref().unwrap_or_default();
    one_of(errors, &FieldPath::new("type"), kind, &["Normal", "Warning"]);
    for (field, unset) in [
        ("deprecatedFirstTimestamp", event.deprecated_first_timestamp.is_none()),
        ("deprecatedLastTimestamp", event.deprecated_last_timestamp.is_none()),
        ("deprecatedCount", event.deprecated_count.is_none_or(|count| count == 0)),
        (
            "deprecatedSource",
            event.deprecated_source.as_ref().is_none_or(|s| *s == Default::default()),
        ),
    ] {
        errors.check(unset, || invalid(&FieldPath::new(field), "", "needs to be unset"));
    }
}

/// An event tells of one thing; only its series grows.
fn kept(errors: &mut FieldErrors, new: &Event, old: &Event) {
    let text = [
        ("reason", &new.reason, &old.reason),
        ("note", &new.note, &old.note),
        ("type", &new.type_, &old.type_),
        ("action", &new.action, &old.action),
        ("reportingController", &new.reporting_controller, &old.reporting_controller),
        ("reportingInstance", &new.reporting_instance, &old.reporting_instance),
    ];
    immutable(errors, &FieldPath::new("regarding"), &new.regarding, &old.regarding);
    for (field, new, old) in text {
        immutable(errors, &FieldPath::new(field), new, old);
    }
    immutable(errors, &FieldPath::new("eventTime"), &new.event_time, &old.event_time);
    immutable(errors, &FieldPath::new("related"), &new.related, &old.related);
}

fn about(event: &Event, field: fn(&v1::ObjectReference) -> &Option<String>) -> String {
    event.regarding.as_ref().and_then(|object| field(object).clone()).unwrap_or_default()
}

fn cell(event: &Event, now: Timestamp, of: fn(&v1::Event, Timestamp) -> Value) -> Value {
    of(&stored(event), now)
}

/// The stored form, typed.
fn stored(event: &Event) -> v1::Event {
    v1::Event {
        action: event.action.clone(),
        count: event.deprecated_count,
        event_time: event.event_time.clone(),
        first_timestamp: event.deprecated_first_timestamp.clone(),
        involved_object: event.regarding.clone().unwrap_or_default(),
        last_timestamp: event.deprecated_last_timestamp.clone(),
        message: event.note.clone(),
        metadata: event.metadata.clone(),
        reason: event.reason.clone(),
        related: event.related.clone(),
        reporting_component: event.reporting_controller.clone(),
        reporting_instance: event.reporting_instance.clone(),
        series: event.series.as_ref().map(|series| v1::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time.clone()),
        }),
        source: event.deprecated_source.clone(),
        type_: event.type_.clone(),
    }
}

fn renamed(
    mut object: Object,
    api_version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Object {
    object.api_version = api_version.into();
    for (from, to) in RENAMED.map(direction) {
        if let Some(value) = object.body.remove(from) {
            object.body.insert(to.into(), value);
        }
    }
    object
}
