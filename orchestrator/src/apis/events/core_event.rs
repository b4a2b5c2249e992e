//! `events` of the core group: the stored form.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::{Value, json};

use super::{KEPT, NOTE_MAX, first_of};
use crate::api::{
    Column, FieldError, FieldErrors, FieldPath, Operation, SelectableField, Strategy, age,
};
use crate::apis::checks::{immutable, invalid, one_of};

/// The `events` resource of the core group.
#[derive(Debug)]
pub struct CoreEvents;

impl Strategy for CoreEvents {
    type Kind = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const COLUMNS: &'static [Column<Event>] = COLUMNS;
    const NAME_COLUMN: bool = false;
    const AGE_COLUMN: bool = false;
    const SELECTABLE_FIELDS: &'static [SelectableField<Event>] = &[
        SelectableField {
            path: "involvedObject.kind",
            value: |e| text(e.involved_object.kind.as_ref()),
        },
        SelectableField {
            path: "involvedObject.namespace",
            value: |e| text(e.involved_object.namespace.as_ref()),
        },
        SelectableField {
            path: "involvedObject.name",
            value: |e| text(e.involved_object.name.as_ref()),
        },
        SelectableField {
            path: "involvedObject.uid",
            value: |e| text(e.involved_object.uid.as_ref()),
        },
        SelectableField {
            path: "involvedObject.apiVersion",
            value: |e| text(e.involved_object.api_version.as_ref()),
        },
        SelectableField {
            path: "involvedObject.resourceVersion",
            value: |e| text(e.involved_object.resource_version.as_ref()),
        },
        SelectableField {
            path: "involvedObject.fieldPath",
            value: |e| text(e.involved_object.field_path.as_ref()),
        },
        SelectableField { path: "reason", value: |e| text(e.reason.as_ref()) },
        SelectableField {
            path: "reportingComponent",
            value: |e| text(e.reporting_component.as_ref()),
        },
        SelectableField { path: "source", value: source_component },
        SelectableField { path: "type", value: |e| text(e.type_.as_ref()) },
    ];
    const CREATE_ON_UPDATE: bool = true;
    const EXPIRES_AFTER: Option<Duration> = Some(KEPT);

    fn validate(&self, new: &Event, operation: Operation<'_, Event>) -> FieldErrors {
        validate(new, operation, "involvedObject", "message")
    }
}

const COLUMNS: &[Column<Event>] = &[
    Column::new("Last Seen", "When it was last seen", |e: &Event, now| {
        json!(age(last_seen(e), now))
    }),
    Column::new("Type", "Normal or Warning", |e: &Event, _| json!(e.type_)),
    Column::new("Reason", "Why it happened, in a word", |e: &Event, _| json!(e.reason)),
    Column::new("Object", "What it is about", |e: &Event, _| about(&e.involved_object)),
    Column::new("Subobject", "The part it is about", |e: &Event, _| {
        json!(e.involved_object.field_path)
    })
    .wide(),
    Column::new("Source", "Who reported it", |e: &Event, _| json!(source(e))).wide(),
    Column::new("Message", "What happened", |e: &Event, _| {
        json!(e.message.as_deref().unwrap_or_default().trim())
    }),
    Column::new("First Seen", "When it was first seen", |e: &Event, now| {
        json!(age(first_of(e.first_timestamp.as_ref(), e.event_time.as_ref()), now))
    })
    .wide(),
    Column::new("Count", "How often it was seen", |e: &Event, _| {
        json!(e.series.as_ref().and_then(|series| series.count).or(e.count).unwrap_or(1))
    })
    .wide()
    .integer(),
    Column::new("Name", "The name of the Event", |e: &Event, _| json!(e.metadata.name)).wide(),
];

/// What is wrong with an Event; the field names are those of the group it came by.
pub(super) fn validate(
    new: &Event,
    operation: Operation<'_, Event>,
    about: &str,
    note: &str,
) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new(about).child("namespace");
    let of = new.involved_object.namespace.as_deref().unwrap_or_default();
    let own = new.metadata.namespace.as_deref().unwrap_or_default();
    // What is about a cluster-scoped object stands in the default namespace.
    let fits = if of.is_empty() { matches!(own, "default" | "kube-system") } else { of == own };
    errors.check(fits, || invalid(&path, of, "does not match event.namespace"));
    if let Some(kind) = new.type_.as_deref().filter(|kind| !kind.is_empty()) {
        let path = FieldPath::new("type");
        if new.event_time.is_some() {
            one_of(&mut errors, &path, kind, &["Normal", "Warning"]);
        }
    }
    if new.event_time.is_some() {
        let length = new.message.as_ref().map_or(0, String::len);
        errors.check(length <= NOTE_MAX, || FieldError::TooLong(FieldPath::new(note), NOTE_MAX));
        if let Some(old) = operation.old() {
            let same = |a: &ObjectReference, b: &ObjectReference| a == b;
            errors.check(same(&new.involved_object, &old.involved_object), || {
                FieldError::immutable(FieldPath::new(about), json!(new.involved_object))
            });
            immutable(&mut errors, &FieldPath::new("reason"), &new.reason, &old.reason);
            immutable(&mut errors, &FieldPath::new("eventTime"), &new.event_time, &old.event_time);
        }
    }
    errors
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref().or(event.first_timestamp.as_ref());
    series.map(|micro| micro.0).or(first_of(last, event.event_time.as_ref()))
}

fn about(object: &ObjectReference) -> Value {
    let kind = object.kind.as_deref().unwrap_or_default().to_lowercase();
    json!(format!("{kind}/{}", object.name.as_deref().unwrap_or_default()))
}

fn source_component(event: &Event) -> String {
    let source = event.source.as_ref().and_then(|source| source.component.as_ref());
    text(source.or(event.reporting_component.as_ref()))
}

fn source(event: &Event) -> String {
    let host = event.source.as_ref().and_then(|source| source.host.clone()).unwrap_or_default();
    let component = source_component(event);
    if host.is_empty() { component } else { format!("{component}, {host}") }
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create_errors, fields, object};

    #[test]
    fn an_event_is_shown_as_kubectl_shows_it() {
        let event = object(
            "v1",
            "Event",
            json!({
                "metadata": {"name": "web.1", "namespace": "default"},
                "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default", "fieldPath": "spec.containers{c}"},
                "reason": "Started", "message": "Started container c\n", "type": "Normal", "count": 3,
                "source": {"component": "kubelet", "host": "node-1"},
                "firstTimestamp": "2026-01-01T00:50:00Z", "lastTimestamp": "2026-01-01T00:59:30Z",
            }),
        );
        assert_eq!(create_errors(&event), Vec::<String>::new());
        let expected = [
            "30s",
            "Normal",
            "Started",
            "pod/web",
            "spec.containers{c}",
            "kubelet, node-1",
            "Started container c",
            "10m",
            "3",
            "web.1",
        ];
        assert_eq!(cells(&event), expected);
        assert!(fields(&event).contains(&"involvedObject.name=web".to_owned()));
    }

    #[test]
    fn an_event_stands_beside_what_it_is_about() {
        let event = object(
            "v1",
            "Event",
            json!({
                "involvedObject": {"kind": "Pod", "name": "web", "namespace": "other"},
            }),
        );
        let expected =
            ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"];
        assert_eq!(create_errors(&event), expected);
    }
}
