//! What one pass does for a Job: Pods more, Pods fewer, Pods counted, which status.
//!
//! Counting is exact, whenever anything crashes. Each Pod carries a finalizer.
//! One that has ended is first listed in `status.uncountedTerminatedPods` (or,
//! of an indexed Job, in `completedIndexes`); then its finalizer is removed;
//! then, and only then, is it counted and taken off the list. So a Pod that
//! ended is either seen with its finalizer and not listed, or listed, or
//! counted, and never two of these.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ending::{self, Ending, condition, ending, say};
use super::manage::{self, New};
use super::member::{self, Verdict};
use super::seen::{Seen, count, is_indexed, is_suspended};
use crate::controllers::pods;

/// As many Pods as a status lists before they are counted, as upstream: so it stays below 20 KB.
const UNCOUNTED_MAX: usize = 500;

/// An event to tell once the status is written: whether it is trouble, reason, message.
pub type Told = (bool, &'static str, String);

/// What one pass does, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods that were adopted and have to be tracked.
    pub track: Vec<Arc<Pod>>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Whether the deleted Pods do not count.
    pub forget_deleted: bool,
    /// Pods to create.
    pub create: Vec<New>,
    /// The status, if all Pods are deleted and created.
    pub status: JobStatus,
    /// Pods whose finalizer goes once the status is written.
    pub untrack: Vec<Arc<Pod>>,
    /// What is news in the status.
    pub told: Vec<Told>,
    /// When to look again, absent any event.
    pub recheck: Option<Duration>,
}

/// Plans one pass for a Job that is not finished.
pub fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    let mut status = job.status.clone().unwrap_or_default();
    count_untracked(&mut status, pods);
    // The deadline is about being active, and begins anew with a Job that goes on.
    let resumes = condition(&status, "Suspended").is_some();
    if (resumes || status.start_time.is_none()) && !is_suspended(spec) {
        status.start_time = Some(Time(now));
    }
    let seen = Seen::of(job, spec, &status, pods);
    let mut plan = Plan { status, ..Plan::default() };
    let mut end = ending(&seen, &plan.status, now);
    if end.is_some() {
        plan.delete = seen.active.iter().map(|pod| Arc::clone(pod)).collect();
    } else if job.metadata.deletion_timestamp.is_none() {
        plan.track = adopted(&seen);
        manage::manage(&seen, &mut plan, now);
        let left = seen.active.len() + plan.create.len() - plan.delete.len();
        if left == 0 && is_complete(&seen) {
            end = Some(Ending::completed());
        } else {
            say_suspended(&mut plan, is_suspended(spec), now);
            if let Some(wait) = ending::until_deadline(&seen, &plan.status, now) {
                plan.recheck_within(wait);
            }
        }
    }
    fill_counts(&seen, &mut plan);
    let all_listed = list_ended(&seen, end.as_ref(), &mut plan);
    if let Some(end) = end {
        finish(&seen, &end, all_listed, &mut plan, now);
    }
    plan
}

impl Plan {
    /// Looks again after `wait`, unless earlier.
    pub fn recheck_within(&mut self, wait: Duration) {
        self.recheck = Some(self.recheck.map_or(wait, |other| other.min(wait)));
    }
}

/// Counts the Pods that the status lists and that have lost their finalizer since.
fn count_untracked(status: &mut JobStatus, pods: &[Arc<Pod>]) {
    let tracked: BTreeSet<&str> =
        pods.iter().filter(|pod| member::is_tracked(pod)).map(|pod| member::uid(pod)).collect();
    let listed = status.uncounted_terminated_pods.get_or_insert_default();
    for (list, counter) in
        [(&mut listed.succeeded, &mut status.succeeded), (&mut listed.failed, &mut status.failed)]
    {
        let Some(uids) = list else { continue };
        let before = uids.len();
        uids.retain(|uid| tracked.contains(uid.as_str()));
        let counted = count(before - uids.len());
        if counted > 0 {
            *counter = Some(counter.unwrap_or(0) + counted);
        }
        if uids.is_empty() {
            *list = None;
        }
    }
}

/// Active Pods without the finalizer: it is removed from ended ones alone, so these were adopted.
fn adopted(seen: &Seen<'_>) -> Vec<Arc<Pod>> {
    let untracked = seen.active.iter().filter(|pod| !member::is_tracked(pod));
    untracked.map(|pod| Arc::clone(pod)).collect()
}

/// Whether a Job with no active Pods has all it asked for.
fn is_complete(seen: &Seen<'_>) -> bool {
    // Without a number of completions it is the Pods that know, and one that succeeds says so.
    seen.spec.completions.map_or(seen.succeeded > 0, |wanted| seen.succeeded >= wanted)
}

