//! What is wrong with the status of a Job, which other controllers may write too (`managedBy`).
use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::{Value, json};

use super::{is, is_finished, is_indexed};
use crate::api::indexes::Indexes;
use crate::api::{FieldError, FieldErrors, FieldPath};
use crate::apis::checks::{invalid, not_negative, required};

/// Pairs of conditions of which a Job has only one.
const EXCLUSIVE: [(&str, &str, &str); 4] = [
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    (
        "SuccessCriteriaMet",
        "Failed",
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    ),
    (
        "SuccessCriteriaMet",
        "FailureTarget",
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    ),
];

/// Checks a new version of a status.
pub fn validate(errors: &mut FieldErrors, new: &Job, old: &Job) {
    let empty = JobStatus::default();
    let status = new.status.as_ref().unwrap_or(&empty);
    let before = old.status.as_ref().unwrap_or(&empty);
    let spec = new.spec.clone().unwrap_or_default();
    let path = FieldPath::new("status");
    counts(errors, &path, status);
    conditions(errors, &path.child("conditions"), new, old);
    times(errors, &path, new, status, before);
    if is_finished(new) {
        finished(errors, &path, status);
    }
    indexes(errors, &path, &spec, status);
    for (field, now, was) in [
        ("failed", status.failed, before.failed),
        ("succeeded", status.succeeded, before.succeeded),
    ] {
        let (now, was) = (now.unwrap_or_default(), was.unwrap_or_default());
        // An indexed Job that shrinks forgets indexes that succeeded.
        let may_shrink = field == "succeeded" && is_indexed(&spec);
        errors.check(may_shrink || now >= was, || {
            invalid(&path.child(field), now, format!("cannot decrease the {field} counter"))
        });
    }
}

fn counts(errors: &mut FieldErrors, path: &FieldPath, status: &JobStatus) {
    let counts = [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ];
    for (field, count) in counts {
        not_negative(errors, &path.child(field), count.map(i64::from));
    }
    let ready = status.ready.unwrap_or_default();
    errors.check(ready <= status.active.unwrap_or_default(), || {
        invalid(&path.child("ready"), ready, "cannot set more ready pods than active")
    });
    let Some(uncounted) = &status.uncounted_terminated_pods else { return };
    let path = path.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for (field, uids) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
        for (i, uid) in uids.iter().flatten().enumerate() {
            let path = path.child(field).index(i);
            if uid.is_empty() {
                errors.push(invalid(&path, uid.as_str(), "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::Duplicate(path, json!(uid)));
            }
        }
    }
}

fn conditions(errors: &mut FieldErrors, path: &FieldPath, new: &Job, old: &Job) {
    let mut refuse = |wrong: bool, why: String| {
        errors.check(!wrong, || invalid(path, Value::Null, why));
    };
    for (one, other, why) in EXCLUSIVE {
        refuse(is(new, one) && is(new, other), why.into());
    }
    // What a Job was finished as, it says before; a Job that ended before that was so may stay.
    for (end, before) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        let late = is(new, end) && !is(new, before) && !is(old, end);
        refuse(
            late,
            format!("cannot set {end}=True condition without the {before}=true condition"),
        );
    }
    for terminal in ["Failed", "Complete", "FailureTarget"] {
        let gone = is(old, terminal) && !is(new, terminal);
        refuse(gone, format!("cannot disable the terminal {terminal}=True condition"));
    }
    let gone = is(old, "SuccessCriteriaMet") && !is(new, "SuccessCriteriaMet");
    refuse(gone, "cannot disable the SuccessCriteriaMet=True condition".into());
}

fn times(
    errors: &mut FieldErrors,
    path: &FieldPath,
    new: &Job,
    status: &JobStatus,
    before: &JobStatus,
) {
    let at = path.child("completionTime");
    let complete = is(new, "Complete");
    match &status.completion_time {
        None if complete => {
            errors.push(required(&at, "completionTime is required for Complete jobs"));
        }
        Some(time) if !complete => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(invalid(&at, json!(time), why));
        }
        Some(time) => {
            let start = status.start_time.as_ref();
            errors.check(start.is_none_or(|start| time.0 >= start.0), || {
                invalid(&at, json!(time), "completionTime cannot be set before startTime")
            });
            errors.check(before.completion_time.as_ref().is_none_or(|was| was == time), || {
                invalid(&at, json!(time), "completionTime cannot be mutated")
            });
        }
        None => {}
    }
    let suspended = new.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    let resumed = was_suspended(before) && !suspended;
    let kept = before.start_time.is_none() || before.start_time == status.start_time;
    errors.check(suspended || resumed || kept, || {
        required(&path.child("startTime"), "startTime cannot be removed for unsuspended job")
    });
}

/// A Job that is resumed begins anew, and says so in the same write.
fn was_suspended(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Suspended" && condition.status == "True")
}

fn finished(errors: &mut FieldErrors, path: &FieldPath, status: &JobStatus) {
    for (field, count) in [("active", status.active), ("terminating", status.terminating)] {
        let count = count.unwrap_or_default();
        errors.check(count <= 0, || {
            invalid(&path.child(field), count, format!("{field}>0 is invalid for finished job"))
        });
    }
    if status.start_time.is_none() {
        errors.push(required(&path.child("startTime"), "startTime is required for finished job"));
    }
    if let Some(uncounted) = &status.uncounted_terminated_pods {
        let mut all = uncounted.succeeded.iter().chain(&uncounted.failed).flatten();
        errors.check(all.next().is_none(), || {
            let why = "uncountedTerminatedPods needs to be empty for finished job";
            invalid(&path.child("uncountedTerminatedPods"), json!(uncounted), why)
        });
    }
}

fn indexes(errors: &mut FieldErrors, path: &FieldPath, spec: &JobSpec, status: &JobStatus) {
    let completed = status.completed_indexes.as_deref().unwrap_or_default();
    let failed = status.failed_indexes.as_deref();
    if !completed.is_empty() && !is_indexed(spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(invalid(&path.child("completedIndexes"), completed, why));
    }
    if let Some(failed) = failed.filter(|_| spec.backoff_limit_per_index.is_none()) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(invalid(&path.child("failedIndexes"), failed, why));
    }
    let Some(completions) = spec.completions.filter(|_| is_indexed(spec)) else { return };
    let mut read = |field: &str, text: &str| match Indexes::parse(text, completions) {
        Ok(indexes) => indexes,
        Err(why) => {
            let why = format!("error parsing {field}: {why}");
            errors.push(invalid(&path.child(field), text, why));
            Indexes::default()
        }
    };
    let completed = read("completedIndexes", completed);
    let both = completed.first_shared(&read("failedIndexes", failed.unwrap_or_default()));
    if let Some(index) = both {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(invalid(&path.child("failedIndexes"), json!(failed), why));
    }
}
