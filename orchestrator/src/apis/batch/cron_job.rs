//! `cronjobs.batch`
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::json;

use super::job;
use crate::api::cron::{Schedule, time_zone};
use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, Subresource, age};
use crate::apis::apps::template;
use crate::apis::checks::{invalid, not_negative, required, required_one_of};
use crate::apis::core::pod_template;

/// As many bytes as a name may have: the names of its Jobs, which labels hold, are 11 longer.
const NAME_MAX: usize = 52;
/// As many bytes as a part of a time zone's name may have; IANA's rule.
const ZONE_PART_MAX: usize = 14;
/// What happens when a Job is due while another still runs.
const CONCURRENCY: [&str; 3] = ["Allow", "Forbid", "Replace"];
/// Jobs that are kept once they have succeeded or failed.
const SUCCEEDED_KEPT: i32 = 3;
const FAILED_KEPT: i32 = 1;

/// The `cronjobs.batch` resource.
#[derive(Debug)]
pub struct CronJobs;

impl Strategy for CronJobs {
    type Kind = CronJob;

    const SHORT_NAMES: &'static [&'static str] = &["cj"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<CronJob>] = &[
        Column::new("Schedule", "When its Jobs are due", |c, _| json!(c.spec.schedule)),
        Column::new("Timezone", "Whose clocks the schedule means", |c, _| {
            json!(c.spec.time_zone.as_deref().unwrap_or("<none>"))
        }),
        Column::new("Suspend", "Whether no Jobs are begun", |c, _| {
            json!(match c.spec.suspend {
                Some(true) => "True",
                Some(false) => "False",
                None => "<unset>",
            })
        }),
        Column::new("Active", "Jobs that run", |c: &CronJob, _| {
            let active = c.status.as_ref().and_then(|status| status.active.as_ref());
            json!(active.map_or(0, Vec::len))
        })
        .integer(),
        Column::new("Last Schedule", "How long ago a Job was due", |c, now| {
            let last = c.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
            json!(last.map_or_else(|| "<none>".into(), |time| age(Some(time.0), now)))
        }),
        Column::new("Containers", "Names of each container in the template.", |c, _| {
            json!(template::container_names(pods(c)))
        })
        .wide(),
        Column::new("Images", "Images referenced by each container in the template.", |c, _| {
            json!(template::images(pods(c)))
        })
        .wide(),
        // A template has none: each Job's is generated.
        Column::new("Selector", "Label selector for its Pods", |_, _| json!("<none>")).wide(),
    ];
    const HAS_GENERATION: bool = true;

    fn default(&self, cron_job: &mut CronJob) {
        let spec = &mut cron_job.spec;
        let concurrency = spec.concurrency_policy.get_or_insert_default();
        if concurrency.is_empty() {
            *concurrency = "Allow".into();
        }
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(SUCCEEDED_KEPT);
        spec.failed_jobs_history_limit.get_or_insert(FAILED_KEPT);
        // As in Kubernetes, a Job's own defaults are filled in when it is created.
        if let Some(spec) = &mut spec.job_template.spec {
            template::defaults(&mut spec.template);
        }
    }

    fn validate(&self, new: &CronJob, operation: Operation<'_, CronJob>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Operation::UpdateStatus(_) = operation {
            return errors;
        }
        let path = FieldPath::new("spec");
        let spec = &new.spec;
        validate_schedule(&mut errors, &path.child("schedule"), &spec.schedule);
        not_negative(
            &mut errors,
            &path.child("startingDeadlineSeconds"),
            spec.starting_deadline_seconds,
        );
        let before = operation.old().map(|old| &old.spec.time_zone);
        if let Some(zone) = spec.time_zone.as_deref().filter(|_| before != Some(&spec.time_zone)) {
            validate_zone(&mut errors, &path.child("timeZone"), zone);
        }
        let concurrency = spec.concurrency_policy.as_deref();
        let at = path.child("concurrencyPolicy");
        required_one_of(&mut errors, &at, concurrency, &CONCURRENCY);
        job::validate_template_spec(&mut errors, &path.child("jobTemplate"), &spec.job_template);
        for (field, limit) in [
            ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ] {
            not_negative(&mut errors, &path.child(field), limit.map(i64::from));
        }
        let name = new.metadata.name.as_deref().unwrap_or_default();
        if let Operation::Create = operation {
            errors.check(name.len() <= NAME_MAX, || {
                let path = FieldPath::new("metadata").child("name");
                invalid(&path, name, format!("must be no more than {NAME_MAX} characters"))
            });
        }
        errors
    }

    fn warnings(&self, cron_job: &CronJob) -> Vec<String> {
        pods(cron_job).map(pod_template::template_warnings).unwrap_or_default()
    }
}

