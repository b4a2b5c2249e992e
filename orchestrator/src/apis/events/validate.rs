//! What is wrong with an event, in the stored form, whatever group it came by.
use k8s_openapi::api::core::v1::Event;

use crate::api::{FieldErrors, FieldPath, names};
use crate::apis::checks::{form, invalid, required};

/// As many bytes as action, reason and reporting instance may have.
const WORD_MAX: usize = 128;
/// As many bytes as a message may have.
const MESSAGE_MAX: usize = 1024;

/// What the group calls the fields that both have.
pub struct Names {
    involved_object: &'static str,
    reporting_component: &'static str,
    message: &'static str,
}

/// The core group's.
pub const CORE: Names = Names {
    involved_object: "involvedObject",
    reporting_component: "reportingComponent",
    message: "message",
};

/// Those of `events.k8s.io`.
pub const EVENTS: Names = Names {
    involved_object: "regarding",
    reporting_component: "reportingController",
    message: "note",
};

/// All that is wrong with `event`.
///
/// An event with a time is of the new sort, of which more is asked.
pub fn event(event: &Event, names: &Names) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let new_sort = event.event_time.is_some();
    namespace(&mut errors, event, names, new_sort);
    if !new_sort {
        return errors;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let controller = text(&event.reporting_component);
    let path = FieldPath::new(names.reporting_component);
    if controller.is_empty() {
        errors.push(required(&path, ""));
    }
    form(&mut errors, &path, &controller, names::qualified);
    for (field, word) in [
        ("reportingInstance", text(&event.reporting_instance)),
        ("action", text(&event.action)),
        ("reason", text(&event.reason)),
    ] {
        let path = FieldPath::new(field);
        errors.check(!word.is_empty(), || required(&path, ""));
        at_most(&mut errors, &path, &word, WORD_MAX);
    }
    at_most(&mut errors, &FieldPath::new(names.message), &text(&event.message), MESSAGE_MAX);
    errors
}

/// An event lives in the namespace of what it is about; what has none is told of in `default`.
fn namespace(errors: &mut FieldErrors, event: &Event, names: &Names, new_sort: bool) {
    let about = event.involved_object.namespace.as_deref().unwrap_or_default();
    let own = event.metadata.namespace.as_deref().unwrap_or_default();
    let fits = match about {
        "" => matches!(own, "" | "default") || new_sort && own == "kube-system",
        about => about == own,
    };
    let path = FieldPath::new(names.involved_object).child("namespace");
    errors.check(fits, || invalid(&path, about, "does not match event.namespace"));
}

fn at_most(errors: &mut FieldErrors, path: &FieldPath, text: &str, most: usize) {
    errors.check(text.len() <= most, || {
        invalid(path, "", format!("can have at most {most} characters"))
    });
}
