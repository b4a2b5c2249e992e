//! The face of the runtime: the operations of the Container Runtime Interface
//! (`k8s.io/cri-api`, `runtime/v1`) that have a meaning for Wasm, as a trait in process.
//!
//! A sandbox is a Pod's address and log directory; containers are started in
//! it. Containers go Created → Running → Exited; a restart is a new container
//! with the next `attempt`. Every operation is idempotent where the CRI says so:
//! stopping what is stopped and removing what is gone succeed.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::broadcast;

/// Identifies a sandbox or a container; unique for the life of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub String);

/// Who a sandbox is, in the words of its maker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PodSandboxMetadata {
    /// Name of the Pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// How often the sandbox was made anew.
    pub attempt: u32,
}

/// What a sandbox is to be.
#[derive(Debug, Clone, Default)]
pub struct PodSandboxConfig {
    /// Who it is.
    pub metadata: PodSandboxMetadata,
    /// Host name that guests see.
    pub hostname: String,
    /// Where container logs go; [`ContainerConfig::log_path`] is relative to it.
    pub log_directory: PathBuf,
    /// Search domains and names for the resolver.
    pub dns: DnsConfig,
    /// Opaque labels, for listing.
    pub labels: BTreeMap<String, String>,
    /// The address it had before a restart of the node; taken again if free.
    pub wanted_ip: Option<IpAddr>,
}

/// How names are resolved in a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Domains tried in order after a short name, such as `default.svc.cluster.local`.
    pub searches: Vec<String>,
    /// Names that need no lookup (hostAliases).
    pub hosts: Vec<(String, IpAddr)>,
}

/// Whether a sandbox has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSandboxState {
    /// It has.
    Ready,
    /// It is stopped.
    NotReady,
}

/// A sandbox as it is.
#[derive(Debug, Clone)]
pub struct PodSandboxStatus {
    /// Its id.
    pub id: Id,
    /// Who it is.
    pub metadata: PodSandboxMetadata,
    /// Its state.
    pub state: PodSandboxState,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its address while it is ready.
    pub ip: Option<IpAddr>,
    /// The labels it was given.
    pub labels: BTreeMap<String, String>,
}

/// The limits of a container, as the kernel's cgroups have them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinuxContainerResources {
    /// Length of a CPU period; 100 ms where zero.
    pub cpu_period: Duration,
    /// CPU time per period; unlimited where `None`.
    pub cpu_quota: Option<Duration>,
    /// Weight in the run queue, 1024 for one CPU requested, at least 2.
    pub cpu_shares: u64,
    /// Bytes; unlimited where `None`.
    pub memory_limit: Option<u64>,
    /// Fuel for one run of a program or one request of a function; unlimited where `None`.
    pub fuel: Option<u64>,
}

/// A directory or file of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the guest sees it; absolute, with slashes.
    pub container_path: String,
    /// Where it is.
    pub host_path: PathBuf,
    /// The folder that links on the way to it may not lead out of: itself or one above it.
    pub within: PathBuf,
    /// Whether the guest may not write.
    pub readonly: bool,
}

