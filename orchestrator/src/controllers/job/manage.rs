//! How many Pods a Job needs: which to delete, which to create, when.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::member::{self, Verdict};
use super::plan::Plan;
use super::seen::{Seen, count, is_indexed, is_suspended};
use crate::controllers::pods;

/// As many Pods as one pass creates or deletes; the rest wait for the next.
const BURST: usize = 500;
/// The wait after the first failure in a row; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest wait after a failure.
const BACKOFF_LAST: Duration = Duration::from_secs(600);

/// A Pod to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct New {
    /// Its completion index.
    pub index: Option<i32>,
    /// How often Pods of this index failed before, as far as it counts and beyond; if that is limited per index.
    pub failures: Option<(i32, i32)>,
}

/// Plans Pods to delete or to create, never both in one pass.
pub fn manage(seen: &Seen<'_>, plan: &mut Plan, now: Timestamp) {
    let wanted = wanted(seen);
    let surplus = seen.active.len().saturating_sub(wanted);
    plan.delete = surplus_pods(seen, surplus);
    // What the Job does not want any more has not failed.
    plan.forget_deleted = true;
    if !plan.delete.is_empty() || is_suspended(seen.spec) {
        return;
    }
    let waits_for = if member::only_ended_are_replaced(seen.spec) { seen.terminating } else { 0 };
    let missing = wanted.saturating_sub(seen.active.len() + waits_for).min(BURST);
    if missing == 0 {
        return;
    }
    if seen.spec.backoff_limit_per_index.is_none() {
        let (failures, last) = seen.failures_in_a_row();
        let wait = backoff(failures, last, now);
        if !wait.is_zero() {
            return plan.recheck_within(wait);
        }
    }
    if !is_indexed(seen.spec) {
        plan.create = vec![New::default(); missing];
        return;
    }
    create_indexes(seen, plan, missing, now);
}

/// How many Pods should be active.
fn wanted(seen: &Seen<'_>) -> usize {
    let spec = seen.spec;
    if is_suspended(spec) {
        return 0;
    }
    let side_by_side = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        Some(completions) => side_by_side.min(completions - seen.succeeded),
        // Once one has succeeded no more are begun, and the others may end.
        None if seen.succeeded > 0 => count(seen.active.len()),
        None => side_by_side,
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// The Pods to delete: those of an indexed Job that stand twice or have no place, then as many
/// more as are too many, those first in which least is lost.
fn surplus_pods(seen: &Seen<'_>, surplus: usize) -> Vec<Arc<Pod>> {
    let mut left: Vec<&Arc<Pod>> = seen.active.clone();
    left.sort_by_cached_key(|pod| rank(pod));
    let mut delete = Vec::new();
    if is_indexed(seen.spec) {
        let mut kept: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
        for pod in std::mem::take(&mut left) {
            let index = member::index(pod).filter(|_| seen.is_of_the_job(pod));
            // Of two, the later in this order is further.
            match index.map(|index| kept.insert(index, pod)) {
                None => delete.push(pod),
                Some(None) => {}
                Some(Some(behind)) => delete.push(behind),
            }
        }
        left = kept.into_values().collect();
        left.sort_by_cached_key(|pod| rank(pod));
    }
    let more = surplus.saturating_sub(delete.len());
    delete.extend(left.into_iter().take(more));
    delete.truncate(BURST);
    delete.into_iter().cloned().collect()
}

/// Orders Pods by how little is lost in deleting them: without a node, not running, not ready, young.
fn rank(pod: &Pod) -> impl Ord + use<> {
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let runs = pods::phase(pod) == Some("Running");
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (has_node, runs, pods::is_ready(pod), Reverse(created), pod.metadata.uid.clone())
}

fn create_indexes(seen: &Seen<'_>, plan: &mut Plan, missing: usize, now: Timestamp) {
    let completions = seen.spec.completions.unwrap_or(0);
    let waits = member::only_ended_are_replaced(seen.spec);
    let taken =
        seen.pods.iter().filter(|pod| pods::is_active(pod) || (waits && pods::is_terminating(pod)));
    let taken: BTreeSet<i32> = taken.filter_map(|pod| member::index(pod)).collect();
    let mut busy = seen.completed.with(taken);
    if let Some(failed) = &seen.failed_indexes {
        busy = busy.with(failed.iter());
    }
    let mut soonest: Option<Duration> = None;
    for index in busy.missing(missing, completions) {
        let mut new = New { index: Some(index), failures: None };
        if seen.spec.backoff_limit_per_index.is_some() {
            let last = seen.heirless.get(&index);
            let wait = last.map_or(Duration::ZERO, |pod| {
                let (counted, ignored) = member::failures_before(pod);
                let failures = u32::try_from(counted.saturating_add(ignored)).unwrap_or(u32::MAX);
                backoff(failures.saturating_add(1), Some(member::ended_at(pod)), now)
            });
            if !wait.is_zero() {
                soonest = Some(soonest.map_or(wait, |other| other.min(wait)));
                continue;
            }
            new.failures = Some(last.map_or((0, 0), |pod| inherited(seen, pod)));
        }
        plan.create.push(new);
    }
    if let Some(wait) = soonest {
        plan.recheck_within(wait);
    }
}

/// What the next Pod of an index is told of the failures before it.
fn inherited(seen: &Seen<'_>, last: &Pod) -> (i32, i32) {
    let (counted, ignored) = member::failures_before(last);
    match member::judge(seen.job, last) {
        Verdict::Ignore => (counted, ignored.saturating_add(1)),
        _ => (counted.saturating_add(1), ignored),
    }
}

/// How long to wait, after so many failures in a row of which the last was at `last`.
fn backoff(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|_| failures > 0) else { return Duration::ZERO };
    let wait = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(16)).min(BACKOFF_LAST);
    let passed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    wait.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_ten_minutes() {
        let at = Timestamp::from_second(1_000).unwrap();
        let wait = |failures| backoff(failures, Some(at), at).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 40].map(wait), [0, 10, 20, 40, 320, 600, 600]);
        let later = Timestamp::from_second(1_007).unwrap();
        assert_eq!(backoff(1, Some(at), later).as_secs(), 3);
        assert_eq!(backoff(1, None, later), Duration::ZERO);
    }
}
