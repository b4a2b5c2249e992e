//! What one pass sees of a Job and its Pods.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::member::{self, Verdict};
use crate::client::Indexes;
use crate::controllers::pods;

/// A Job, its Pods, and what has come of them.
pub struct Seen<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Its spec.
    pub spec: &'a JobSpec,
    /// All its Pods, those of an indexed Job in the order of their indexes.
    pub pods: Vec<&'a Arc<Pod>>,
    /// Those that have not ended and are not on their way out.
    pub active: Vec<&'a Arc<Pod>>,
    /// How many are on their way out.
    pub terminating: usize,
    /// Uids that the status lists but does not count yet.
    pub uncounted: Uncounted,
    /// Pods that succeeded, counted or not.
    pub succeeded: i32,
    /// Pods that failed as far as it counts, counted or not.
    pub failed: i32,
    /// Indexes that succeeded.
    pub completed: Indexes,
    /// Indexes that failed for good; absent unless retries are limited per index.
    pub failed_indexes: Option<Indexes>,
    /// Failed Pods that have to stay until their index has another, to which they hand down their count.
    pub heirless: BTreeMap<i32, &'a Arc<Pod>>,
}

/// Uids of Pods that have ended and still have the finalizer.
#[derive(Debug, Default)]
pub struct Uncounted {
    /// Of Pods that succeeded.
    pub succeeded: BTreeSet<String>,
    /// Of Pods that failed.
    pub failed: BTreeSet<String>,
}

impl<'a> Seen<'a> {
    /// Looks at a Job whose status is `status`, in which [`mod@super::plan`] has counted.
    pub fn of(job: &'a Job, spec: &'a JobSpec, status: &JobStatus, pods: &'a [Arc<Pod>]) -> Self {
        let mut pods: Vec<_> = pods.iter().collect();
        if is_indexed(spec) {
            pods.sort_by_key(|pod| member::index(pod));
        }
        let listed = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut seen = Self {
            job,
            spec,
            active: pods.iter().copied().filter(|pod| pods::is_active(pod)).collect(),
            terminating: pods.iter().filter(|pod| pods::is_terminating(pod)).count(),
            pods,
            uncounted: Uncounted {
                succeeded: listed.succeeded.into_iter().flatten().collect(),
                failed: listed.failed.into_iter().flatten().collect(),
            },
            succeeded: 0,
            failed: 0,
            completed: Indexes::default(),
            failed_indexes: None,
            heirless: BTreeMap::new(),
        };
        seen.tally(status);
        seen
    }

    fn tally(&mut self, status: &JobStatus) {
        let unseen = |pod: &&&Arc<Pod>| member::is_tracked(pod) && self.is_of_the_job(pod);
        let new: Vec<_> = self.pods.iter().filter(unseen).copied().collect();
        let failed = new.iter().filter(|pod| {
            !self.uncounted.failed.contains(member::uid(pod))
                && member::has_failed(self.spec, pod)
                && member::judge(self.job, pod) != Verdict::Ignore
        });
        self.failed =
            status.failed.unwrap_or(0) + count(failed.count() + self.uncounted.failed.len());
        let succeeded: Vec<_> = new.iter().filter(|pod| member::has_succeeded(pod)).collect();
        let Some(completions) = self.spec.completions.filter(|_| is_indexed(self.spec)) else {
            let listed = &self.uncounted.succeeded;
            let more = succeeded.iter().filter(|pod| !listed.contains(member::uid(pod)));
            self.succeeded = status.succeeded.unwrap_or(0) + count(more.count() + listed.len());
            return;
        };
        let before = Indexes::below(status.completed_indexes.as_deref().unwrap_or(""), completions);
        self.completed = before.with(succeeded.iter().filter_map(|pod| member::index(pod)));
        self.succeeded = self.completed.len();
        let Some(limit) = self.spec.backoff_limit_per_index else { return };
        let before = Indexes::below(status.failed_indexes.as_deref().unwrap_or(""), completions);
        let over = new.iter().filter(|pod| self.index_is_over(pod, limit));
        let over = over.filter_map(|pod| member::index(pod));
        let over: Vec<i32> = over.filter(|index| !self.completed.contains(*index)).collect();
        self.failed_indexes = Some(before.with(over));
        self.find_heirless(&new);
    }

    /// Whether a failed Pod was the last of its index.
    fn index_is_over(&self, pod: &Pod, limit: i32) -> bool {
        member::has_failed(self.spec, pod)
            && match member::judge(self.job, pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                Verdict::Count | Verdict::FailJob(_) => member::failures_before(pod).0 >= limit,
            }
    }

    fn find_heirless(&mut self, new: &[&'a Arc<Pod>]) {
        let active: BTreeSet<i32> = self.active.iter().filter_map(|p| member::index(p)).collect();
        let rank = |pod: &Pod| {
            let (counted, ignored) = member::failures_before(pod);
            (counted.saturating_add(ignored), member::ended_at(pod))
        };
        for pod in new.iter().filter(|pod| member::has_failed(self.spec, pod)) {
            let Some(index) = member::index(pod) else { continue };
            let over = self.failed_indexes.as_ref().is_some_and(|all| all.contains(index));
            if over || active.contains(&index) || self.completed.contains(index) {
                continue;
            }
            let last = self.heirless.entry(index).or_insert(pod);
            if rank(pod) > rank(last) {
                *last = pod;
            }
        }
    }

    /// Whether a Pod counts: one of an indexed Job must have one of its indexes.
    pub fn is_of_the_job(&self, pod: &Pod) -> bool {
        let completions = self.spec.completions.unwrap_or(0);
        !is_indexed(self.spec) || member::index(pod).is_some_and(|index| index < completions)
    }

    /// How many Pods failed since one succeeded, and when the last of them did.
    ///
    /// Unlike Kubernetes, which remembers this in memory, it is read off the
    /// Pods that are still there, so that a restart does not forget it.
    pub fn failures_in_a_row(&self) -> (u32, Option<Timestamp>) {
        let ours = || self.pods.iter().filter(|pod| self.is_of_the_job(pod));
        let success = ours().filter(|pod| member::has_succeeded(pod));
        let success = success.map(|pod| member::ended_at(pod)).max();
        let failures = ours().filter(|pod| {
            // One that the Job did not want any more ends as failed, too, but is on its way out.
            let unwanted = pod.metadata.deletion_timestamp.is_some() && !member::is_tracked(pod);
            member::has_failed(self.spec, pod) && !unwanted
        });
        let after = failures.map(|pod| member::ended_at(pod));
        let after: Vec<_> =
            after.filter(|at| success.is_none_or(|success| *at > success)).collect();
        (u32::try_from(after.len()).unwrap_or(u32::MAX), after.into_iter().max())
    }
}

/// Whether each Pod has an index.
pub fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether no Pods are wanted now.
pub fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

/// A number of Pods as the API has it.
pub fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