/// The texts of the files in `/etc` that say which names the Pod's network knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Etc {
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/hostname`.
    pub hostname: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// What a container is to be.
#[derive(Debug, Clone, Default)]
pub struct ContainerConfig {
    /// Name within its Pod.
    pub name: String,
    /// How often the container was started before.
    pub attempt: u32,
    /// What [`Runtime::pull_image`] answered.
    pub image: ImageRef,
    /// `argv[0]` and what follows it, instead of the image's; empty takes the image's.
    pub command: Vec<String>,
    /// Arguments after the command.
    pub args: Vec<String>,
    /// Environment, over the image's.
    pub envs: Vec<(String, String)>,
    /// Working directory; the image's where empty.
    pub working_dir: String,
    /// Files.
    pub mounts: Vec<Mount>,
    /// What guests find in `/etc`; nothing where `None`.
    pub etc: Option<Etc>,
    /// Whether the container may not write into its root file system (`readonlyRootFilesystem`).
    pub readonly_rootfs: bool,
    /// Log file, relative to the sandbox's log directory.
    pub log_path: PathBuf,
    /// When a log file is rotated.
    pub log_rotation: LogRotation,
    /// Ports a function listens on; 8080 where empty. Programs open their own.
    pub ports: Vec<u16>,
    /// Whether stdin stays open for `attach`.
    pub stdin: bool,
    /// Limits.
    pub resources: LinuxContainerResources,
    /// Requests a function handles at once; the default where `None`.
    pub concurrency: Option<usize>,
    /// Requests that one instance of a function may serve, one after another;
    /// `None` gives each request an instance of its own.
    pub reuse: Option<std::num::NonZeroU64>,
    /// How long one request of a function may take; the default where `None`.
    pub request_timeout: Option<Duration>,
    /// Opaque labels, for listing.
    pub labels: BTreeMap<String, String>,
}

/// When a log file is rotated, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRotation {
    /// Bytes after which a new file is begun.
    pub max_size: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
}

impl Default for LogRotation {
    /// The kubelet's defaults: containerLogMaxSize 10Mi, containerLogMaxFiles 5.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 5 }
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Started.
    Running {
        /// When.
        started_at: SystemTime,
    },
    /// Ended.
    Exited {
        /// When it was started, if it ever was.
        started_at: Option<SystemTime>,
        /// When it ended.
        finished_at: SystemTime,
        /// How.
        exit: Exit,
    },
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The guest's own code; 137 for what was ended by force, 134 for a trap.
    pub code: i32,
    /// Why.
    pub reason: ExitReason,
    /// Text for people, such as the trap's words; empty if there is nothing to say.
    pub message: String,
}

/// Why a container ended; the words are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It returned 0.
    Completed,
    /// It returned something else, trapped or was stopped.
    Error,
    /// It wanted more memory than its limit.
    OomKilled,
    /// It used up the fuel it was given.
    FuelExhausted,
    /// It could not be started: no such entry point, an import the node lacks.
    ContainerCannotRun,
}

impl ExitReason {
    /// The word in a container status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OomKilled => "OOMKilled",
            Self::FuelExhausted => "FuelExhausted",
            Self::ContainerCannotRun => "ContainerCannotRun",
        }
    }
}

/// A container as it is.
#[derive(Debug, Clone)]
pub struct ContainerStatus {
    /// Its id.
    pub id: Id,
    /// Its sandbox.
    pub sandbox: Id,
    /// Its name within the Pod.
    pub name: String,
    /// How often it was started before.
    pub attempt: u32,
    /// What it runs.
    pub image: ImageRef,
    /// When it was made.
    pub created_at: SystemTime,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Where it writes to its own roots, if it may; a Spin application has one per component.
    pub own_files: Vec<OwnFiles>,
    /// The whole path of its log.
    pub log_path: PathBuf,
    /// Whether it is a function (called per request) rather than a program.
    pub function: bool,
    /// The labels it was given.
    pub labels: BTreeMap<String, String>,
}

/// The root of a container that may write to it: a copy of its image's, or of nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFiles {
    /// The copy.
    pub folder: PathBuf,
    /// What it is a copy of, if its image has files.
    pub image: Option<PathBuf>,
}

/// What a container has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// CPU time since its start.
    pub cpu_usage: Duration,
    /// Times it waited for quota.
    pub throttled_periods: u64,
    /// Bytes its instances hold now.
    pub memory_working_set: u64,
    /// The most bytes they held at once.
    pub memory_peak: u64,
    /// Bytes of its log files.
    pub log_bytes: u64,
    /// Requests a function has answered.
    pub requests: u64,
}

/// Which container statistics are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerAttributes {
    /// The container.
    pub id: Id,
    /// Its sandbox.
    pub sandbox: Id,
    /// Its name within the Pod.
    pub name: String,
    /// What it runs.
    pub image: ImageRef,
    /// When it was started.
    pub started_at: SystemTime,
}

/// An image of this node: the digest of its manifest, as `sha256:…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef(pub String);

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("username", &self.username).finish_non_exhaustive()
    }
}

/// An image on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its manifest.
    pub id: ImageRef,
    /// The references it was pulled by, in full.
    pub repo_tags: Vec<String>,
    /// `repository@digest` of each.
    pub repo_digests: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
}

