//! The worker of one Pod.
//!
//! ```text
//! Active ──completed, deadline, deleted, gone──▶ Ending ──all stopped──▶ Ended ──gone──▶ (done)
//! ```
//!
//! Active looks, plans, acts and writes the status, whenever it is woken.
//! Ending stops what runs. Ended waits until the Pod is deleted, and then
//! tells the API that nothing of it is left.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, PodSpec, PodStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use shim::cri::{Id, PodSandboxState};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::backoff::Backoffs;
use super::checkpoint::{self, Checkpoint, log_folder, pods_folder};
use super::inbox::Inbox;
use super::plan::{self, End, Plan};
use super::resize::Resizing;
use super::sandbox::Sandbox;
use super::termination::Messages;
use super::{Attempt, Containers};
use crate::client::is_sidecar;
use crate::node::Node;
use crate::node::admission::Rejection;
use crate::node::probes::{Probes, Report};
use crate::node::references::{self, Kind};
use crate::node::resources;
use crate::node::status::{self, Waiting};
use crate::node::volumes::{Tokens, Volumes};

/// How long after a failure that no event will end something is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(10);
/// How soon after the API was not reached.
pub(super) const RETRY_API: Duration = Duration::from_secs(1);

/// Annotations told of that have no effect: who errs does so a few times.
const STRAYS: usize = 8;

/// Where a worker is in its life.
enum Stage {
    Active,
    Ending(Option<End>),
    Ended { deleted: bool },
}

/// What a pass of an active worker comes to.
enum Next {
    Wait(Option<Timestamp>),
    End(End),
}

/// The worker of one Pod.
pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) pod: Arc<Pod>,
    pub(super) gone: bool,
    pub(super) containers: Containers,
    /// Ids that the runtime still knows.
    pub(super) ids: BTreeSet<String>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) backoffs: Backoffs,
    pub(super) pulls: Backoffs,
    /// When and why a pull of an image failed.
    pub(super) pull_failed: BTreeMap<String, (Timestamp, String)>,
    /// When containers that could not be started are tried again.
    pub(super) held: BTreeMap<String, Timestamp>,
    pub(super) waiting: Waiting,
    /// Where attempts write their last words.
    pub(super) messages: Messages,
    pub(super) probes: Probes,
    pub(super) volumes: Volumes,
    pub(super) tasks: JoinSet<()>,
    /// What ended the Pod as a whole: reason and message.
    pub(super) failure: Option<(&'static str, String)>,
    /// Whether that was because the node ran low, or was stopped.
    pub(super) disrupted: bool,
    pub(super) tokens: Tokens,
    pub(super) resizing: Resizing,
    pub(super) names: BTreeSet<(Kind, String)>,
    pub(super) saved: Checkpoint,
    pub(super) ending: bool,
    pub(super) stopping: HashSet<String>,
    published: PodStatus,
    start_time: Timestamp,
}

