//! `events.events.k8s.io`: the same objects under newer names.
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Map, Value, json};

use super::{KEPT, core_event};
use crate::api::{
    Column, DecodeError, FieldErrors, GroupResource, Object, Operation, SelectableField, Strategy,
    age,
};

/// Top-level fields: their names here and in the core group.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// The `events` resource of `events.k8s.io`.
#[derive(Debug)]
pub struct Events;

impl Strategy for Events {
    type Kind = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const COLUMNS: &'static [Column<Event>] = &[
        Column::new("Last Seen", "When it was last seen", |e: &Event, now| {
            let series = e.series.as_ref().map(|series| series.last_observed_time.0);
            let last = e.deprecated_last_timestamp.as_ref().map(|time| time.0);
            json!(age(series.or(last).or(e.event_time.as_ref().map(|time| time.0)), now))
        }),
        Column::new("Type", "Normal or Warning", |e: &Event, _| json!(e.type_)),
        Column::new("Reason", "Why it happened, in a word", |e: &Event, _| json!(e.reason)),
        Column::new("Object", "What it is about", |e: &Event, _| {
            let about = e.regarding.as_ref();
            let kind = about.and_then(|about| about.kind.clone()).unwrap_or_default();
            let name = about.and_then(|about| about.name.clone()).unwrap_or_default();
            json!(format!("{}/{name}", kind.to_lowercase()))
        }),
        Column::new("Message", "What happened", |e: &Event, _| {
            json!(e.note.as_deref().unwrap_or_default().trim())
        }),
    ];
    const NAME_COLUMN: bool = false;
    const AGE_COLUMN: bool = false;
    const SELECTABLE_FIELDS: &'static [SelectableField<Event>] = &[
        SelectableField { path: "reason", value: |e| e.reason.clone().unwrap_or_default() },
        SelectableField {
            path: "regarding.kind",
            value: |e| {
                e.regarding.as_ref().and_then(|about| about.kind.clone()).unwrap_or_default()
            },
        },
        SelectableField {
            path: "regarding.name",
            value: |e| {
                e.regarding.as_ref().and_then(|about| about.name.clone()).unwrap_or_default()
            },
        },
        SelectableField {
            path: "reportingController",
            value: |e| e.reporting_controller.clone().unwrap_or_default(),
        },
        SelectableField { path: "type", value: |e| e.type_.clone().unwrap_or_default() },
    ];
    const CREATE_ON_UPDATE: bool = true;
    const EXPIRES_AFTER: Option<Duration> = Some(KEPT);
    const STORED_AS: Option<GroupResource> = Some(GroupResource {
        group: std::borrow::Cow::Borrowed(""),
        resource: std::borrow::Cow::Borrowed("events"),
    });

    fn validate(&self, new: &Event, operation: Operation<'_, Event>) -> FieldErrors {
        let (Some(new), old) = (as_core(new), operation.old().and_then(as_core)) else {
            return FieldErrors::default();
        };
        let operation = match (&operation, &old) {
            (Operation::Update(_), Some(old)) => Operation::Update(old),
            (Operation::UpdateStatus(_), Some(old)) => Operation::UpdateStatus(old),
            _ => Operation::Create,
        };
        core_event::validate(&new, operation, "regarding", "note")
    }

    fn to_stored(&self, mut object: Object) -> Result<Object, DecodeError> {
        object.api_version = "v1".into();
        rename(&mut object.body, |(here, core)| (here, core));
        Ok(object)
    }

    fn to_served(&self, mut object: Object) -> Result<Object, DecodeError> {
        object.api_version = "events.k8s.io/v1".into();
        rename(&mut object.body, |(here, core)| (core, here));
        Ok(object)
    }
}

fn rename(
    body: &mut Map<String, Value>,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    for (from, to) in NAMES.iter().copied().map(direction) {
        if let Some(value) = body.remove(from) {
            body.insert(to.into(), value);
        }
    }
}

/// The Event in the words of the core group, to check it once.
fn as_core(event: &Event) -> Option<core::Event> {
    let object = serde_json::to_value(event).and_then(serde_json::from_value::<Object>);
    let stored = object.map(|object| Events.to_stored(object));
    match stored.map(|stored| stored.and_then(|stored| stored.decode())) {
        Ok(Ok(event)) => Some(event),
        // Both forms hold the same fields, so this cannot be.
        Ok(Err(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::testing::{cells, create_errors, object};

    fn event() -> Object {
        object(
            "events.k8s.io/v1",
            "Event",
            json!({
                "metadata": {"name": "web.1", "namespace": "default"},
                "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
                "reason": "Started", "note": "it runs", "type": "Normal", "action": "Starting",
                "reportingController": "podium.dev/agent", "reportingInstance": "a",
                "eventTime": "2026-01-01T00:50:00.000000Z",
            }),
        )
    }

    #[test]
    fn both_forms_are_the_same_object() {
        let stored = Events.to_stored(event()).unwrap();
        assert_eq!(stored.api_version, "v1");
        assert_eq!(stored.body["message"], "it runs");
        assert_eq!(stored.body["involvedObject"]["name"], "web");
        assert_eq!(Events.to_served(stored).unwrap(), event());
    }

    #[test]
    fn a_long_note_is_refused_under_its_own_name() {
        assert_eq!(create_errors(&event()), Vec::<String>::new());
        assert_eq!(cells(&event()), ["10m", "Normal", "Started", "pod/web", "it runs"]);
        let mut long = event();
        long.body["note"] = json!("x".repeat(2000));
        assert_eq!(create_errors(&long), ["note: Too long: may not be more than 1024 bytes"]);
    }
}
