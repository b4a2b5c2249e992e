//! Stops the containers of a Pod: no traffic any more, hooks, then the guests.
//!
//! A Pod that is deleted goes on serving until no EndpointSlice names it as
//! ready, so that a request on its way still finds it. Containers are stopped
//! at once, sidecars after them and the last one first.
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use shim::cri::Id;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::hooks::before_stop;
use super::plan::Stop;
use super::worker::{RETRY_API, Worker, container_of};
use crate::client::sidecars;
use crate::node::Node;

/// How long endpoints may take to forget a Pod before it stops regardless: long
/// for a controller, short for who waits.
const DRAIN: Duration = Duration::from_secs(10);
/// Grace where nobody says another, as in Kubernetes.
const GRACE: i64 = 30;

/// Grace of a Pod that is evicted, as in the kubelet.
const EVICTION: Duration = Duration::from_secs(1);
/// The longest grace: a year, as the runtime has it; what is longer overflows clocks.
const MAX_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

impl Worker {
    /// Stops every container within the Pod's grace period.
    pub(super) async fn stop_all(&mut self) {
        let begun = Instant::now();
        self.observe();
        self.probes.only_readiness();
        if self.containers.running().next().is_none() {
            return;
        }
        self.tell_endings().await;
        self.drain(begun).await;
        let pod = Arc::clone(&self.pod);
        let Some(spec) = &pod.spec else { return };
        let running: Vec<_> =
            self.containers.running().map(|(name, a)| (name.to_owned(), a.id.clone())).collect();
        let is_late = |name: &str| sidecars(spec).any(|sidecar| sidecar.name == name);
        let main = running.iter().filter(|(name, _)| !is_late(name)).cloned().collect();
        self.stop(spec, main, begun).await;
        for init in sidecars(spec).rev() {
            let one = running.iter().filter(|(name, _)| *name == init.name).cloned().collect();
            self.stop(spec, one, begun).await;
        }
        self.observe();
    }

    /// Stops a running container that is to be started again, its hook first.
    pub(super) fn restart(&mut self, stop: &Stop) {
        let spec = self.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let grace = stop.grace.or(grace).unwrap_or(GRACE);
        let until = Instant::now() + clamped(grace);
        let container = spec.and_then(|spec| container_of(spec, &stop.name)).cloned();
        let stopping = self.stop_one(container, &stop.name, &stop.id, until);
        self.tasks.spawn(stopping);
    }

    /// Runs the hook of a container, then ends it.
    fn stop_one(
        &self,
        container: Option<Container>,
        name: &str,
        id: &str,
        until: Instant,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (node, about) = (Arc::clone(&self.node), self.about_container(name));
        let (ip, id) = (self.sandbox.as_ref().and_then(|sandbox| sandbox.ip), Id(id.to_owned()));
        async move {
            if let (Some(container), Some(ip)) = (container, ip) {
                before_stop(&node, about, &container, ip, until).await;
            }
            stop(&node, &id, until.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Waits until nothing sends traffic to the Pod.
    async fn drain(&mut self, begun: Instant) {
        if self.pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let Some(ip) = self.sandbox.as_ref().and_then(|sandbox| sandbox.ip) else { return };
        let _listed = self.node.draining.enter(ip, Arc::clone(&self.inbox.wake));
        while self.node.is_routed(self.namespace(), ip) {
            let limit = begun + DRAIN.min(self.grace() / 2);
            tokio::select! {
                () = tokio::time::sleep_until(limit) => {
                    debug!(namespace = self.namespace(), name = self.name(), "endpoints still name a pod that stops");
                    return;
                }
                () = self.inbox.wake.notified() => {}
            }
            self.look();
            self.tell_endings().await;
        }
    }

    /// Writes which containers have ended while others still run; whether the API has it.
    ///
    /// The end of the last one is the Pod's, which is told when its place is free.
    async fn tell_endings(&mut self) -> bool {
        self.observe();
        self.keep_probes();
        if self.containers.running().next().is_none() {
            return true;
        }
        // A slow API holds up nobody who asks for a shorter grace.
        tokio::time::timeout(RETRY_API, self.publish_containers()).await.unwrap_or(false)
    }

    async fn stop(&mut self, spec: &PodSpec, list: Vec<(String, String)>, begun: Instant) {
        if list.is_empty() {
            return;
        }
        let mut until = begun + self.grace();
        let mut stops = JoinSet::new();
        for (name, id) in &list {
            let message = format!("Stopping container {name}");
            self.node.recorder.normal(self.about_container(name), "Killing", message);
            stops.spawn(self.stop_one(container_of(spec, name).cloned(), name, id, until));
        }
        let mut told = true;
        loop {
            tokio::select! {
                done = stops.join_next() => if done.is_none() { break },
                () = self.inbox.wake.notified() => {}
                () = tokio::time::sleep(RETRY_API), if !told => {}
            }
            self.look();
            let sooner = begun + self.grace();
            if sooner < until {
                until = sooner;
                for (_, id) in &list {
                    let (node, id) = (Arc::clone(&self.node), Id(id.clone()));
                    let left = until.saturating_duration_since(Instant::now());
                    stops.spawn(async move { stop(&node, &id, left).await });
                }
            }
            told = self.tell_endings().await;
        }
    }

    /// How long the Pod may take, by what is known of its deletion now.
    fn grace(&self) -> Duration {
        let wished = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = match self.pod.metadata.deletion_grace_period_seconds {
            Some(seconds) => seconds,
            // Removed by force: nobody waits for it.
            None if self.gone => 0,
            None => wished.unwrap_or(GRACE),
        };
        let grace = clamped(seconds);
        // The node needs what an evicted Pod holds, now.
        if self.inbox.eviction().is_some() { grace.min(EVICTION) } else { grace }
    }
}

/// Seconds of grace as they can be counted.
fn clamped(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(0).unsigned_abs()).min(MAX_GRACE)
}

async fn stop(node: &Node, id: &Id, grace: Duration) {
    if let Err(error) = node.runtime.stop_container(id, grace).await {
        warn!(id = id.0, error = &error as &dyn std::error::Error, "container not stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_beyond_all_clocks_still_ends_at_some_time() {
        assert!(Instant::now().checked_add(clamped(i64::MAX)).is_some());
        assert_eq!(clamped(i64::MIN), Duration::ZERO);
        assert_eq!(clamped(45), Duration::from_secs(45));
    }
}
