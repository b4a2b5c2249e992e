//! Deletes Jobs some time after they have finished (`ttlSecondsAfterFinished`).
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tracing::info;

use super::runtime::{Controller, Queue, Requeue, Written};
use super::{Context, job};
use crate::client::{Informer, ObjectKey, status_code};
use crate::clock::Clock;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Job could not be looked up.
    #[error("cannot look at the Job before it is deleted")]
    Look(#[source] Box<kube::Error>),
    /// A Job could not be deleted.
    #[error("cannot delete the finished Job")]
    Delete(#[source] Box<kube::Error>),
}

struct TtlAfterFinished {
    client: Client,
    jobs: Informer<Job>,
    clock: Arc<dyn Clock>,
}

/// Starts the control loop.
pub fn start(context: &Context, tasks: &mut JoinSet<()>) {
    let jobs = context.informers.of::<Job>();
    let queue = Queue::new();
    queue.feed_own(&jobs);
    let controller = TtlAfterFinished {
        client: context.client.clone(),
        jobs: jobs.clone(),
        clock: Arc::clone(&context.config.clock),
    };
    context.spawn(tasks, async move { jobs.synced().await }, controller, queue);
}

#[async_trait]
impl Controller for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished";
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey, _: &Written) -> Result<Requeue, Error> {
        let Some(left) = self.jobs.get(key).and_then(|job| left(&job, self.clock.now())) else {
            return Ok(Requeue::OnChange);
        };
        if !left.is_zero() {
            return Ok(Requeue::After(left));
        }
        // Somebody may have given it more time, of which the informer does not know yet.
        let api = Api::<Job>::namespaced(self.client.clone(), &key.namespace);
        let fresh = api.get_opt(&key.name).await.map_err(|e| Error::Look(Box::new(e)))?;
        let Some(job) = fresh else { return Ok(Requeue::OnChange) };
        match self::left(&job, self.clock.now()) {
            None => return Ok(Requeue::OnChange),
            Some(Duration::ZERO) => {}
            Some(left) => return Ok(Requeue::After(left)),
        }
        info!(key = %key, "job finished long enough ago");
        let preconditions = Some(Preconditions { uid: job.metadata.uid, resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::foreground() };
        match api.delete(&key.name, &params).await {
            Ok(_) => Ok(Requeue::OnChange),
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(Requeue::OnChange),
            Err(error) => Err(Error::Delete(Box::new(error))),
        }
    }
}

/// How long a Job may stay; nothing if it is not for the clock to say.
fn left(finished: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = finished.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = job::finished(finished)?.last_transition_time.as_ref()?.0;
    if finished.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let passed = Duration::try_from(now.duration_since(end)).unwrap_or_default();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(passed))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_finished_job_that_names_a_time_goes() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let left = |ttl: Value, condition: &str| {
            let job = json!({"metadata": {}, "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}]}});
            left(&serde_json::from_value(job).unwrap(), now).map(|left| left.as_secs())
        };
        assert_eq!(left(json!(100), "Complete"), Some(70));
        assert_eq!(left(json!(100), "Failed"), Some(70));
        assert_eq!(left(json!(0), "Complete"), Some(0));
        assert_eq!(left(json!(30), "Failed"), Some(0));
        assert_eq!(left(json!(0), "FailureTarget"), None);
        assert_eq!(left(Value::Null, "Complete"), None);
    }
}