fn say_suspended(plan: &mut Plan, suspended: bool, now: Timestamp) {
    let (said, event, reason, message) = if suspended {
        ("Suspended", "Suspended", "JobSuspended", "Job suspended")
    } else {
        ("Suspended", "Resumed", "JobResumed", "Job resumed")
    };
    if say(&mut plan.status, (said, suspended), (reason, message), now) {
        plan.told.push((false, event, message.into()));
    }
    if plan.status.conditions.as_ref().is_some_and(Vec::is_empty) {
        plan.status.conditions = None;
    }
}

fn fill_counts(seen: &Seen<'_>, plan: &mut Plan) {
    let ready = |all: &[Arc<Pod>]| all.iter().filter(|pod| pods::is_ready(pod)).count();
    let all_ready = seen.active.iter().filter(|pod| pods::is_ready(pod)).count();
    let active = seen.active.len() + plan.create.len() - plan.delete.len();
    plan.status.active = Some(count(active)).filter(|active| *active > 0);
    plan.status.ready = Some(count(all_ready - ready(&plan.delete)));
    plan.status.terminating = Some(count(seen.terminating + plan.delete.len()));
    if is_indexed(seen.spec) {
        plan.status.succeeded = Some(seen.succeeded).filter(|count| *count > 0);
        let completed = seen.completed.to_string();
        plan.status.completed_indexes = Some(completed).filter(|text| !text.is_empty());
        plan.status.failed_indexes = seen.failed_indexes.as_ref().map(ToString::to_string);
    }
}

/// Lists Pods that have ended; answers whether there was room for all of them.
fn list_ended(seen: &Seen<'_>, end: Option<&Ending>, plan: &mut Plan) -> bool {
    let all_fail = end.is_some_and(|end| !end.success);
    let listed = plan.status.uncounted_terminated_pods.get_or_insert_default();
    let succeeded = &mut listed.succeeded;
    let failed = &mut listed.failed;
    for pod in seen.pods.iter().filter(|pod| member::is_tracked(pod)) {
        if plan.forget_deleted && plan.delete.iter().any(|other| Arc::ptr_eq(other, pod)) {
            continue; // its finalizer goes before it is deleted
        }
        let has_failed = member::has_failed(seen.spec, pod);
        if !may_untrack(seen, end, pod, has_failed) {
            continue;
        }
        let room = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        if room(succeeded) + room(failed) >= UNCOUNTED_MAX {
            return false;
        }
        plan.untrack.push(Arc::clone(pod));
        let uid = member::uid(pod);
        if member::has_succeeded(pod) && !seen.uncounted.failed.contains(uid) {
            // An index says by itself that it is counted.
            if !is_indexed(seen.spec) && !seen.uncounted.succeeded.contains(uid) {
                succeeded.get_or_insert_default().push(uid.to_owned());
            }
        } else if (has_failed || all_fail)
            && seen.is_of_the_job(pod)
            && !seen.uncounted.failed.contains(uid)
            && member::judge(seen.job, pod) != Verdict::Ignore
        {
            failed.get_or_insert_default().push(uid.to_owned());
        }
    }
    true
}

fn may_untrack(seen: &Seen<'_>, end: Option<&Ending>, pod: &Arc<Pod>, has_failed: bool) -> bool {
    if seen.job.metadata.deletion_timestamp.is_some() || end.is_some() {
        return true;
    }
    let index = member::index(pod);
    let waits = index.and_then(|index| seen.heirless.get(&index));
    member::has_succeeded(pod)
        || (has_failed && !waits.is_some_and(|waiting| Arc::ptr_eq(waiting, pod)))
}

/// Says how the Job ends, and, once no Pod is left to count or to wait for, that it has ended.
fn finish(seen: &Seen<'_>, end: &Ending, all_listed: bool, plan: &mut Plan, now: Timestamp) {
    let (soon, at_last) = end.conditions();
    let why = (end.reason.as_str(), end.message.as_str());
    if condition(&plan.status, soon).is_none() {
        say(&mut plan.status, (soon, true), why, now);
    }
    let uncounted = plan.status.uncounted_terminated_pods.as_ref();
    let counted = uncounted.is_none_or(|u| u.succeeded.is_none() && u.failed.is_none());
    if !(counted && all_listed && plan.untrack.is_empty() && plan.status.terminating == Some(0)) {
        return;
    }
    say(&mut plan.status, (at_last, true), why, now);
    plan.status.start_time.get_or_insert(Time(now));
    plan.recheck = None;
    if !end.success {
        plan.told.push((true, end.known_reason(), end.message.clone()));
        return;
    }
    plan.status.completion_time = Some(Time(now));
    if seen.spec.completions.is_some_and(|wanted| seen.succeeded > wanted) {
        let message = "Too many succeeded pods running after completion count reached";
        plan.told.push((true, "TooManySucceededPods", message.into()));
    }
    plan.told.push((false, "Completed", "Job completed".into()));
}
