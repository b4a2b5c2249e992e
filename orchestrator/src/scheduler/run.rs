//! The loop: takes in changes, decides, writes.
use std::sync::Arc;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Client, Resource as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::binding::{self, Nomination};
use super::{
    Budget, Config, NoRoom, Plugins, PodInfo, Preemption, Queue, Snapshot, Unschedulable, preempt,
    schedule,
};
use crate::client::{EventRecorder, Informer, Informers, ObjectKey};
use crate::clock::Clock;
use crate::metrics::scheduler::{self as metrics, Attempt};

/// The name that Pods which want this scheduler give.
const NAME: &str = "default-scheduler";

/// Bindings and conditions written at once.
const WRITES: usize = 64;

/// What may help a Pod when another one goes.
const POD_WENT: Plugins =
    Plugins::RESOURCES.and(Plugins::PORTS).and(Plugins::SPREAD).and(Plugins::POD_AFFINITY);
/// What may help a Pod when another one comes to a node or changes.
const POD_CAME: Plugins = Plugins::SPREAD.and(Plugins::POD_AFFINITY);

/// Schedules Pods until `stop`, then finishes what is being written.
pub async fn run(
    client: Client,
    informers: Informers,
    clock: Arc<dyn Clock>,
    config: Config,
    stop: CancellationToken,
) {
    let (events, writer) = EventRecorder::new(client.clone(), NAME, None, clock.clone());
    let scheduler = Scheduler {
        pods: informers.of::<Pod>(),
        nodes: informers.of::<Node>(),
        namespaces: informers.of::<Namespace>(),
        budgets: informers.of::<PodDisruptionBudget>(),
        client,
        events,
        clock,
        config,
        snapshot: Snapshot::default(),
        queue: Queue::default(),
        writes: JoinSet::new(),
        changed: Plugins::NONE,
        start: 0,
    };
    let written = writer.run(stop.clone());
    tokio::join!(scheduler.run(stop), written);
}

struct Scheduler {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    namespaces: Informer<Namespace>,
    budgets: Informer<PodDisruptionBudget>,
    client: Client,
    events: EventRecorder,
    clock: Arc<dyn Clock>,
    config: Config,
    snapshot: Snapshot,
    queue: Queue,
    writes: JoinSet<Outcome>,
    /// For which plugins something changed that waiting Pods were not told yet.
    changed: Plugins,
    /// Where the next search begins.
    start: usize,
}

/// What became of a write.
enum Outcome {
    Bound,
    /// The binding failed: the Pod of this uid is not where it was assumed to be.
    NotBound(ObjectKey, String),
    Marked,
}

impl Scheduler {
    async fn run(mut self, stop: CancellationToken) {
        let mut pods = self.pods.subscribe();
        let mut nodes = self.nodes.subscribe();
        let mut namespaces = self.namespaces.subscribe();
        // A Pod seen before the nodes would be told that there are none.
        let synced = async {
            tokio::join!(
                self.nodes.synced(),
                self.pods.synced(),
                self.namespaces.synced(),
                self.budgets.synced()
            )
        };
        if stop.run_until_cancelled(synced).await.is_none() {
            return;
        }
        loop {
            // Everything that is known, before the next decision.
            while let Some(key) = nodes.next().now_or_never() {
                self.node_changed(&key);
            }
            while let Some(key) = namespaces.next().now_or_never() {
                self.namespace_changed(&key);
            }
            while let Some(key) = pods.next().now_or_never() {
                self.pod_changed(&key);
            }
            self.wake();
            if self.writes.len() < WRITES
                && let Some(key) = self.queue.take(Instant::now())
            {
                self.decide(&key);
                continue;
            }
            let deadline = self.queue.next_deadline(Instant::now());
            self.queue.tell();
            let wake_at =
                deadline.unwrap_or_else(|| Instant::now() + std::time::Duration::from_secs(3600));
            tokio::select! {
                key = nodes.next() => self.node_changed(&key),
                key = namespaces.next() => self.namespace_changed(&key),
                key = pods.next() => self.pod_changed(&key),
                Some(done) = self.writes.join_next() => self.written(done),
                () = tokio::time::sleep_until(wake_at), if self.writes.len() < WRITES => {}
                () = stop.cancelled() => break,
            }
        }
        while self.writes.join_next().await.is_some() {}
    }

