//! Jobs and CronJobs: how far they are, when they run, what they run.
use jiff::Timestamp;
use serde_json::Value;

use super::deployment::template;
use super::sheet::{Sheet, age_of};
use super::{conditions, pairs};
use crate::api::age;
use crate::cli::targets::text;

/// What is told about a Job.
pub(super) fn describe_job(object: &Value, sheet: &mut Sheet) {
    let (spec, status) = (&object["spec"], &object["status"]);
    sheet.line(0, "Selector", &pairs(&spec["selector"]["matchLabels"], ","));
    facts(spec, sheet);
    sheet.some(0, "Backoff Limit Per Index", &spec["backoffLimitPerIndex"]);
    sheet.some(0, "TTL After Finished", &spec["ttlSecondsAfterFinished"]);
    for (field, key) in [("startTime", "Start Time"), ("completionTime", "Completed At")] {
        if let Some(time) = status[field].as_str() {
            sheet.line(0, key, &format!("{time} ({} ago)", age_of(time)));
        }
    }
    if let (Some(start), Some(end)) = (at(&status["startTime"]), at(&status["completionTime"])) {
        sheet.line(0, "Duration", &age(Some(start), end));
    }
    sheet.line(0, "Pods Statuses", &statuses(status));
    sheet.some(0, "Completed Indexes", &status["completedIndexes"]);
    sheet.some(0, "Failed Indexes", &status["failedIndexes"]);
    template(&spec["template"], sheet);
    conditions(object, sheet);
}

/// What is told about a CronJob.
pub(super) fn describe_cron_job(object: &Value, sheet: &mut Sheet) {
    let (spec, status) = (&object["spec"], &object["status"]);
    for (field, key) in [
        ("schedule", "Schedule"),
        ("timeZone", "Time Zone"),
        ("concurrencyPolicy", "Concurrency Policy"),
        ("suspend", "Suspend"),
        ("successfulJobsHistoryLimit", "Successful Job History Limit"),
        ("failedJobsHistoryLimit", "Failed Job History Limit"),
        ("startingDeadlineSeconds", "Starting Deadline Seconds"),
    ] {
        sheet.some(0, key, &spec[field]);
    }
    for (field, key) in
        [("lastScheduleTime", "Last Schedule Time"), ("lastSuccessfulTime", "Last Success")]
    {
        let time = status[field].as_str();
        let time = time.map(|time| format!("{time} ({} ago)", age_of(time)));
        sheet.line(0, key, time.as_deref().unwrap_or("<none>"));
    }
    let active = status["active"].as_array().into_iter().flatten();
    let active: Vec<&str> = active.map(|job| text(&job["name"])).collect();
    let active = if active.is_empty() { "<none>".into() } else { active.join(", ") };
    sheet.line(0, "Active Jobs", &active);
    let job = &spec["jobTemplate"]["spec"];
    facts(job, sheet);
    template(&job["template"], sheet);
}

fn facts(spec: &Value, sheet: &mut Sheet) {
    for (field, key) in [
        ("parallelism", "Parallelism"),
        ("completions", "Completions"),
        ("completionMode", "Completion Mode"),
        ("suspend", "Suspended"),
        ("backoffLimit", "Backoff Limit"),
        ("activeDeadlineSeconds", "Active Deadline Seconds"),
    ] {
        sheet.some(0, key, &spec[field]);
    }
}

fn statuses(status: &Value) -> String {
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    format!(
        "{} Active ({} Ready) / {} Succeeded / {} Failed",
        count("active"),
        count("ready"),
        count("succeeded"),
        count("failed")
    )
}

fn at(time: &Value) -> Option<Timestamp> {
    time.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template_of(name: &str) -> Value {
        json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": name, "image": "x:1"}]}})
    }

    #[test]
    fn a_job_says_how_far_it_is_and_how_long_it_took() {
        let mut sheet = Sheet::default();
        let job = json!({
            "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 6, "template": template_of("c")},
            "status": {"active": 1, "ready": 1, "succeeded": 2, "failed": 1, "completedIndexes": "0,2",
                "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:30Z"}});
        describe_job(&job, &mut sheet);
        let text = sheet.render();
        for part in [
            "1 Active (1 Ready) / 2 Succeeded / 1 Failed",
            "Duration:           90s",
            "Completed Indexes:  0,2",
            "Image:",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    #[test]
    fn a_cron_job_says_when_and_what_it_runs() {
        let mut sheet = Sheet::default();
        let job = json!({"spec": {"schedule": "*/5 * * * *", "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"backoffLimit": 2, "template": template_of("c")}}},
            "status": {"active": [{"name": "web-1"}]}});
        describe_cron_job(&job, &mut sheet);
        let text = sheet.render();
        for part in ["*/5 * * * *", "Forbid", "web-1", "<none>", "Backoff Limit", "x:1"] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }
}
