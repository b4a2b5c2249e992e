//! Starts one container: its image, what it is given, then the container itself.
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Container;
use shim::cri::{AuthConfig, ContainerConfig, Id, ImageRef, LogRotation, RuntimeError};
use tracing::info;

use super::checkpoint::{self, log_path};
use super::containers::IMAGE_LABEL;
use super::worker::{RETRY, Worker, chain, container_of, kubernetes_duration};
use super::{etc, security, termination};
use crate::node::credentials::{self, Credentials};
use crate::node::environment::{self, expand};
use crate::node::images::{self, Decision, PullPolicy};
use crate::node::references::Objects;
use crate::node::{resources, volumes};

/// What takes longer shows in the status while it lasts.
const SLOW: Duration = Duration::from_millis(100);
/// How soon after a failed pull the status says that the agent backs off.
const SHOWN: Duration = Duration::from_secs(2);

/// Why a container was not started: a status in the kubelet's words.
struct Failure {
    reason: &'static str,
    message: String,
    /// Whether an Event has told it already.
    told: bool,
    /// When to try again, at the latest.
    retry: Duration,
    /// Whether to leave it alone until then, whatever happens.
    hold: bool,
}

impl Failure {
    fn of_config(error: &dyn std::error::Error) -> Self {
        let message = chain(error);
        let reason = "CreateContainerConfigError";
        Self { reason, message, told: false, retry: RETRY, hold: false }
    }
}

impl Worker {
    /// Starts a container; answers when to try again if that failed.
    pub(super) async fn start(&mut self, name: &str, objects: &Objects) -> Option<Duration> {
        let now = self.now();
        if let Some(until) = self.held.get(name).filter(|until| **until > now) {
            return Duration::try_from(until.duration_since(now)).ok();
        }
        let pod = Arc::clone(&self.pod);
        let container = pod.spec.as_ref().and_then(|spec| container_of(spec, name))?;
        match self.try_start(container, objects).await {
            Ok(()) => {
                self.waiting.remove(name);
                self.held.remove(name);
                None
            }
            Err(failure) => {
                if !failure.told {
                    let message = format!("Error: {}", failure.message);
                    self.node.recorder.warning(self.about_container(name), "Failed", message);
                }
                if failure.hold {
                    self.held.insert(name.to_owned(), self.now() + failure.retry);
                }
                self.waiting.insert(name.to_owned(), (failure.reason.to_owned(), failure.message));
                Some(failure.retry)
            }
        }
    }

    async fn try_start(&mut self, container: &Container, objects: &Objects) -> Result<(), Failure> {
        let image = self.image(container, objects).await?;
        // What a pull said before is no news while the image is compiled.
        self.waiting.remove(&container.name);
        let config = self.config(container, image, objects)?;
        let Some(sandbox) = self.sandbox.clone() else { return Err(self.lost()) };
        self.count_failure(container);
        let runtime = Arc::clone(&self.node.runtime);
        let created =
            self.slowly(async move { runtime.create_container(&sandbox.id, config).await }).await;
        let id =
            created.map_err(|error| self.refused(container, "CreateContainerError", &error))?;
        let (about, name) = (self.about_container(&container.name), &container.name);
        self.node.recorder.normal(about.clone(), "Created", "Container created");
        if let Err(error) = self.node.runtime.start_container(&id).await {
            let failure = self.refused(container, "RunContainerError", &error);
            self.forget(id);
            return Err(failure);
        }
        self.ids.insert(id.0.clone());
        self.node.recorder.normal(about, "Started", "Container started");
        info!(
            namespace = self.namespace(),
            name = self.name(),
            container = name,
            id = id.0,
            "container started"
        );
        self.after_start(container, &id.0).await;
        Ok(())
    }

    /// Notes that a container that ended is started again; with another image it begins anew.
    fn count_failure(&mut self, container: &Container) {
        let Some(current) = self.containers.current(&container.name) else { return };
        let Some(ending) = current.ending() else { return };
        if current.differs(container) {
            self.backoffs.reset(&container.name);
        } else {
            self.backoffs.next(&container.name, ending.finished_at, self.node.clock.now());
        }
    }

