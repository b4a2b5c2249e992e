//! A container: Created → Running → Exited.
//!
//! Its end is announced after the last line of its log is in the file.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::component::{Component, Guests};
use super::sandbox::Sandbox;
use super::{Node, chain, life};
use crate::cri::{
    ContainerAttributes, ContainerConfig, ContainerEvent, ContainerEventKind, ContainerState,
    ContainerStats, ContainerStatus, Exit, ExitReason, Id, LinuxContainerResources, OwnFiles,
    RuntimeError,
};
use crate::engine::Artifact;
use crate::executor::CpuAccount;
use crate::function::{self, DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, Function, Routes};
use crate::guest::{Environment, Staging, Stdin, ending};
use crate::limits::MemoryAccount;
use crate::logs::LogFile;
use crate::network::{HttpListener, PodNet};
use crate::program::{self, Program};

/// Where a function listens if its Pod names no port.
const DEFAULT_PORT: u16 = 8080;

/// How long a stop may be put off: a year; what is longer overflows clocks.
const MAX_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// One container.
pub(super) struct Container {
    id: Id,
    sandbox: Id,
    pod_uid: String,
    config: ContainerConfig,
    /// Kept to its removal, so that the next one finds them ready.
    artifacts: Vec<Arc<Artifact>>,
    own_files: Vec<OwnFiles>,
    log: Arc<LogFile>,
    cpu: Arc<CpuAccount>,
    memory: Arc<MemoryAccount>,
    /// Of one run or request; `u64::MAX` without limit.
    fuel: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
    created_at: SystemTime,
    state: Mutex<State>,
    stop_by: watch::Sender<Option<Instant>>,
    ended: CancellationToken,
}

struct State {
    shown: ContainerState,
    /// What it starts with; given up at its end, and with it the Pod's address and the files.
    means: Option<Means>,
    stdin: Option<Stdin>,
}

/// What a container's guests run with.
struct Means {
    net: PodNet,
    guests: Guests,
}

impl Container {
    /// Prepares a container; its log and its mounted files are opened.
    pub(super) async fn create(
        id: Id,
        sandbox: &Sandbox,
        config: ContainerConfig,
        (components, routes): (Vec<Component>, Routes),
        net: PodNet,
        staging: &Staging,
    ) -> Result<Self, RuntimeError> {
        let parts: Vec<_> = (0..components.len()).map(|index| staging.part(index)).collect();
        let own_files = components.iter().zip(&parts);
        let own_files = own_files.filter_map(|(it, part)| it.own_files(&config, part)).collect();
        let artifacts = components.iter().map(|it| it.artifact.clone()).collect();
        let log_path = sandbox.config.log_directory.join(&config.log_path);
        let (hostname, file) = (sandbox.config.hostname.clone(), log_path.clone());
        let runtime = tokio::runtime::Handle::current();
        let opening = tokio::task::spawn_blocking(move || {
            let log = LogFile::open(file, config.log_rotation, runtime);
            let guests = Guests::new(components, routes, &config, &hostname, parts);
            let config = ContainerConfig { mounts: Vec::new(), etc: None, ..config };
            (log, guests, config)
        });
        let (log, guests, config) = opening.await.expect("opening files does not panic");
        let log = log.map_err(|source| RuntimeError::Io {
            doing: format!("cannot open the log {}", log_path.display()),
            source,
        })?;
        let guests = guests?;
        let LinuxContainerResources { cpu_period, cpu_quota, cpu_shares, memory_limit, fuel } =
            config.resources;
        Ok(Self {
            id,
            sandbox: sandbox.id.clone(),
            pod_uid: sandbox.config.metadata.uid.clone(),
            artifacts,
            own_files,
            log,
            cpu: Arc::new(CpuAccount::new(cpu_quota, cpu_period, cpu_shares)),
            memory: Arc::new(MemoryAccount::new(memory_limit)),
            fuel: Arc::new(AtomicU64::new(fuel.unwrap_or(u64::MAX))),
            requests: Arc::default(),
            created_at: SystemTime::now(),
            state: Mutex::new(State {
                shown: ContainerState::Created,
                means: Some(Means { net, guests }),
                stdin: None,
            }),
            stop_by: watch::Sender::new(None),
            ended: CancellationToken::new(),
            config,
        })
    }

    /// Begins its life.
    pub(super) fn start(self: Arc<Self>, node: &Arc<Node>) -> Result<(), RuntimeError> {
        let Means { net, guests } = self.state.lock().started().ok_or_else(|| {
            let id = &self.id.0;
            RuntimeError::FailedPrecondition(format!("container {id:?} was started before"))
        })?;
        let stop_by = self.stop_by.subscribe();
        match guests {
            Guests::Function { components, routes } => {
                let setup = self.function_setup(node, net.clone(), components, routes);
                let function = Function::new(setup);
                let listeners = self.listen(&function, &net).inspect_err(|error| {
                    self.finish(node, ending::cannot_run(error.to_string()));
                })?;
                node.tell(&self, ContainerEventKind::Started);
                let life = life::serve(function, listeners, stop_by);
                node.lives.spawn(self.clone().live(node.clone(), life));
            }
            Guests::Program { artifact, environment } => {
                let setup = self.program_setup(node, net, artifact, environment);
                let (program, end) = Program::start(setup, &node.executor, &self.cpu);
                self.state.lock().stdin = Some(program.stdin().clone());
                node.tell(&self, ContainerEventKind::Started);
                let life = life::run(program, end, stop_by);
                node.lives.spawn(self.clone().live(node.clone(), life));
            }
        }
        Ok(())
    }

