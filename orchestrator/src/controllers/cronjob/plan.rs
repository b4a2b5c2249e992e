//! What one pass does for a `CronJob`: which Jobs it sees, begins, and clears away.
use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;

use super::times::Due;
use crate::controllers::job;

/// An event: whether it is trouble, reason, message.
pub type Told = (bool, &'static str, String);

/// What is seen of the Jobs there are.
#[derive(Debug, Default, PartialEq)]
pub struct Sighting {
    /// The status that follows.
    pub status: CronJobStatus,
    /// What is news.
    pub told: Vec<Told>,
}

/// Takes in how the Jobs of a `CronJob` are getting on.
pub fn see(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Sighting {
    let mut seen =
        Sighting { status: cron_job.status.clone().unwrap_or_default(), told: Vec::new() };
    let active = seen.status.active.get_or_insert_default();
    for job in jobs {
        let (uid, name) = (&job.metadata.uid, job.metadata.name.as_deref().unwrap_or_default());
        let listed = active.iter().position(|active| active.uid == *uid);
        match (job::finished(job), listed) {
            (None, Some(_)) => {}
            (None, None) => {
                let told =
                    format!("Saw a job that the controller did not create or forgot: {name}");
                seen.told.push((true, "UnexpectedJob", told));
            }
            (Some(condition), listed) => {
                if let Some(listed) = listed {
                    active.remove(listed);
                    let told = format!("Saw completed job: {name}, condition: {}", condition.type_);
                    seen.told.push((false, "SawCompletedJob", told));
                }
                let ended = job.status.as_ref().and_then(|status| status.completion_time.clone());
                if condition.type_ == "Complete" && ended > seen.status.last_successful_time {
                    seen.status.last_successful_time = ended;
                }
            }
        }
    }
    active.retain(|active| {
        let there = jobs.iter().any(|job| job.metadata.uid == active.uid);
        if !there {
            let name = active.name.as_deref().unwrap_or_default();
            seen.told.push((false, "MissingJob", format!("Active job went missing: {name}")));
        }
        there
    });
    if active.is_empty() {
        seen.status.active = None;
    }
    seen
}

/// What to do about a Job that is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// It was begun before.
    Begun,
    /// Another still runs, and has to end first.
    Forbidden,
    /// Begin it, once these are deleted.
    Begin(Vec<ObjectReference>),
}

/// Decides about a Job that is due.
pub fn start(cron_job: &CronJob, status: &CronJobStatus, due: Due) -> Start {
    let active = status.active.as_deref().unwrap_or_default();
    let name = job_name(cron_job, due);
    let begun = status.last_schedule_time.as_ref().is_some_and(|last| last.0 == due.at);
    if begun || active.iter().any(|active| active.name.as_ref() == Some(&name)) {
        return Start::Begun;
    }
    let policy = cron_job.spec.concurrency_policy.as_deref();
    match policy {
        Some("Forbid") if !active.is_empty() => Start::Forbidden,
        Some("Replace") => Start::Begin(active.to_vec()),
        _ => Start::Begin(Vec::new()),
    }
}

/// The name of the Job that is due then: the same however often it is tried.
pub fn job_name(cron_job: &CronJob, due: Due) -> String {
    let name = cron_job.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{}", due.at.as_second() / 60)
}

/// The finished Jobs that are too many, the oldest of them.
pub fn outdated(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron_job.spec;
    let of = |condition: &str, limit: Option<i32>| {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            return Vec::new();
        };
        let is = |job: &&Arc<Job>| job::finished(job).is_some_and(|c| c.type_ == condition);
        let mut finished: Vec<_> = jobs.iter().filter(is).cloned().collect();
        finished.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.clone());
            Reverse((started, job.metadata.name.clone()))
        });
        finished.split_off(limit.min(finished.len()))
    };
    let mut outdated = of("Complete", spec.successful_jobs_history_limit);
    outdated.extend(of("Failed", spec.failed_jobs_history_limit));
    outdated.retain(|job| job.metadata.deletion_timestamp.is_none());
    outdated
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cron_job(policy: &str, active: &[&str]) -> CronJob {
        let active: Value = active.iter().map(|name| json!({"name": name, "uid": name})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "c"},
            "spec": {"schedule": "* * * * *", "concurrencyPolicy": policy, "jobTemplate": {},
                "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0},
            "status": {"active": active},
        }))
        .unwrap()
    }

    fn job(name: &str, condition: &str, minute: u32) -> Arc<Job> {
        let condition = json!([{"type": condition, "status": "True"}]);
        let job = json!({"metadata": {"name": name, "uid": name}, "status": {
            "conditions": condition, "startTime": format!("2026-01-01T00:{minute:02}:00Z"),
            "completionTime": format!("2026-01-01T00:{minute:02}:30Z"),
        }});
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn names(active: &Option<Vec<ObjectReference>>) -> Vec<&str> {
        active.iter().flatten().filter_map(|active| active.name.as_deref()).collect()
    }

    #[test]
    fn what_has_ended_or_gone_is_active_no_more() {
        let jobs =
            [job("a", "Complete", 1), job("b", "Failed", 2), job("c", "", 3), job("x", "", 4)];
        let seen = see(&cron_job("Allow", &["a", "b", "c", "d"]), &jobs);
        assert_eq!(names(&seen.status.active), ["c"]);
        let last = seen.status.last_successful_time.unwrap().0.to_string();
        assert_eq!(last, "2026-01-01T00:01:30Z");
        let told: Vec<_> = seen.told.iter().map(|(_, _, message)| message.as_str()).collect();
        assert_eq!(
            told,
            [
                "Saw completed job: a, condition: Complete",
                "Saw completed job: b, condition: Failed",
                "Saw a job that the controller did not create or forgot: x",
                "Active job went missing: d",
            ]
        );
    }

    #[test]
    fn the_policy_says_what_happens_to_a_job_that_still_runs() {
        let due = Due { at: "2026-01-01T00:05:00Z".parse().unwrap(), many_missed: false };
        let start = |policy: &str, active: &[&str]| {
            let cron_job = cron_job(policy, active);
            start(&cron_job, cron_job.status.as_ref().unwrap(), due)
        };
        assert_eq!(start("Allow", &["a"]), Start::Begin(Vec::new()));
        assert_eq!(start("Forbid", &["a"]), Start::Forbidden);
        assert_eq!(start("Forbid", &[]), Start::Begin(Vec::new()));
        let Start::Begin(replaced) = start("Replace", &["a"]) else { panic!("not begun") };
        assert_eq!(names(&Some(replaced)), ["a"]);
        assert_eq!(start("Allow", &["c-29453765"]), Start::Begun);
    }

    #[test]
    fn the_oldest_of_too_many_finished_jobs_go() {
        let jobs = [
            job("a", "Complete", 1),
            job("b", "Complete", 3),
            job("c", "Complete", 2),
            job("d", "Failed", 1),
            job("e", "", 0),
        ];
        let outdated = outdated(&cron_job("Allow", &[]), &jobs);
        let names: Vec<_> = outdated.iter().filter_map(|job| job.metadata.name.clone()).collect();
        assert_eq!(names, ["c", "a", "d"]);
    }
}