    /// The image of a container, pulled if need be.
    async fn image(
        &mut self,
        container: &Container,
        objects: &Objects,
    ) -> Result<ImageRef, Failure> {
        let name = container.image.clone().unwrap_or_default();
        let about = self.about_container(&container.name);
        let policy = PullPolicy::of(container.image_pull_policy.as_deref(), &name);
        match images::decide(policy, self.node.images.present(&name)) {
            Decision::Use(image) => {
                let message = format!(
                    "Container image {name:?} already present on machine and can be accessed by the pod"
                );
                self.node.recorder.normal(about, "Pulled", message);
                return Ok(image);
            }
            Decision::Refuse => {
                let message =
                    format!("Container image {name:?} is not present with pull policy of Never");
                let reason = "ErrImageNeverPull";
                self.node.recorder.warning(about, reason, message.clone());
                self.tell_failed(container, reason);
                return Err(Failure { reason, message, told: true, retry: RETRY, hold: true });
            }
            Decision::Pull => {}
        }
        match self.backing_off(&name, container) {
            Some(failure) => Err(failure),
            None => self.pull(&name, container, objects).await,
        }
    }

    /// Why an image whose pull failed is not asked for again yet.
    fn backing_off(&self, name: &str, container: &Container) -> Option<Failure> {
        let now = self.now();
        let (failed, why) = self.pull_failed.get(name)?;
        let wait = self.pulls.waiting(name, *failed, now)?;
        let told = format!("Back-off pulling image {name:?}");
        let message = format!("{told}: ErrImagePull: {why}");
        self.node.recorder.normal(self.about_container(&container.name), "BackOff", told);
        let reason = "ImagePullBackOff";
        self.tell_failed(container, reason);
        let retry = Duration::try_from(wait.until.duration_since(now)).unwrap_or_default();
        Some(Failure { reason, message, told: true, retry, hold: true })
    }

    /// Tells that a container was not started, as the kubelet does after it told why.
    fn tell_failed(&self, container: &Container, reason: &str) {
        let about = self.about_container(&container.name);
        self.node.recorder.warning(about, "Failed", format!("Error: {reason}"));
    }

    /// The credentials for an image; tells which Secrets do not help.
    fn credentials(&self, image: &str, objects: &Objects) -> Vec<AuthConfig> {
        let Credentials { found, missing, broken } = credentials::of(&self.pod, image, objects);
        let reason = "FailedToRetrieveImagePullSecret";
        let tell = |what: &str, which: &[String]| {
            if !which.is_empty() {
                let which = which.join(", ");
                let message = format!(
                    "Unable to {what} some image pull secrets ({which}); attempting to pull the image may not succeed."
                );
                self.node.recorder.warning(self.about(), reason, message);
            }
        };
        tell("retrieve", &missing);
        let broken: Vec<_> = broken.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        tell("read", &broken);
        found
    }

    async fn pull(
        &mut self,
        name: &str,
        container: &Container,
        objects: &Objects,
    ) -> Result<ImageRef, Failure> {
        let about = self.about_container(&container.name);
        let keys = self.credentials(name, objects);
        self.node.recorder.normal(about.clone(), "Pulling", format!("Pulling image {name:?}"));
        let (node, begun) = (Arc::clone(&self.node), Instant::now());
        let image = name.to_owned();
        match self.slowly(async move { node.images.pull(&image, keys).await }).await {
            Ok(image) => {
                let took = format!("{}ms", begun.elapsed().as_millis());
                let size = self.node.images.size(&image);
                let message = format!(
                    "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {size} bytes."
                );
                self.node.recorder.normal(about, "Pulled", message);
                self.pulls.reset(name);
                self.pull_failed.remove(name);
                Ok(image)
            }
            Err(error) => {
                let reason = images::reason(&error);
                let message = chain(&*error);
                let text = if reason == "InvalidImageName" {
                    format!("Failed to inspect image {name:?}: {message}")
                } else {
                    format!("Failed to pull image {name:?}: {message}")
                };
                self.node.recorder.warning(about, "Failed", text);
                self.tell_failed(container, reason);
                let now = self.now();
                let hold = reason != "ErrImagePull";
                if !hold {
                    self.pulls.next(name, now, now);
                    self.pull_failed.insert(name.to_owned(), (now, message.clone()));
                }
                let retry = if hold { 6 * RETRY } else { SHOWN };
                Err(Failure { reason, message, told: true, retry, hold })
            }
        }
    }