impl Worker {
    /// The worker of the Pod in an inbox.
    pub fn new(node: Arc<Node>, inbox: Arc<Inbox>) -> Self {
        let (pod, gone) = inbox.read();
        let now = node.clock.now();
        let published = pod.status.clone().unwrap_or_default();
        let start_time = published.start_time.as_ref().map_or(now, |time| time.0);
        let report: Report = {
            let (recorder, pod) = (node.recorder.clone(), Arc::clone(&pod));
            Arc::new(move |container, message| {
                recorder.warning(within(&pod, container), "Unhealthy", message);
            })
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        Self {
            probes: Probes::new(Arc::clone(&node.dialer), Arc::clone(&inbox.wake), report),
            volumes: Volumes::new(
                &pods_folder(&node.config.data_dir).join(uid),
                &node.config.host_paths,
            ),
            tokens: Tokens::default(),
            resizing: Resizing::default(),
            names: references::of(&pod),
            node,
            inbox,
            pod,
            gone,
            containers: Containers::default(),
            ids: BTreeSet::new(),
            sandbox: None,
            backoffs: Backoffs::default(),
            pulls: Backoffs::default(),
            pull_failed: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: Waiting::new(),
            messages: Messages::new(),
            tasks: JoinSet::new(),
            failure: None,
            disrupted: false,
            stopping: HashSet::new(),
            published,
            saved: Checkpoint::default(),
            start_time,
            ending: false,
        }
    }

    /// Works until the Pod is gone.
    pub async fn run(mut self) {
        let mut stage = self.begin().await;
        loop {
            self.look();
            let mut wake = None;
            stage = match stage {
                Stage::Active if self.inbox.ending.is_cancelled() => Stage::Ending(None),
                Stage::Active => match self.pass().await {
                    Some(Next::End(end)) => Stage::Ending(Some(end)),
                    Some(Next::Wait(until)) => {
                        wake = until;
                        Stage::Active
                    }
                    None => Stage::Ending(None),
                },
                Stage::Ending(end) => {
                    self.end(end).await;
                    Stage::Ended { deleted: false }
                }
                Stage::Ended { deleted } => {
                    let is_deleted = self.pod.metadata.deletion_timestamp.is_some();
                    if self.gone || (is_deleted && !deleted) {
                        checkpoint::remove(log_folder(&self.node.config.data_dir, &self.pod)).await;
                    }
                    if self.gone {
                        return;
                    }
                    let deleted = deleted || (is_deleted && self.delete().await);
                    if is_deleted && !deleted {
                        wake = Some(self.now() + RETRY_API);
                    }
                    Stage::Ended { deleted }
                }
            };
            if matches!(stage, Stage::Active | Stage::Ended { .. }) {
                self.sleep(wake).await;
            }
        }
    }

    /// Finds out where the Pod stands.
    async fn begin(&mut self) -> Stage {
        if matches!(self.published.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return Stage::Ended { deleted: false };
        }
        self.saved = Checkpoint::load(&self.folder()).await;
        self.containers = self.saved.containers.clone();
        if let Some(spec) = &self.pod.spec {
            self.resizing = Resizing::resumed(spec, &self.saved.allocated);
        }
        self.containers.observe(Vec::new(), self.now());
        if self.inbox.ending.is_cancelled() {
            return Stage::Active;
        }
        if let Err((reason, message)) = self.admit() {
            info!(
                namespace = self.namespace(),
                name = self.name(),
                reason = &*reason,
                "pod rejected"
            );
            self.node.recorder.warning(self.about(), reason.clone(), message.clone());
            let status = status::rejected(&self.pod, &reason, &message, self.now());
            while !self.write(status.clone()).await {
                self.sleep(Some(self.now() + RETRY_API)).await;
            }
            return Stage::Ended { deleted: false };
        }
        self.tell_strays();
        if !self.names.is_empty() {
            self.node.references.subscribe(self.namespace(), &self.names, &self.inbox.wake);
        }
        Stage::Active
    }

    /// Tells of annotations whose container is not there, as they would be without effect.
    fn tell_strays(&self) {
        let (Some(spec), Some(annotations)) = (&self.pod.spec, &self.pod.metadata.annotations)
        else {
            return;
        };
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let containers =
            all.map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ");
        for name in resources::strays(spec, annotations).take(STRAYS) {
            let message = format!(
                "annotation {name} names no container of this Pod and has no effect; its containers are: {containers}"
            );
            self.node.recorder.warning(self.about(), "UnknownContainer", message);
        }
    }

    fn admit(&self) -> Result<(), Rejection> {
        let Some(spec) = &self.pod.spec else { return Ok(()) };
        if let Some(refusal) = self.node.pressure.refuses(&self.pod) {
            return Err(refusal);
        }
        // Not what it asks for: a resize that had to wait would cost the Pod its place.
        self.node.reservations.lock().reserve(self.uid(), &self.resizing.given(spec))
    }

    /// One pass of an active worker; `None` if the Pod came to its end meanwhile.
    async fn pass(&mut self) -> Option<Next> {
        let inbox = Arc::clone(&self.inbox);
        // Deletion waits for nothing: not for a pull, not for a compiler.
        inbox.ending.run_until_cancelled(self.sync()).await
    }

    async fn sync(&mut self) -> Next {
        self.observe();
        let mut plan = self.plan();
        if let Some(end) = plan.end {
            return Next::End(end);
        }
        self.back_off(&plan);
        self.resize().await;
        for stop in std::mem::take(&mut plan.stop) {
            if stop.outdated {
                self.containers.outdate(&stop.id);
            }
            if self.stopping.insert(stop.id.clone()) {
                self.node.recorder.normal(
                    self.about_container(&stop.name),
                    "Killing",
                    stop.message.clone(),
                );
                self.restart(&stop);
            }
        }
        let now = self.now();
        let retry = self.start_all(&plan).await;
        let again = retry.map(|wait| now + wait);
        // One that cannot be had is not asked for at once again.
        let refresh = self.tokens.refresh_at().map(|at| at.max(now + RETRY));
        let pending = self.resizing.waits().then(|| now + RETRY);
        let mut wake = plan.wake.into_iter().chain(again).chain(refresh).chain(pending).min();
        self.observe();
        self.keep_probes();
        if !self.publish().await {
            wake = wake.into_iter().chain([now + RETRY_API]).min();
        }
        self.save().await;
        Next::Wait(wake)
    }

    fn plan(&self) -> Plan {
        plan::plan(plan::View {
            pod: &self.pod,
            sandbox: self.sandbox.is_some(),
            containers: &self.containers,
            verdicts: &self.probes.verdicts(),
            backoffs: &self.backoffs,
            start_time: self.start_time,
            now: self.now(),
        })
    }

    /// Says which containers wait after a failure.
    fn back_off(&mut self, plan: &Plan) {
        for (name, wait) in &plan.back_off {
            let message = format!(
                "back-off {} restarting failed container={name} pod={}_{}({})",
                kubernetes_duration(wait.length),
                self.name(),
                self.namespace(),
                self.uid(),
            );
            let why = ("CrashLoopBackOff".to_owned(), message);
            if self.waiting.get(name) != Some(&why) {
                let text = format!(
                    "Back-off restarting failed container {name} in pod {}_{}({})",
                    self.name(),
                    self.namespace(),
                    self.uid(),
                );
                self.node.recorder.warning(self.about_container(name), "BackOff", text);
                self.waiting.insert(name.clone(), why);
            }
        }
    }

    /// Makes what containers need, then starts those whose turn it is; answers
    /// when to try again what failed.
    async fn start_all(&mut self, plan: &Plan) -> Option<Duration> {
        let objects = match self.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "references not read");
                return Some(RETRY_API);
            }
        };
        if !self.write_volumes(&objects).await {
            return Some(RETRY);
        }
        if plan.create_sandbox && !self.create_sandbox().await {
            return Some(RETRY);
        }
        let mut retry: Option<Duration> = None;
        for name in &plan.start {
            let wait = self.start(name, &objects).await;
            retry = retry.into_iter().chain(wait).min();
        }
        retry
    }

    /// Takes in the newest state of the Pod.
    pub(super) fn look(&mut self) {
        let (pod, gone) = self.inbox.read();
        self.gone = gone;
        if !Arc::ptr_eq(&pod, &self.pod) {
            if let Some(seen) = &pod.status {
                status::apply(&mut self.published, seen);
            }
            self.held.retain(|name, _| image(&self.pod, name) == image(&pod, name));
            self.pod = pod;
        }
    }

    /// Takes in what the runtime says.
    pub(super) fn observe(&mut self) {
        let runtime = &self.node.runtime;
        if let Some(sandbox) = &self.sandbox {
            let status = runtime.pod_sandbox_status(&sandbox.id);
            if !status.is_ok_and(|status| status.state == PodSandboxState::Ready) {
                self.sandbox = None;
            }
        }
        let known = self.ids.iter().map(|id| runtime.container_status(&Id(id.clone())));
        let actual: Vec<_> = known.filter_map(Result::ok).collect();
        for id in self.containers.observe(actual, self.node.clock.now()) {
            self.ids.remove(&id.0);
            self.stopping.remove(&id.0);
            self.forget(id);
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Probes what runs.
    pub(super) fn keep_probes(&mut self) {
        let Some(spec) = &self.pod.spec else { return };
        let mut running: Vec<(&Container, &Attempt)> = Vec::new();
        for (name, attempt) in self.containers.running() {
            let is_main = spec.containers.iter().any(|container| container.name == name);
            let container = container_of(spec, name);
            running.extend(
                container.filter(|c| is_main || is_sidecar(c)).map(|found| (found, attempt)),
            );
        }
        let ip = self.sandbox.as_ref().and_then(|sandbox| sandbox.ip);
        self.probes.keep(&running, ip, self.node.clock.now());
    }

    /// Writes the status if it changed; whether the API has it now.
    pub(super) async fn publish(&mut self) -> bool {
        let status = self.status().await;
        self.write(status).await
    }

    /// Writes the status if a container is another than it says; whether the API has it now.
    pub(super) async fn publish_containers(&mut self) -> bool {
        let status = self.status().await;
        let of = |status: &PodStatus| {
            (status.container_statuses.clone(), status.init_container_statuses.clone())
        };
        of(&status) == of(&self.published) || self.write(status).await
    }

    async fn status(&mut self) -> PodStatus {
        self.hear_last_words().await;
        // What runs is not told to have failed: its place is not free yet.
        let failure = self.failure.as_ref().filter(|_| self.ending);
        status::of(status::View {
            pod: &self.pod,
            published: &self.published,
            ip: self.sandbox.as_ref().and_then(|sandbox| sandbox.ip),
            host_ip: self.node.config.host_ip,
            containers: &self.containers,
            verdicts: &self.probes.verdicts(),
            waiting: &self.waiting,
            resizing: &self.resizing,
            failure: failure.map(|(reason, why)| (*reason, why.as_str())),
            disrupted: self.disrupted,
            ending: self.ending,
            start_time: self.start_time,
            now: self.now(),
        })
    }

    async fn write(&mut self, status: PodStatus) -> bool {
        let Some(patch) = status::patch(&self.pod, &self.published, &status) else { return true };
        let parameters = PatchParams::default();
        match self.api().patch_status(self.name(), &parameters, &Patch::Strategic(patch)).await {
            // Another Pod has the name, or none: there is nobody left to tell.
            Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => {}
            Err(error) => {
                warn!(
                    namespace = self.namespace(),
                    name = self.name(),
                    error = &error as &dyn std::error::Error,
                    "pod status not written"
                );
                return false;
            }
            Ok(_) => {}
        }
        self.published = status;
        true
    }

    /// Waits until woken, or until a time.
    pub(super) async fn sleep(&self, until: Option<Timestamp>) {
        match until {
            None => self.inbox.wake.notified().await,
            Some(until) => {
                let wait = Duration::try_from(until.duration_since(self.now())).unwrap_or_default();
                tokio::select! {
                    () = self.inbox.wake.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.node.clock.now()
    }

    pub(super) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn about(&self) -> ObjectReference {
        self.pod.object_ref(&())
    }

    pub(super) fn about_container(&self, name: &str) -> ObjectReference {
        within(&self.pod, name)
    }

    pub(super) fn folder(&self) -> PathBuf {
        pods_folder(&self.node.config.data_dir).join(self.uid())
    }

    pub(super) fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), self.namespace())
    }
}

/// A container or init container of a Pod, by name.
pub(super) fn container_of<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Container> {
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|container| container.name == name)
}

/// The image that a container of a Pod asks for.
fn image<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    container_of(pod.spec.as_ref()?, name)?.image.as_deref()
}

/// A reference to a container of a Pod, as Events have it.
pub(super) fn within(pod: &Pod, container: &str) -> ObjectReference {
    let mut inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let is_init = inits.any(|init| init.name == container);
    let list = if is_init { "initContainers" } else { "containers" };
    let field_path = Some(format!("spec.{list}{{{container}}}"));
    ObjectReference { field_path, ..pod.object_ref(&()) }
}

/// An error with its causes, for people.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A duration in Go's words: `10s`, `1m20s`, `5m0s`.
pub(super) fn kubernetes_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_says_in_which_list_its_container_is() {
        let spec = json!({"initContainers": [{"name": "db"}], "containers": [{"name": "web"}]});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let path = |name| within(&pod, name).field_path.unwrap();
        assert_eq!(path("web"), "spec.containers{web}");
        assert_eq!(path("db"), "spec.initContainers{db}");
        assert_eq!(within(&pod, "db").name.unwrap(), "p");
    }
}
