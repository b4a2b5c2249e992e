//! Events of both groups.
use serde_json::json;

use crate::api::Object;
use crate::apis::testing::{
    cells, create, create_errors, fields, headers, object, row, update, with,
};

fn old_sort() -> Object {
    object(
        "v1",
        "Event",
        json!({
            "metadata": {"name": "web.1", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default", "fieldPath": "spec.containers{web}"},
            "reason": "Pulled", "message": " Container image pulled\n", "type": "Normal", "count": 3,
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:50Z",
        }),
    )
}

fn new_sort() -> Object {
    object(
        "events.k8s.io/v1",
        "Event",
        json!({
            "metadata": {"name": "web.2", "namespace": "default"},
            "eventTime": "2026-01-01T00:59:00.000000Z",
            "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
            "reportingController": "podium.dev/scheduler", "reportingInstance": "one",
            "action": "Binding", "reason": "Scheduled", "note": "Assigned", "type": "Normal",
            "series": {"count": 4, "lastObservedTime": "2026-01-01T00:59:30.000000Z"},
        }),
    )
}

#[test]
fn rows_begin_with_when_and_have_no_age() {
    assert!(create(&old_sort()).is_ok());
    assert_eq!(
        headers(&old_sort()),
        [
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject",
            "Source",
            "Message",
            "First Seen",
            "Count",
            "Name"
        ]
    );
    assert_eq!(
        cells(&old_sort()),
        [
            "10s",
            "Normal",
            "Pulled",
            "pod/web",
            "spec.containers{web}",
            "kubelet, n1",
            "Container image pulled",
            "60m",
            "3",
            "web.1"
        ]
    );
    assert_eq!(
        cells(&new_sort()),
        [
            "30s",
            "Normal",
            "Scheduled",
            "pod/web",
            "",
            "podium.dev/scheduler, one",
            "Assigned",
            "60s",
            "4",
            "web.2"
        ]
    );
}

#[test]
fn both_groups_are_one_stored_form() {
    let created = create(&new_sort()).unwrap();
    let strategy = row(&created);
    assert_eq!(strategy.stored_as, row(&old_sort()).stored_as);
    let stored = strategy.behaviour.to_stored(created.clone()).unwrap();
    assert_eq!(stored.api_version, "v1");
    assert_eq!(stored.body["involvedObject"]["name"], "web");
    assert_eq!(stored.body["message"], "Assigned");
    assert_eq!(stored.body["reportingComponent"], "podium.dev/scheduler");
    assert_eq!(strategy.behaviour.to_served(stored).unwrap(), created);

    let served = strategy.behaviour.to_served(create(&old_sort()).unwrap()).unwrap();
    assert_eq!(served.body["deprecatedCount"], 3);
    assert_eq!(served.body["deprecatedSource"]["host"], "n1");
    assert_eq!(cells(&served), cells(&old_sort()));
    assert_eq!(strategy.behaviour.to_stored(served).unwrap(), create(&old_sort()).unwrap());
}

#[test]
fn an_event_lives_with_what_it_is_about() {
    let elsewhere = with(&old_sort(), "/involvedObject/namespace", json!("shop"));
    assert_eq!(
        create_errors(&elsewhere),
        ["involvedObject.namespace: Invalid value: \"shop\": does not match event.namespace"]
    );
    assert!(create(&with(&old_sort(), "/involvedObject/namespace", json!(""))).is_ok());
    let about_a_node = with(&old_sort(), "/involvedObject/namespace", json!(""));
    let errors = create_errors(&with(&about_a_node, "/metadata/namespace", json!("shop")));
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn the_new_group_asks_for_the_fields_of_today() {
    assert!(create(&new_sort()).is_ok());
    let bare = object("events.k8s.io/v1", "Event", json!({"type": "Bad", "deprecatedCount": 1}));
    assert_eq!(
        create_errors(&bare),
        [
            "eventTime: Required value",
            "type: Unsupported value: \"Bad\": supported values: \"Normal\", \"Warning\"",
            "deprecatedCount: Invalid value: \"\": needs to be unset",
        ]
    );
    let wordy = with(&new_sort(), "/note", json!("x".repeat(1025)));
    assert_eq!(
        create_errors(&with(&wordy, "/action", json!(""))),
        ["action: Required value", "note: Invalid value: \"\": can have at most 1024 characters"]
    );
}

#[test]
fn only_the_series_of_a_new_event_grows() {
    let old = create(&new_sort()).unwrap();
    assert!(update(&old, &with(&old, "/series/count", json!(5))).is_ok());
    assert_eq!(
        update(&old, &with(&old, "/reason", json!("Other"))).unwrap_err(),
        ["reason: Invalid value: \"Other\": field is immutable"]
    );
    let old = create(&old_sort()).unwrap();
    assert!(update(&old, &with(&old, "/count", json!(4))).is_ok());
}

#[test]
fn events_are_selected_by_what_they_are_about() {
    let fields = fields(&old_sort());
    assert!(fields.contains(&"involvedObject.name=web".to_owned()), "{fields:?}");
    assert!(fields.contains(&"source=kubelet".to_owned()), "{fields:?}");
    assert!(crate::apis::testing::fields(&new_sort()).contains(&"regarding.kind=Pod".to_owned()));
}
