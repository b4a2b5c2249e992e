//! Begins a Job whenever a `CronJob`'s schedule says so.
//!
//! [`times`] knows when, [`plan`] decides what; this file does it. A Job is
//! named after the minute it was due, so that it cannot be begun twice.

mod plan;
mod times;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tracing::info;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, owner};
use crate::client::{
    EventRecorder, Index, Informer, ObjectKey, Schedule, is_namespace_terminating, refusal,
    status_code, time_zone,
};
use crate::clock::Clock;
use plan::{Start, Told};
use times::{Due, Times};

/// Tells a Job when it was due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Job could not be created.
    #[error("cannot create Job {name}")]
    Create {
        /// The Job.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// A Job could not be deleted.
    #[error("cannot delete Job {name}")]
    Delete {
        /// The Job.
        name: String,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// The status could not be written.
    #[error("cannot write status")]
    Status(#[source] Box<kube::Error>),
}

struct CronJobs {
    client: Client,
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let cron_jobs = context.informers.of::<CronJob>();
    let jobs = context.informers.of::<Job>();
    let queue = Queue::new();
    queue.feed_own(&cron_jobs);
    queue.feed(&jobs, |change, add| {
        let keys = change.both().filter_map(|job| owner::controller_key(&job.metadata, "CronJob"));
        keys.for_each(add);
    });
    let controller = CronJobs {
        client: context.client.clone(),
        cron_jobs: cron_jobs.clone(),
        jobs: jobs.clone(),
        events: context.recorder("cronjob-controller", tasks),
        clock: Arc::clone(&context.config.clock),
    };
    let synced = async move { tokio::join!(cron_jobs.synced(), jobs.synced()) };
    context.spawn(tasks, synced, controller, queue);
}

#[async_trait]
impl Controller for CronJobs {
    const NAME: &'static str = "cronjob";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Error> {
        let Some(cron_job) = self.cron_jobs.get(key) else {
            return Ok(Requeue::OnChange); // deleted; the garbage collector does the rest
        };
        let uid = cron_job.metadata.uid.as_deref().unwrap_or_default();
        let jobs = self.jobs.by(&Index::CONTROLLER, uid);
        let seen = plan::see(&cron_job, &jobs);
        self.tell(&cron_job, seen.told);
        let mut status = seen.status;
        let begun = self.begin(&cron_job, &mut status, written).await;
        // What was seen is written down whatever became of the Job that was due.
        self.write_status(&cron_job, status, written).await?;
        let requeue = begun?;
        for job in plan::outdated(&cron_job, &jobs) {
            let name = job.metadata.name.clone().unwrap_or_default();
            self.delete(&cron_job, &name, written).await?;
        }
        Ok(requeue)
    }
}

impl CronJobs {
    /// Begins the Job that is due, if one is; says when the next is.
    async fn begin(
        &self,
        cron_job: &CronJob,
        status: &mut CronJobStatus,
        written: &Written,
    ) -> Result<Requeue, Error> {
        let about = || cron_job.object_ref(&());
        let spec = &cron_job.spec;
        if cron_job.metadata.deletion_timestamp.is_some() || spec.suspend == Some(true) {
            return Ok(Requeue::OnChange);
        }
        let zone = match zone(spec) {
            Ok(zone) => zone,
            Err(error) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                let told = format!("invalid timeZone: {name:?}: {error}");
                self.events.warning(about(), "UnknownTimeZone", told);
                return Ok(Requeue::OnChange);
            }
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let told = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                self.events.warning(about(), "UnparseableSchedule", told);
                return Ok(Requeue::OnChange);
            }
        };
        let times = Times::of(cron_job, &schedule, &zone, self.clock.now());
        let next = Requeue::from(times.until_next());
        let Some(due) = times.due() else { return Ok(next) };
        if due.many_missed {
            let told = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.events.warning(about(), "TooManyMissedTimes", told);
        }
        match plan::start(cron_job, status, due) {
            Start::Begun => {}
            Start::Forbidden => {
                let told = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.events.normal(about(), "JobAlreadyActive", told);
            }
            Start::Begin(replaced) => {
                for job in replaced {
                    let name = job.name.unwrap_or_default();
                    self.delete(cron_job, &name, written).await?;
                    let active = status.active.get_or_insert_default();
                    active.retain(|active| active.uid != job.uid);
                }
                self.create(cron_job, status, due, &zone, written).await?;
            }
        }
        Ok(next)
    }

    async fn create(
        &self,
        cron_job: &CronJob,
        status: &mut CronJobStatus,
        due: Due,
        zone: &TimeZone,
        written: &Written,
    ) -> Result<(), Error> {
        let job = job(cron_job, due, zone);
        let name = job.metadata.name.clone().unwrap_or_default();
        let api = self.api(cron_job);
        let created = match api.create(&PostParams::default(), &job).await {
            Ok(created) => {
                info!(namespace = job.metadata.namespace, name, "job begins");
                let told = format!("Created job {name}");
                self.events.normal(cron_job.object_ref(&()), "SuccessfulCreate", told);
                created
            }
            Err(error) if is_namespace_terminating(&error) => return Ok(()),
            // It was begun, but the status was not written.
            Err(error) if status_code(&error) == Some(409) => match api.get(&name).await {
                Ok(found) if is_ours(&found, cron_job) => found,
                Ok(_) => return Ok(()),
                Err(source) => return Err(Error::Create { name, source: Box::new(source) }),
            },
            Err(source) => {
                let told = format!("Error creating job: {}", refusal(&source));
                self.events.warning(cron_job.object_ref(&()), "FailedCreate", told);
                return Err(Error::Create { name, source: Box::new(source) });
            }
        };
        written.note(&self.jobs, &created.metadata);
        let active = status.active.get_or_insert_default();
        if !active.iter().any(|active| active.uid == created.metadata.uid) {
            active.push(ObjectReference {
                kind: Some("Job".into()),
                api_version: Some("batch/v1".into()),
                namespace: created.metadata.namespace,
                name: created.metadata.name,
                uid: created.metadata.uid,
                resource_version: created.metadata.resource_version,
                ..ObjectReference::default()
            });
        }
        status.last_schedule_time = Some(Time(due.at));
        Ok(())
    }

    async fn delete(&self, cron_job: &CronJob, name: &str, written: &Written) -> Result<(), Error> {
        match self.api(cron_job).delete(name, &DeleteParams::background()).await {
            Ok(answer) => {
                if let Some(job) = answer.left() {
                    written.note(&self.jobs, &job.metadata);
                }
                let told = format!("Deleted job {name}");
                self.events.normal(cron_job.object_ref(&()), "SuccessfulDelete", told);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(source) => {
                let told = format!("Deleted job: {}", refusal(&source));
                self.events.warning(cron_job.object_ref(&()), "FailedDelete", told);
                Err(Error::Delete { name: name.into(), source: Box::new(source) })
            }
        }
    }

    async fn write_status(
        &self,
        cron_job: &CronJob,
        mut status: CronJobStatus,
        written: &Written,
    ) -> Result<(), Error> {
        if status.active.as_ref().is_some_and(Vec::is_empty) {
            status.active = None;
        }
        if status == cron_job.status.clone().unwrap_or_default() {
            return Ok(());
        }
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let name = cron_job.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<CronJob>::namespaced(self.client.clone(), namespace);
        let updated = CronJob { status: Some(status), ..cron_job.clone() };
        match api.replace_status(name, &PostParams::default(), &updated).await {
            Ok(cron_job) => {
                written.note(&self.cron_jobs, &cron_job.metadata);
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(Error::Status(Box::new(error))),
        }
    }

    fn tell(&self, cron_job: &CronJob, told: Vec<Told>) {
        for (trouble, reason, message) in told {
            let about = cron_job.object_ref(&());
            if trouble {
                self.events.warning(about, reason, message);
            } else {
                self.events.normal(about, reason, message);
            }
        }
    }

    fn api(&self, cron_job: &CronJob) -> Api<Job> {
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whose clocks the schedule means; those of the server unless it says, as in Kubernetes.
fn zone(spec: &CronJobSpec) -> Result<TimeZone, String> {
    spec.time_zone.as_deref().map_or_else(|| Ok(TimeZone::system()), time_zone)
}

/// The Job that is due then.
fn job(cron_job: &CronJob, due: Due, zone: &TimeZone) -> Job {
    let template = cron_job.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let scheduled = due.at.to_zoned(zone.clone());
    let offset = if scheduled.offset().is_zero() { "Z" } else { "%:z" };
    let scheduled = scheduled.strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}")).to_string();
    annotations.insert(SCHEDULED.into(), scheduled);
    Job {
        metadata: ObjectMeta {
            name: Some(plan::job_name(cron_job, due)),
            namespace: cron_job.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_reference(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn is_ours(job: &Job, cron_job: &CronJob) -> bool {
    let controller = owner::controller_of(&job.metadata).map(|owner| &owner.uid);
    controller == cron_job.metadata.uid.as_ref()
}
