//! The Pods of this node: one worker each, woken by what changes.
//!
//! The informer of Pods and the runtime's events say whom to wake; nothing is
//! polled. A worker decides purely ([`mod@plan`]) and acts thinly ([`worker`]); it
//! owns all that it started and ends after its Pod is gone.
mod backoff;
mod checkpoint;
mod containers;
mod end;
mod etc;
mod hooks;
mod inbox;
mod plan;
mod resize;
mod sandbox;
mod security;
mod start;
mod stop;
mod supply;
mod termination;
mod worker;
mod workers;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use parking_lot::Mutex;
use shim::cri::{ContainerEvent, ContainerEventKind, PodSandboxStatus};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Node;
use crate::client::Change;
use inbox::Inbox;
use worker::{RETRY, Worker};
use workers::Workers;

pub(super) use checkpoint::{log_folder, log_path, pods_folder};
pub(super) use containers::{Attempt, Containers, State};
pub(super) use inbox::Eviction;
pub(super) use plan::{RestartPolicy, is_initialized};
pub(super) use resize::Resizing;

/// How often everything is looked at although nothing happened, in case a
/// notice was lost.
const RELIST: Duration = Duration::from_secs(300);

/// The workers of all Pods of the node, by uid.
#[derive(Default)]
pub(super) struct Pods {
    inboxes: Mutex<HashMap<String, Arc<Inbox>>>,
    /// Uids whose worker is not started yet.
    fresh: Mutex<Vec<String>>,
    arrived: Notify,
}

impl Pods {
    /// The Pods of the node as they were seen last.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.inboxes.lock().values().map(|inbox| inbox.read().0).collect()
    }

    /// Ends a Pod and gives the node what it held.
    pub fn evict(&self, uid: &str, eviction: Eviction) {
        if let Some(inbox) = self.inboxes.lock().get(uid) {
            inbox.evict(eviction);
        }
    }

    /// Whether this Pod, and not one of the same name, is on the node.
    pub fn holds(&self, pod: &Pod) -> bool {
        pod.metadata.uid.as_ref().is_some_and(|uid| self.inboxes.lock().contains_key(uid))
    }

    /// Runs the workers until `stop`.
    pub async fn run(self: &Arc<Self>, node: Arc<Node>, stop: CancellationToken) {
        let mut events = node.runtime.container_events();
        self.listen(&node);
        node.pods.synced().await;
        checkpoint::sweep(&node.config.data_dir, &self.uids()).await;
        let mut workers = Workers::default();
        let mut relist = tokio::time::interval(RELIST);
        relist.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Taken before the loop: its head would hold the lock to the end, and
            // `change` takes the two locks in the other order.
            let fresh = std::mem::take(&mut *self.fresh.lock());
            for uid in fresh {
                let inbox = self.inboxes.lock().get(&uid).cloned();
                if let Some(inbox) = inbox {
                    let worker = Worker::new(Arc::clone(&node), inbox);
                    workers.start(uid, worker.run());
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.arrived.notified() => {}
                event = events.recv() => match event {
                    Ok(event) => self.event(&node, event),
                    Err(RecvError::Lagged(missed)) => {
                        warn!(missed, "container events missed");
                        self.wake_all();
                    }
                    Err(RecvError::Closed) => break,
                },
                Some((uid, ended)) = workers.ended() => match ended {
                    Ok(()) => {
                        self.inboxes.lock().remove(&uid);
                    }
                    Err(error) => {
                        warn!(uid, error = &error as &dyn std::error::Error, "pod worker ended badly, another takes over");
                        self.take_over(&node, uid, &mut workers);
                    }
                },
                _ = relist.tick() => {
                    self.wake_all();
                    self.remove_orphans(&node).await;
                }
            }
        }
        workers.shutdown().await;
    }

    /// Starts another worker of a Pod whose last one broke down, as after a restart of
    /// the node; not at once, as it may break down again.
    fn take_over(&self, node: &Arc<Node>, uid: String, workers: &mut Workers) {
        let Some(inbox) = self.inboxes.lock().get(&uid).cloned() else { return };
        let (node, of) = (Arc::clone(node), uid.clone());
        workers.start(uid, async move {
            tokio::time::sleep(RETRY).await;
            for sandbox in node.runtime.list_pod_sandboxes() {
                if sandbox.metadata.uid == of {
                    remove_sandbox(&node, &sandbox).await;
                }
            }
            Worker::new(node, inbox).run().await;
        });
    }

    fn listen(self: &Arc<Self>, node: &Node) {
        let (pods, name) = (Arc::downgrade(self), node.config.node_name.clone());
        node.pods.listen(move |change| {
            let Some(pods) = pods.upgrade() else { return ControlFlow::Break(()) };
            pods.change(change, &name);
            ControlFlow::Continue(())
        });
    }

    fn change(&self, change: &Change<Pod>, node_name: &str) {
        let ours = |pod: &&Arc<Pod>| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node_name)
        };
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone().unwrap_or_default();
        let old = change.old.as_ref().filter(ours);
        let new = change.new.as_ref().filter(ours);
        if let Some(old) = old.filter(|old| new.is_none_or(|new| uid(new) != uid(old))) {
            let inboxes = self.inboxes.lock();
            if let Some(inbox) = inboxes.get(&uid(old)) {
                inbox.leave();
            }
        }
        let Some(new) = new else { return };
        let mut inboxes = self.inboxes.lock();
        match inboxes.get(&uid(new)) {
            Some(inbox) => inbox.put(Arc::clone(new)),
            None => {
                inboxes.insert(uid(new), Arc::new(Inbox::new(Arc::clone(new))));
                self.fresh.lock().push(uid(new));
                self.arrived.notify_one();
            }
        }
    }

    fn event(&self, node: &Node, event: ContainerEvent) {
        let Some(inbox) = self.inboxes.lock().get(&event.pod_uid).cloned() else { return };
        match event.kind {
            ContainerEventKind::RequestFailed(reason, message) => {
                let about = inbox.read().0.object_ref(&());
                node.recorder.warning(about, reason.as_str(), message);
            }
            ContainerEventKind::Compiling(name) => {
                let about = worker::within(&inbox.read().0, &name);
                let message = format!("Compiling the image of container {name}");
                node.recorder.normal(about, "Compiling", message);
            }
            ContainerEventKind::Stopped => inbox.wake.notify_one(),
            // The worker does these itself, and looks afterwards.
            ContainerEventKind::Created
            | ContainerEventKind::Started
            | ContainerEventKind::Deleted => {}
        }
    }

    fn uids(&self) -> Vec<String> {
        self.inboxes.lock().keys().cloned().collect()
    }

    fn wake_all(&self) {
        self.inboxes.lock().values().for_each(|inbox| inbox.wake.notify_one());
    }

    /// Removes sandboxes whose Pod has no worker any more.
    async fn remove_orphans(&self, node: &Node) {
        for sandbox in node.runtime.list_pod_sandboxes() {
            let known = self.inboxes.lock().contains_key(&sandbox.metadata.uid);
            if !known {
                remove_sandbox(node, &sandbox).await;
            }
        }
    }
}

/// Removes a sandbox that no worker holds.
async fn remove_sandbox(node: &Node, sandbox: &PodSandboxStatus) {
    debug!(
        namespace = sandbox.metadata.namespace,
        name = sandbox.metadata.name,
        "orphaned sandbox"
    );
    if let Err(error) = node.runtime.remove_pod_sandbox(&sandbox.id).await {
        warn!(error = &error as &dyn std::error::Error, "orphaned sandbox not removed");
    }
}