    /// Asks the guest to end within `grace`, and sees to it.
    pub(super) fn stop(&self, grace: Duration) {
        let by = Instant::now() + grace.min(MAX_GRACE);
        let mut state = self.state.lock();
        if state.shown == ContainerState::Created {
            state.exited(ending::interrupted("stopped before it was started"));
            drop(state);
            self.ended.cancel();
            return;
        }
        drop(state);
        self.stop_by.send_modify(|current| {
            *current = Some(current.map_or(by, |earlier| earlier.min(by)));
        });
    }

    /// Changes the limits, of what runs as well.
    pub(super) fn set_resources(&self, resources: LinuxContainerResources) {
        self.cpu.set(resources.cpu_quota, resources.cpu_period, resources.cpu_shares);
        self.memory.set_limit(resources.memory_limit);
        self.fuel.store(resources.fuel.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    pub(super) fn sandbox(&self) -> &Id {
        &self.sandbox
    }

    /// What happened to it, as listeners hear it.
    pub(super) fn event(&self, kind: ContainerEventKind) -> ContainerEvent {
        ContainerEvent {
            container: self.id.clone(),
            sandbox: self.sandbox.clone(),
            pod_uid: self.pod_uid.clone(),
            kind,
        }
    }

    /// Cancelled when it has ended and its log is whole.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn stdin(&self) -> Option<Stdin> {
        self.state.lock().stdin.clone().filter(|_| self.config.stdin)
    }

    pub(super) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            id: self.id.clone(),
            sandbox: self.sandbox.clone(),
            name: self.config.name.clone(),
            attempt: self.config.attempt,
            image: self.config.image.clone(),
            created_at: self.created_at,
            state: self.state.lock().shown.clone(),
            own_files: self.own_files.clone(),
            log_path: self.log.path().to_owned(),
            function: self.artifacts.iter().all(|artifact| artifact.function().is_some()),
            labels: self.config.labels.clone(),
        }
    }

    /// Which it is, while it runs.
    pub(super) fn attributes(&self) -> Option<ContainerAttributes> {
        let ContainerState::Running { started_at } = self.state.lock().shown else { return None };
        Some(ContainerAttributes {
            id: self.id.clone(),
            sandbox: self.sandbox.clone(),
            name: self.config.name.clone(),
            image: self.config.image.clone(),
            started_at,
        })
    }

    pub(super) fn stats(&self) -> ContainerStats {
        ContainerStats {
            cpu_usage: self.cpu.used(),
            throttled_periods: self.cpu.throttled_periods(),
            memory_working_set: self.memory.used(),
            memory_peak: self.memory.peak(),
            log_bytes: self.log.size(),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }

    /// Waits for the end of what runs and announces it.
    async fn live(self: Arc<Self>, node: Arc<Node>, life: impl Future<Output = Exit>) {
        let exit = life.await;
        self.log.flush().await;
        self.finish(&node, exit);
    }

    fn finish(&self, node: &Node, exit: Exit) {
        tracing::info!(
            container = self.id.0,
            name = self.config.name,
            code = exit.code,
            reason = exit.reason.as_str(),
            "container ended"
        );
        self.state.lock().exited(exit);
        self.ended.cancel();
        node.tell(self, ContainerEventKind::Stopped);
    }

    fn listen(&self, function: &Function, net: &PodNet) -> Result<Vec<HttpListener>, RuntimeError> {
        let ports = match self.config.ports.as_slice() {
            [] => &[DEFAULT_PORT],
            ports => ports,
        };
        let open = |port: &u16| {
            net.listen_http(*port, Arc::new(function.clone()))
                .map_err(|error| RuntimeError::FailedPrecondition(chain(&error)))
        };
        ports.iter().map(open).collect()
    }

    fn function_setup(
        self: &Arc<Self>,
        node: &Arc<Node>,
        net: PodNet,
        components: Vec<function::Component>,
        routes: Routes,
    ) -> function::Setup {
        // Weak, as the function lives in a task that the container's end awaits.
        let (container, told) = (Arc::downgrade(self), node.events.clone());
        let report = move |reason: ExitReason, message: String| {
            if let Some(container) = container.upgrade() {
                let kind = ContainerEventKind::RequestFailed(reason, message);
                drop(told.send(container.event(kind)));
            }
        };
        function::Setup {
            engine: node.engine.clone(),
            components,
            routes,
            executor: node.executor.clone(),
            log: self.log.clone(),
            net,
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            fuel: self.fuel.clone(),
            requests: self.requests.clone(),
            concurrency: self.config.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
            reuse: self.config.reuse,
            timeout: self.config.request_timeout.unwrap_or(DEFAULT_TIMEOUT),
            report: Box::new(report),
        }
    }

    fn program_setup(
        &self,
        node: &Node,
        net: PodNet,
        artifact: Arc<Artifact>,
        environment: Arc<Environment>,
    ) -> program::Setup {
        program::Setup {
            engine: node.engine.clone(),
            artifact,
            environment,
            log: self.log.clone(),
            net,
            memory: self.memory.clone(),
            fuel: Some(self.fuel.load(Ordering::Relaxed)),
            stdin: self.config.stdin,
        }
    }
}

impl State {
    /// Created → Running; what it then runs with, `None` if it is not Created.
    fn started(&mut self) -> Option<Means> {
        if self.shown != ContainerState::Created {
            return None;
        }
        self.shown = ContainerState::Running { started_at: SystemTime::now() };
        self.means.take()
    }

    fn exited(&mut self, exit: Exit) {
        let started_at = match self.shown {
            ContainerState::Running { started_at } => Some(started_at),
            _ => None,
        };
        self.shown = ContainerState::Exited { started_at, finished_at: SystemTime::now(), exit };
        self.means = None;
        self.stdin = None;
    }
}