/// Something happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container; the sandbox's own id for an event of the sandbox.
    pub container: Id,
    /// Its sandbox.
    pub sandbox: Id,
    /// The uid of its Pod.
    pub pod_uid: String,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// It is about to be made, and what it runs is being compiled first, which takes a while. The
    /// event is the sandbox's; the name is the container's.
    Compiling(String),
    /// It was made.
    Created,
    /// It runs.
    Started,
    /// It ended.
    Stopped,
    /// It is gone.
    Deleted,
    /// A request of a function ended badly; the function goes on. Reason and message, for an Event.
    RequestFailed(ExitReason, String),
}

/// Why the runtime refused.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such sandbox, container or image.
    #[error("{what} {id:?} not found")]
    NotFound {
        /// `sandbox`, `container` or `image`.
        what: &'static str,
        /// The name asked for.
        id: String,
    },
    /// The operation does not fit the state.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The configuration makes no sense: the field and why.
    #[error("{field}: {why}")]
    InvalidConfig {
        /// The field.
        field: String,
        /// Why.
        why: String,
    },
    /// The reference of an image does not parse. (`InvalidImageName`)
    #[error("couldn't parse image name {0:?}: {1}")]
    InvalidImageName(String, String),
    /// The image cannot be pulled: the reference and why, in words. (`ErrImagePull`)
    #[error("failed to pull image {image:?}: {why}")]
    Pull {
        /// The reference, in full.
        image: String,
        /// Why: not found, unauthorized, refused, digest mismatch.
        why: String,
    },
    /// What was pulled is nothing this node can run: no Wasm, a broken module, an
    /// import the node lacks. (`ErrImageNotRunnable`)
    #[error("image {image:?} cannot run here: {why}")]
    NotRunnable {
        /// The reference or digest.
        image: String,
        /// What it lacks.
        why: String,
    },
    /// The node is out of addresses, files or instances.
    #[error("resource exhausted: {0}")]
    ResourceExhausted(String),
    /// The file system failed.
    #[error("{doing}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// The CRI's runtime and image service.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Gives a Pod its address.
    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<Id, RuntimeError>;
    /// Ends its containers by force and takes the address back.
    async fn stop_pod_sandbox(&self, id: &Id) -> Result<(), RuntimeError>;
    /// Stops it and forgets it and its containers; log files stay.
    async fn remove_pod_sandbox(&self, id: &Id) -> Result<(), RuntimeError>;
    /// The sandbox as it is.
    fn pod_sandbox_status(&self, id: &Id) -> Result<PodSandboxStatus, RuntimeError>;
    /// Every sandbox.
    fn list_pod_sandboxes(&self) -> Vec<PodSandboxStatus>;

    /// Prepares a container: compiles what it runs, checks its imports, opens its log.
    async fn create_container(
        &self,
        sandbox: &Id,
        config: ContainerConfig,
    ) -> Result<Id, RuntimeError>;
    /// Starts it: a program begins, a function listens.
    async fn start_container(&self, id: &Id) -> Result<(), RuntimeError>;
    /// Stops listening, drains, ends stdin, and after `grace` interrupts the guest.
    async fn stop_container(&self, id: &Id, grace: Duration) -> Result<(), RuntimeError>;
    /// Ends it by force and forgets it; its log file stays.
    async fn remove_container(&self, id: &Id) -> Result<(), RuntimeError>;
    /// Changes its limits while it runs.
    async fn update_container_resources(
        &self,
        id: &Id,
        resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError>;
    /// The container as it is.
    fn container_status(&self, id: &Id) -> Result<ContainerStatus, RuntimeError>;
    /// Every container, of one sandbox or of all.
    fn list_containers(&self, sandbox: Option<&Id>) -> Vec<ContainerStatus>;
    /// What it has used.
    fn container_stats(&self, id: &Id) -> Result<ContainerStats, RuntimeError>;
    /// What every container that runs has used.
    fn list_container_stats(&self) -> Vec<(ContainerAttributes, ContainerStats)>;
    /// What happens from now on. A receiver that lags must list again.
    fn container_events(&self) -> broadcast::Receiver<ContainerEvent>;

    /// Fetches an image and everything it needs; answers its digest.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<AuthConfig>,
    ) -> Result<ImageRef, RuntimeError>;
    /// The image a reference or digest names, if it is here.
    fn image_status(&self, image: &str) -> Option<Image>;
    /// Every image here.
    fn list_images(&self) -> Vec<Image>;
    /// Forgets an image.
    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError>;
}
