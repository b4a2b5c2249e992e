//! Whether a Job has come to its end, and which.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, SuccessPolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::member::{self, Verdict};
use super::seen::{Seen, is_suspended};
use crate::client::Indexes;

/// Why Jobs fail.
const FAILURES: [&str; 5] = [
    "PodFailurePolicy",
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "MaxFailedIndexesExceeded",
    "FailedIndexes",
];

/// How a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whether it did what it should.
    pub success: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why.
    pub message: String,
}

impl Ending {
    fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self { success: false, reason: reason.into(), message: message.into() }
    }

    fn success(reason: &str, message: impl Into<String>) -> Self {
        Self { success: true, reason: reason.into(), message: message.into() }
    }

    /// The ending of a Job that has all it asked for.
    pub fn completed() -> Self {
        Self::success("CompletionsReached", "Reached expected number of succeeded pods")
    }

    /// Why a Job fails, as one of the words that an event has for it.
    pub fn known_reason(&self) -> &'static str {
        let known = FAILURES.iter().find(|reason| **reason == self.reason);
        known.copied().unwrap_or("Failed")
    }

    /// The condition while Pods are still cleared away, and the one at the very end.
    pub fn conditions(&self) -> (&'static str, &'static str) {
        if self.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") }
    }
}

/// The ending that a Job has come to, if it has.
pub fn ending(seen: &Seen<'_>, status: &JobStatus, now: Timestamp) -> Option<Ending> {
    let said = |kind: &str, success| {
        let condition = condition(status, kind)?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reason, message) = (text(&condition.reason), text(&condition.message));
        Some(Ending { success, reason, message })
    };
    said("SuccessCriteriaMet", true)
        .or_else(|| said("FailureTarget", false))
        .or_else(|| by_failure_policy(seen))
        .or_else(|| out_of_retries(seen))
        .or_else(|| {
            let over = until_deadline(seen, status, now) == Some(Duration::ZERO);
            let message = "Job was active longer than specified deadline";
            over.then(|| Ending::failure("DeadlineExceeded", message))
        })
        .or_else(|| by_failed_indexes(seen))
        .or_else(|| by_success_policy(seen))
}

/// How long a Job may still be active; zero if it was for too long.
pub fn until_deadline(seen: &Seen<'_>, status: &JobStatus, now: Timestamp) -> Option<Duration> {
    let seconds = seen.spec.active_deadline_seconds.filter(|_| !is_suspended(seen.spec))?;
    let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let start = status.start_time.as_ref()?;
    let active = Duration::try_from(now.duration_since(start.0)).unwrap_or_default();
    Some(allowed.saturating_sub(active))
}

/// The condition of a status, if it is so.
pub fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether a Job is at its very end.
pub fn is_finished(job: &Job) -> bool {
    finished(job).is_some()
}

/// The condition that a Job ended with.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

/// Says in a status that `kind` is so or not; answers whether that is news.
///
/// That something is not so which was never so is no news, and not said.
pub fn say(
    status: &mut JobStatus,
    (kind, is): (&str, bool),
    (reason, message): (&str, &str),
    now: Timestamp,
) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let said = JobCondition {
        type_: kind.into(),
        status: if is { "True" } else { "False" }.into(),
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        message: Some(message.to_owned()).filter(|message| !message.is_empty()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(old) => {
            let news = (&old.status, &old.reason, &old.message)
                != (&said.status, &said.reason, &said.message);
            if news {
                *old = said;
            }
            news
        }
        None if is => {
            conditions.push(said);
            true
        }
        None => false,
    }
}

fn by_failure_policy(seen: &Seen<'_>) -> Option<Ending> {
    let failed = seen.pods.iter().filter(|pod| member::has_failed(seen.spec, pod));
    failed.into_iter().find_map(|pod| match member::judge(seen.job, pod) {
        Verdict::FailJob(why) => Some(Ending::failure("PodFailurePolicy", why)),
        _ => None,
    })
}

fn out_of_retries(seen: &Seen<'_>) -> Option<Ending> {
    let limit = seen.spec.backoff_limit.unwrap_or(6);
    let restart = seen.spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    let restarts = seen.pods.iter().map(|pod| member::restarts(pod)).fold(0, i32::saturating_add);
    // Where containers are restarted in place, their restarts are the retries.
    let restarted =
        restart == Some("OnFailure") && if limit == 0 { restarts > 0 } else { restarts >= limit };
    let message = "Job has reached the specified backoff limit";
    (seen.failed > limit || restarted).then(|| Ending::failure("BackoffLimitExceeded", message))
}

fn by_failed_indexes(seen: &Seen<'_>) -> Option<Ending> {
    let failed = seen.failed_indexes.as_ref()?.len();
    let completions = seen.spec.completions.unwrap_or(0);
    if seen.spec.max_failed_indexes.is_some_and(|most| failed > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Ending::failure("MaxFailedIndexesExceeded", message));
    }
    let all_over = failed > 0 && failed + seen.completed.len() >= completions;
    all_over.then(|| Ending::failure("FailedIndexes", "Job has failed indexes"))
}

fn by_success_policy(seen: &Seen<'_>) -> Option<Ending> {
    let policy = seen.spec.success_policy.as_ref().filter(|_| !seen.completed.is_empty())?;
    let completions = seen.spec.completions.unwrap_or(0);
    let met = |rule: &SuccessPolicyRule| {
        let Some(text) = &rule.succeeded_indexes else {
            return rule.succeeded_count.is_some_and(|count| seen.completed.len() >= count);
        };
        let wanted = Indexes::below(text, completions);
        let got = wanted.shared(&seen.completed);
        !wanted.is_empty()
            && (got == wanted.len() || rule.succeeded_count.is_some_and(|count| got >= count))
    };
    let number = policy.rules.iter().position(met)?;
    Some(Ending::success("SuccessPolicy", format!("Matched rules at index {number}")))
}
