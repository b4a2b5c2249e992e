//! Lifecycle hooks of containers: what is called after a start and before a stop.
//!
//! There is no process that a command could run in; requests and pauses work
//! as in Kubernetes.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, ObjectReference};
use tokio::time::Instant;

use super::plan::Stop;
use super::worker::Worker;
use crate::node::Node;
use crate::node::probes::{HttpGet, http_get};

impl Worker {
    /// Runs a container's `postStart` hook, if it has one; one that fails ends the container.
    pub(super) async fn after_start(&mut self, container: &Container, id: &str) {
        let lifecycle = container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.post_start.clone()) else {
            return;
        };
        let Some(ip) = self.sandbox.as_ref().and_then(|sandbox| sandbox.ip) else { return };
        let (node, called) = (Arc::clone(&self.node), container.clone());
        let Err(why) = self.slowly(async move { run(&node, &called, &hook, ip).await }).await
        else {
            return;
        };
        let about = self.about_container(&container.name);
        let message = format!("PostStartHook failed: {why}");
        self.node.recorder.warning(about.clone(), "FailedPostStartHook", message);
        self.node.recorder.normal(about, "Killing", "FailedPostStartHook");
        let (name, id) = (container.name.clone(), id.to_owned());
        self.restart(&Stop { name, id, message: String::new(), grace: None, outdated: false });
    }
}

/// Runs a container's `preStop` hook, for as long as its grace lasts; not at all without.
pub(super) async fn before_stop(
    node: &Node,
    about: ObjectReference,
    container: &Container,
    ip: IpAddr,
    until: Instant,
) {
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook.filter(|_| Instant::now() < until) else { return };
    let ran = tokio::time::timeout_at(until, run(node, container, hook, ip));
    let why = match ran.await {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why,
        Err(_) => "it did not end within the grace period".to_owned(),
    };
    node.recorder.warning(about, "FailedPreStopHook", format!("PreStopHook failed: {why}"));
}

async fn run(
    node: &Node,
    container: &Container,
    hook: &LifecycleHandler,
    ip: IpAddr,
) -> Result<(), String> {
    let ports = container.ports.as_deref().unwrap_or_default();
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
        Ok(())
    } else if let Some(action) = &hook.http_get {
        http_get(&*node.dialer, HttpGet::of(action, ports, ip)?).await
    } else {
        Err("only httpGet and sleep hooks have a meaning for WebAssembly".to_owned())
    }
}
