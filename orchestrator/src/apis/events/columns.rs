//! What `kubectl get events` shows, whatever group it asks.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource};

use crate::api::age;

/// FIRST SEEN.
pub fn first_seen(event: &Event, now: Timestamp) -> String {
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    age(first.or_else(|| event.event_time.as_ref().map(|time| time.0)), now)
}

/// LAST SEEN.
pub fn last_seen(event: &Event, now: Timestamp) -> String {
    let of_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    if let Some(time) = of_series {
        return age(Some(time.0), now);
    }
    match &event.last_timestamp {
        Some(time) => age(Some(time.0), now),
        None => first_seen(event, now),
    }
}

/// COUNT.
pub fn count(event: &Event) -> i32 {
    let of_series = event.series.as_ref().and_then(|series| series.count);
    of_series.or(event.count).filter(|count| *count != 0).unwrap_or(1)
}

/// OBJECT: kind and name.
pub fn object(event: &Event) -> String {
    let kind = event.involved_object.kind.as_deref().unwrap_or_default().to_lowercase();
    match event.involved_object.name.as_deref() {
        None | Some("") => kind,
        Some(name) => format!("{kind}/{name}"),
    }
}

/// SOURCE: who reported it, and where.
pub fn source(event: &Event) -> String {
    let of = |field: fn(&EventSource) -> &Option<String>| {
        event
            .source
            .as_ref()
            .and_then(|source| field(source).clone())
            .filter(|text| !text.is_empty())
    };
    let component = of(|source| &source.component).or_else(|| event.reporting_component.clone());
    let host = of(|source| &source.host).or_else(|| event.reporting_instance.clone());
    let component = component.unwrap_or_default();
    match host.filter(|host| !host.is_empty()) {
        None => component,
        Some(host) => format!("{component}, {host}"),
    }
}
