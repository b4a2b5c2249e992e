//! The loop: takes in changes, decides, writes.
use std::sync::Arc;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Client, Resource as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{PodInfo, Queue, Snapshot, binding, schedule};
use crate::client::{EventRecorder, Informer, Informers, ObjectKey};
use crate::clock::Clock;

/// The name that Pods which want this scheduler give.
const NAME: &str = "default-scheduler";

/// Bindings and conditions written at once.
const WRITES: usize = 64;

/// Schedules Pods until `stop`, then finishes what is being written.
pub async fn run(
    client: Client,
    informers: Informers,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let (events, writer) = EventRecorder::new(client.clone(), NAME, None, clock.clone());
    let scheduler = Scheduler {
        pods: informers.of::<Pod>(),
        nodes: informers.of::<Node>(),
        client,
        events,
        clock,
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        writes: JoinSet::new(),
        start: 0,
    };
    let written = writer.run(stop.clone());
    tokio::join!(scheduler.run(stop), written);
}

struct Scheduler {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    client: Client,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
    snapshot: Snapshot,
    queue: Queue,
    writes: JoinSet<Outcome>,
    /// Where the next search begins.
    start: usize,
}

/// What became of a write.
enum Outcome {
    Bound,
    /// The binding failed: the Pod is not where it was assumed to be.
    NotBound(ObjectKey),
    Marked,
}

impl Scheduler {
    async fn run(mut self, stop: CancellationToken) {
        let mut pods = self.pods.subscribe();
        let mut nodes = self.nodes.subscribe();
        // A Pod seen before the nodes would be told that there are none.
        let synced = async { tokio::join!(self.nodes.synced(), self.pods.synced()) };
        if stop.run_until_cancelled(synced).await.is_none() {
            return;
        }
        loop {
            // Everything that is known, before the next decision.
            while let Some(key) = nodes.next().now_or_never() {
                self.node_changed(&key);
            }
            while let Some(key) = pods.next().now_or_never() {
                self.pod_changed(&key);
            }
            if self.writes.len() < WRITES
                && let Some(key) = self.queue.take(Instant::now())
            {
                self.decide(&key);
                continue;
            }
            let deadline = self.queue.next_deadline(Instant::now());
            let wake_at =
                deadline.unwrap_or_else(|| Instant::now() + std::time::Duration::from_secs(3600));
            tokio::select! {
                key = nodes.next() => self.node_changed(&key),
                key = pods.next() => self.pod_changed(&key),
                Some(done) = self.writes.join_next() => self.written(done),
                () = tokio::time::sleep_until(wake_at), if self.writes.len() < WRITES => {}
                () = stop.cancelled() => break,
            }
        }
        while self.writes.join_next().await.is_some() {}
    }

    fn node_changed(&mut self, key: &ObjectKey) {
        match self.nodes.get(key) {
            Some(node) => {
                if self.snapshot.set_node(&node) {
                    self.queue.wake(Instant::now());
                }
            }
            None => self.snapshot.remove_node(&key.name),
        }
    }

    fn pod_changed(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key) else { return self.forget(key) };
        let spec = pod.spec.as_ref();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        match spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
            _ if over => self.forget(key),
            Some(node) => {
                self.queue.remove(key);
                self.snapshot.place(key, &PodInfo::of(&pod), node);
            }
            None if pod.metadata.deletion_timestamp.is_some() => self.forget(key),
            None => {
                let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref());
                // An assumed one is on its way.
                if scheduler.unwrap_or(NAME) == NAME && !self.snapshot.has_pod(key) {
                    let priority = spec.and_then(|spec| spec.priority).unwrap_or_default();
                    self.queue.add(key, priority);
                }
            }
        }
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.queue.remove(key);
        if self.snapshot.remove_pod(key) {
            // Room has become free.
            self.queue.wake(Instant::now());
        }
    }

    fn decide(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key) else { return self.queue.remove(key) };
        let info = PodInfo::of(&pod);
        self.start = self.start.wrapping_add(1);
        match schedule(&self.snapshot, &info, self.start) {
            Ok(node) => {
                let node = node.to_owned();
                debug!(namespace = key.namespace, name = key.name, node, "pod scheduled");
                self.snapshot.place(key, &info, &node);
                self.bind(key.clone(), pod, node);
            }
            Err(why) => {
                self.queue.park(key, Instant::now());
                self.mark(key.clone(), pod, why.to_string());
            }
        }
    }

    fn bind(&mut self, key: ObjectKey, pod: Arc<Pod>, node: String) {
        let (client, events) = (self.client.clone(), self.events.clone());
        self.writes.spawn(async move {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            match binding::bind(client, key.clone(), uid, &node).await {
                Ok(()) => {
                    let message = format!("Successfully assigned {key} to {node}");
                    events.normal(pod.object_ref(&()), "Scheduled", message);
                    Outcome::Bound
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "pod not bound");
                    Outcome::NotBound(key)
                }
            }
        });
    }

    fn mark(&mut self, key: ObjectKey, pod: Arc<Pod>, message: String) {
        info!(namespace = key.namespace, name = key.name, message, "pod is unschedulable");
        self.events.warning(pod.object_ref(&()), "FailedScheduling", message.clone());
        let (client, now) = (self.client.clone(), self.clock.now());
        self.writes.spawn(async move {
            if let Err(error) = binding::mark_unschedulable(client, key, &pod, &message, now).await
            {
                warn!(error = &error as &dyn std::error::Error, "condition not written");
            }
            Outcome::Marked
        });
    }

    fn written(&mut self, done: Result<Outcome, tokio::task::JoinError>) {
        match done {
            Ok(Outcome::NotBound(key)) => {
                let bound = self.pods.get(&key).is_some_and(|pod| {
                    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
                });
                if !bound {
                    self.snapshot.remove_pod(&key);
                    self.queue.retry(&key, Instant::now());
                }
            }
            Ok(Outcome::Bound | Outcome::Marked) => {}
            Err(error) => warn!(%error, "a write of the scheduler ended badly"),
        }
    }
}
