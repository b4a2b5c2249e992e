//! The end of a Pod: what runs is stopped, and the API is told how it ended.
use kube::api::{DeleteParams, Preconditions};
use tracing::{debug, warn};

use super::checkpoint::{self, Checkpoint};
use super::plan::End;
use super::worker::{RETRY, RETRY_API, Worker};
use crate::node::shutdown::{self, TERMINATED};

impl Worker {
    /// Saves what has to outlive a restart.
    pub(super) async fn save(&mut self) {
        let checkpoint = Checkpoint {
            ip: self.sandbox.as_ref().and_then(|sandbox| sandbox.ip).or(self.saved.ip),
            sandboxes: self.saved.sandboxes,
            containers: self.containers.clone(),
            allocated: self.resizing.allocated.clone(),
        };
        if checkpoint == self.saved {
            return;
        }
        match checkpoint.save(self.folder()).await {
            Ok(()) => self.saved = checkpoint,
            Err(error) => warn!(path = %self.folder().display(), %error, "pod state not saved"),
        }
    }

    /// Stops what runs, cleans up, and tells the API how it ended.
    pub(super) async fn end(&mut self, end: Option<End>) {
        if end == Some(End::DeadlineExceeded) {
            let why = "Pod was active on the node longer than the specified deadline";
            self.failure = Some(("DeadlineExceeded", why.to_owned()));
            self.node.recorder.normal(self.about(), "DeadlineExceeded", why);
        }
        if end == Some(End::Completed) && self.was_shut_down() {
            let (reason, message) = TERMINATED;
            self.failure = Some((reason, message.to_owned()));
            self.disrupted = true;
        }
        if let Some(eviction) = self.inbox.eviction() {
            self.node.recorder.warning(self.about(), "Evicted", eviction.message.clone());
            self.failure = Some(("Evicted", eviction.message));
            self.disrupted = eviction.pressure;
        }
        self.stop_all().await;
        // Before the API hears of the end: the scheduler gives the room away at once.
        self.node.reservations.lock().release(self.uid());
        self.ending = true;
        self.waiting.clear();
        self.keep_probes();
        let mut sandbox = self.sandbox.take();
        while !self.gone && !self.publish().await {
            self.sleep(Some(self.now() + RETRY_API)).await;
            self.look();
        }
        while let Some(left) = sandbox.take() {
            if let Err(error) = self.node.runtime.remove_pod_sandbox(&left.id).await {
                warn!(
                    namespace = self.namespace(),
                    name = self.name(),
                    error = &error as &dyn std::error::Error,
                    "sandbox not removed"
                );
                sandbox = Some(left);
                self.sleep(Some(self.now() + RETRY)).await;
            }
        }
        self.tasks.shutdown().await;
        self.node.references.unsubscribe(self.namespace(), &self.names, &self.inbox.wake);
        checkpoint::remove(self.folder()).await;
        debug!(namespace = self.namespace(), name = self.name(), "pod ended");
    }

    /// Whether the Pod came to its end because the node was stopped.
    fn was_shut_down(&self) -> bool {
        let spec = self.pod.spec.as_ref();
        spec.is_some_and(|spec| shutdown::ended(spec, &self.containers, self.node.stopped_at))
    }

    /// Tells the API that nothing is left of a deleted Pod; whether it heard.
    pub(super) async fn delete(&self) -> bool {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(self.name(), &parameters).await {
            Ok(_) => true,
            Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => true,
            Err(error) => {
                warn!(
                    namespace = self.namespace(),
                    name = self.name(),
                    error = &error as &dyn std::error::Error,
                    "pod not deleted"
                );
                false
            }
        }
    }
}