fn validate_schedule(errors: &mut FieldErrors, path: &FieldPath, schedule: &str) {
    if schedule.is_empty() {
        errors.push(required(path, ""));
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(invalid(path, schedule, why));
    } else if let Err(why) = Schedule::parse(schedule) {
        errors.push(invalid(path, schedule, why));
    }
}

fn validate_zone(errors: &mut FieldErrors, path: &FieldPath, zone: &str) {
    if zone.is_empty() {
        errors.push(invalid(path, zone, "timeZone must be nil or non-empty string"));
        return;
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let named = zone.split('/').all(|part| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_PART_MAX
            && part.chars().all(allowed)
    });
    if zone.eq_ignore_ascii_case("Local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(invalid(path, zone, why));
    } else if !named || time_zone(zone).is_err() {
        errors.push(invalid(path, zone, format!("unknown time zone {zone}")));
    }
}

fn pods(cron_job: &CronJob) -> Option<&PodTemplateSpec> {
    cron_job.spec.job_template.spec.as_ref().map(|spec| &spec.template)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, headers, object, update, with};

    fn cron_job(spec: Value) -> Object {
        let mut all = json!({"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "work", "image": "work:1"}],
        }}}}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object(
            "batch/v1",
            "CronJob",
            json!({"metadata": {"name": "work", "namespace": "default"}, "spec": all}),
        )
    }

    fn errors(spec: Value) -> Vec<String> {
        create_errors(&cron_job(spec))
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let spec = create(&cron_job(json!({}))).unwrap().body["spec"].clone();
        assert_eq!(spec["concurrencyPolicy"], "Allow");
        assert_eq!(spec["suspend"], false);
        assert_eq!(spec["successfulJobsHistoryLimit"], 3);
        assert_eq!(spec["failedJobsHistoryLimit"], 1);
        assert_eq!(spec["jobTemplate"]["spec"].get("backoffLimit"), None);
        assert_eq!(spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    }

    #[test]
    fn its_row_tells_when_and_how_many() {
        let created = create(&cron_job(json!({"timeZone": "Europe/Berlin"}))).unwrap();
        assert_eq!(
            headers(&created)[..5],
            ["Schedule", "Timezone", "Suspend", "Active", "Last Schedule"]
        );
        assert_eq!(
            cells(&created),
            ["*/5 * * * *", "Europe/Berlin", "False", "0", "<none>", "work", "work:1", "<none>"]
        );
        let status = json!({"active": [{"name": "a"}], "lastScheduleTime": "2026-01-01T00:55:00Z"});
        assert_eq!(cells(&with(&created, "/status", status))[3..5], ["1", "5m"]);
    }

    #[test]
    fn schedules_and_time_zones_must_be_understood() {
        assert_eq!(errors(json!({"schedule": ""})), ["spec.schedule: Required value"]);
        assert_eq!(
            errors(json!({"schedule": "* * * *"})),
            [
                "spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]"
            ]
        );
        assert_eq!(
            errors(json!({"schedule": "TZ=UTC 0 * * * *"})),
            [
                "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            ]
        );
        for zone in ["Mars/Olympus", "../etc/passwd", "-a", "a//b", "Europe/ Berlin"] {
            let why = format!("spec.timeZone: Invalid value: {zone:?}: unknown time zone {zone}");
            assert_eq!(errors(json!({"timeZone": zone})), [why]);
        }
        assert_eq!(
            errors(json!({"timeZone": ""})),
            ["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]
        );
        assert!(errors(json!({"timeZone": "local"}))[0].contains("must be an explicit time zone"));
        assert_eq!(errors(json!({"timeZone": "Etc/UTC"})), [""; 0]);
    }

    #[test]
    fn its_template_makes_jobs_that_end() {
        assert_eq!(
            errors(
                json!({"concurrencyPolicy": "Maybe", "startingDeadlineSeconds": -1, "failedJobsHistoryLimit": -1})
            ),
            [
                "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        let old = create(&cron_job(json!({}))).unwrap();
        let always =
            with(&old, "/spec/jobTemplate/spec/template/spec/restartPolicy", json!("Always"));
        assert_eq!(
            create_errors(&always),
            [
                "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
            ]
        );
        let selector =
            with(&old, "/spec/jobTemplate/spec/selector", json!({"matchLabels": {"a": "b"}}));
        assert!(create_errors(&selector)[0].ends_with("`selector` will be auto-generated"));
        assert!(update(&old, &with(&old, "/spec/schedule", json!("@hourly"))).is_ok());
        let long = with(&old, "/metadata/name", json!("n".repeat(53)));
        assert_eq!(create_errors(&long).len(), 1);
        assert!(update(&long, &long).is_ok());
    }
}