    /// Tells the waiting Pods what has changed, once for many changes.
    fn wake(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if !changed.is_empty() && !self.queue.is_nobody_waiting() {
            self.queue.wake(changed, Instant::now());
        }
    }

    fn node_changed(&mut self, key: &ObjectKey) {
        match self.nodes.get(key) {
            Some(node) => self.changed = self.changed.and(self.snapshot.set_node(&node)),
            None => {
                self.snapshot.remove_node(&key.name);
                self.changed = self.changed.and(Plugins::SPREAD);
            }
        }
    }

    fn namespace_changed(&mut self, key: &ObjectKey) {
        let namespace = self.namespaces.get(key);
        let none = std::collections::BTreeMap::new();
        let labels = namespace
            .as_deref()
            .map(|namespace| namespace.metadata.labels.as_ref().unwrap_or(&none));
        if self.snapshot.set_namespace(&key.name, labels) {
            self.changed = self.changed.and(Plugins::POD_AFFINITY);
        }
    }

    fn pod_changed(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key) else { return self.forget(key) };
        // Changes are told by name: the end of the one before may have gone unnoticed.
        if self.uid(key).is_some_and(|known| Some(known) != pod.metadata.uid.as_deref()) {
            self.forget(key);
        }
        let spec = pod.spec.as_ref();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        match spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
            _ if over => self.forget(key),
            Some(node) => {
                self.queue.remove(key);
                let shrinks = self.snapshot.place(key, &PodInfo::of(&pod), node);
                let freed = if shrinks { Plugins::RESOURCES } else { Plugins::NONE };
                self.changed = self.changed.and(POD_CAME).and(freed);
            }
            None if pod.metadata.deletion_timestamp.is_some() => self.forget(key),
            None if is_gated(&pod) => self.queue.remove(key),
            None => self.wants_node(key, &PodInfo::of(&pod), spec),
        }
    }

    /// The uid of the Pod that is known under this name.
    fn uid(&self, key: &ObjectKey) -> Option<&str> {
        let placed = self.snapshot.pod(key).map(|placed| placed.uid.as_str());
        placed.or_else(|| self.queue.uid(key))
    }

    fn wants_node(&mut self, key: &ObjectKey, pod: &PodInfo, spec: Option<&PodSpec>) {
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref());
        // An assumed one is on its way.
        if scheduler.unwrap_or(NAME) != NAME || self.snapshot.pod(key).is_some() {
            return;
        }
        self.snapshot.told_nomination(key, pod);
        self.queue.add(key, pod, Instant::now());
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.queue.remove(key);
        self.snapshot.unnominate(key);
        if self.snapshot.remove_pod(key).is_some() {
            // Room has become free.
            self.changed = self.changed.and(POD_WENT);
        }
    }

    fn decide(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key) else { return self.queue.remove(key) };
        let (began, info) = (Instant::now(), PodInfo::of(&pod));
        match schedule(&mut self.snapshot, key, &info, &mut self.start, &self.config) {
            Ok(node) => {
                debug!(namespace = key.namespace, name = key.name, node, "pod is scheduled");
                self.snapshot.place(key, &info, &node);
                self.bind(key.clone(), pod, node, began);
            }
            Err(why) => {
                metrics::attempted(Attempt::Unschedulable, began.elapsed());
                self.make_room(key, pod, &info, why);
            }
        }
    }

    /// Looks for Pods that may go for one that fits nowhere; it waits in any case.
    fn make_room(
        &mut self,
        key: &ObjectKey,
        pod: Arc<Pod>,
        info: &PodInfo,
        mut why: Unschedulable,
    ) {
        self.queue.park(key, why.plugins(), Instant::now());
        let mut nomination = Nomination::Ends;
        if !self.snapshot.is_empty() {
            let budgets: Vec<Budget> =
                self.budgets.list().iter().map(|budget| Budget::of(budget)).collect();
            match preempt(&mut self.snapshot, key, info, &why, &budgets, &self.config) {
                Ok(preemption) => {
                    self.snapshot.nominate(key, info, &preemption.node);
                    nomination = Nomination::On(preemption.node.clone());
                    self.evict(&pod, preemption);
                }
                Err(no_room) => {
                    if matches!(no_room, NoRoom::Ineligible(_)) {
                        nomination = Nomination::Stays;
                    }
                    why.preemption = Some(no_room.to_string());
                }
            }
        }
        if nomination == Nomination::Ends {
            self.snapshot.unnominate(key);
        }
        self.mark(key.clone(), pod, why.to_string(), nomination);
    }

    fn evict(&mut self, preemptor: &Pod, preemption: Preemption) {
        let uid = preemptor.metadata.uid.as_deref().unwrap_or_default();
        for key in preemption.victims {
            let Some(victim) = self.pods.get(&key) else { continue };
            info!(namespace = key.namespace, name = key.name, node = preemption.node, "preempting");
            let told = format!("Preempted by pod {uid} on node {}", preemption.node);
            self.events.normal(victim.object_ref(&()), "Preempted", told);
            let (client, now) = (self.client.clone(), self.clock.now());
            self.writes.spawn(async move {
                if let Err(error) = binding::evict(client, key, &victim, now).await {
                    warn!(error = &error as &dyn std::error::Error, "pod not preempted");
                }
                Outcome::Marked
            });
        }
        for key in preemption.outdone {
            self.snapshot.unnominate(&key);
            let client = self.client.clone();
            self.writes.spawn(async move {
                if let Err(error) = binding::clear_nomination(client, key).await {
                    warn!(error = &error as &dyn std::error::Error, "nomination not cleared");
                }
                Outcome::Marked
            });
        }
    }

    fn bind(&mut self, key: ObjectKey, pod: Arc<Pod>, node: String, began: Instant) {
        let (client, events) = (self.client.clone(), self.events.clone());
        let clock = self.clock.clone();
        self.writes.spawn(async move {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            match binding::bind(client, key.clone(), uid.clone(), &node).await {
                Ok(()) => {
                    metrics::attempted(Attempt::Scheduled, began.elapsed());
                    if let Some(created) = &pod.metadata.creation_timestamp {
                        let waited = clock.now().duration_since(created.0);
                        metrics::bound(waited.try_into().unwrap_or_default());
                    }
                    let message = format!("Successfully assigned {key} to {node}");
                    events.normal(pod.object_ref(&()), "Scheduled", message);
                    Outcome::Bound
                }
                Err(error) => {
                    metrics::attempted(Attempt::Error, began.elapsed());
                    warn!(error = &error as &dyn std::error::Error, "pod not bound");
                    Outcome::NotBound(key, uid)
                }
            }
        });
    }

    fn mark(&mut self, key: ObjectKey, pod: Arc<Pod>, message: String, nomination: Nomination) {
        info!(namespace = key.namespace, name = key.name, message, "pod is unschedulable");
        self.events.warning(pod.object_ref(&()), "FailedScheduling", message.clone());
        let (client, now) = (self.client.clone(), self.clock.now());
        self.writes.spawn(async move {
            let marked =
                binding::mark_unschedulable(client, key, &pod, &message, &nomination, now).await;
            if let Err(error) = marked {
                warn!(error = &error as &dyn std::error::Error, "condition not written");
            }
            Outcome::Marked
        });
    }

    fn written(&mut self, done: Result<Outcome, tokio::task::JoinError>) {
        match done {
            Ok(Outcome::NotBound(key, uid)) => {
                let bound = self.pods.get(&key).is_some_and(|pod| {
                    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
                });
                if !bound && self.snapshot.pod(&key).is_some_and(|placed| placed.uid == uid) {
                    self.snapshot.remove_pod(&key);
                    self.changed = self.changed.and(POD_WENT);
                    self.queue.retry(&key, Instant::now());
                }
            }
            Ok(Outcome::Bound | Outcome::Marked) => {}
            Err(error) => warn!(%error, "a write of the scheduler ended badly"),
        }
    }
}

/// Whether somebody holds the Pod back from being scheduled.
fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

#[cfg(test)]
mod tests;