    fn config(
        &mut self,
        container: &Container,
        image: ImageRef,
        objects: &Objects,
    ) -> Result<ContainerConfig, Failure> {
        security::non_root(&self.pod, container).map_err(|e| Failure::of_config(&e))?;
        let services = self.node.services_of(self.namespace());
        let ip = self.sandbox.as_ref().and_then(|sandbox| sandbox.ip);
        let context = environment::Context {
            pod: &self.pod,
            ip,
            host_ip: self.node.config.host_ip,
            objects,
            services: &services,
            allocatable: self.node.config.allocatable().amount(),
        };
        let envs = environment::of(context, container).map_err(|e| Failure::of_config(&e))?;
        let spec = self.pod.spec.as_ref();
        let mounts = spec.map(|spec| volumes::mounts(spec, container, &self.volumes, &envs));
        let mut mounts =
            mounts.transpose().map_err(|e| Failure::of_config(&e))?.unwrap_or_default();
        let annotations = self.pod.metadata.annotations.clone().unwrap_or_default();
        let given = self.as_allocated(container);
        let limits = resources::of(&given, &annotations).map_err(|e| Failure::of_config(&e))?;
        let serving = resources::serving(&annotations).map_err(|e| Failure::of_config(&e))?;
        let reuse =
            resources::reuse(&container.name, &annotations).map_err(|e| Failure::of_config(&e))?;
        let lookup = |name: &str| {
            envs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        let expanded = |words: &Option<Vec<String>>| {
            words.iter().flatten().map(|word| expand(word, lookup)).collect()
        };
        let attempt = self.containers.next_attempt(&container.name);
        let security = container.security_context.as_ref();
        let own = termination::folder(&self.folder(), &container.name, attempt);
        if let Some(mount) = termination::mount(container, &mounts, &own) {
            std::fs::create_dir_all(&own).map_err(|e| Failure::of_config(&e))?;
            mounts.push(mount);
        }
        let message = termination::file(container, &mounts, &own);
        self.messages.insert((container.name.clone(), attempt), message);
        Ok(ContainerConfig {
            etc: Some(etc::of(&self.pod, ip, &self.node.config.cluster_domain)),
            readonly_rootfs: security.and_then(|s| s.read_only_root_filesystem) == Some(true),
            name: container.name.clone(),
            attempt,
            image,
            command: expanded(&container.command),
            args: expanded(&container.args),
            working_dir: container.working_dir.clone().unwrap_or_default(),
            mounts,
            log_path: log_path(&container.name, attempt),
            log_rotation: LogRotation::default(),
            ports: ports(container),
            stdin: container.stdin == Some(true),
            resources: limits,
            concurrency: serving.concurrency,
            reuse,
            request_timeout: serving.request_timeout,
            labels: labels(container),
            envs,
        })
    }

    /// Waits for something slow; what is slow shows in the status.
    pub(super) async fn slowly<T>(&mut self, work: impl Future<Output = T> + Send) -> T {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SLOW) => {}
        }
        // Should the API fail, the end of the pass writes a newer one.
        let (_, done) = tokio::join!(self.publish(), work);
        done
    }

    /// Gives up a container that the runtime holds.
    pub(super) fn forget(&mut self, id: Id) {
        let found = self.containers.find(&id.0).map(|(name, a)| (name.to_owned(), a.attempt));
        let folder = self.folder();
        let (node, pod) = (Arc::clone(&self.node), Arc::clone(&self.pod));
        self.tasks.spawn(async move {
            if let Err(error) = node.runtime.remove_container(&id).await {
                tracing::warn!(id = id.0, %error, "container not removed");
            }
            if let Some((name, attempt)) = found {
                let logs = super::log_folder(&node.config.data_dir, &pod);
                checkpoint::remove(termination::folder(&folder, &name, attempt)).await;
                checkpoint::remove_logs(logs, name, attempt).await;
            }
        });
    }

    fn refused(
        &mut self,
        container: &Container,
        reason: &'static str,
        error: &RuntimeError,
    ) -> Failure {
        let reason = match error {
            RuntimeError::NotRunnable { .. } => images::reason(error),
            _ => reason,
        };
        let key = format!("start {}", container.name);
        let now = self.now();
        self.backoffs.next(&key, now, now);
        let wait = self.backoffs.waiting(&key, now, now);
        let retry = wait.map_or(RETRY, |wait| wait.length);
        tracing::debug!(
            container = container.name,
            retry = kubernetes_duration(retry),
            "start failed"
        );
        Failure { reason, message: chain(error), told: false, retry, hold: true }
    }

    fn lost(&self) -> Failure {
        let message = "the sandbox of the pod is gone".to_owned();
        let reason = "CreateContainerError";
        Failure { reason, message, told: false, retry: Duration::ZERO, hold: false }
    }
}

/// What the runtime remembers of a container.
fn labels(container: &Container) -> BTreeMap<String, String> {
    let image = container.image.clone().unwrap_or_default();
    let all = [("io.kubernetes.container.name", container.name.clone()), (IMAGE_LABEL, image)];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The TCP ports that a container names.
fn ports(container: &Container) -> Vec<u16> {
    let ports = container.ports.iter().flatten();
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"));
    tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
}
