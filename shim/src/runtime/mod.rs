//! The runtime itself: sandboxes and containers, put together of the other rooms.
//!
//! A container's life is one task that owns all that runs: it ends when the
//! guest does, and a stop only tells it until when. Operations that the CRI
//! calls idempotent are, and none of them hangs: every wait ends with the
//! guest's next slice at the latest.

mod component;
mod container;
mod cri;
mod life;
mod sandbox;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cri::{ContainerEvent, ContainerEventKind, Id, RuntimeError};
use crate::engine::{Engine, EngineError};
use crate::executor::Executor;
use crate::guest::Stdin;
use crate::images::{self, Images, ImagesError};
use crate::network::{PodNet, Switch};
use crate::platform;

use container::Container;
use sandbox::Sandbox;

/// Events a slow listener may be behind before it must list again: some seconds
/// of the busiest node.
const EVENTS: usize = 4096;

/// What a runtime is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where images and compiled code are kept; nobody else's.
    pub data_dir: PathBuf,
    /// The node's network.
    pub switch: Switch,
    /// Where images come from.
    pub images: images::Config,
}

/// Why a runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made or cleared.
    #[error("cannot use the folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The engine cannot be set up.
    #[error("cannot start the WebAssembly engine")]
    Engine(#[source] EngineError),
    /// The guests' threads cannot be started.
    #[error("cannot start the guest executor")]
    Executor(#[source] std::io::Error),
    /// The images of an earlier run cannot be read.
    #[error("cannot open the image store")]
    Images(#[source] ImagesError),
}

/// The sandbox runtime of one node.
pub struct Shim {
    node: Arc<Node>,
    images: Images,
    sandboxes: Mutex<BTreeMap<Id, Sandbox>>,
    containers: Mutex<BTreeMap<Id, Arc<Container>>>,
}

/// What all containers of the node share.
struct Node {
    engine: Arc<Engine>,
    executor: Arc<Executor>,
    switch: Switch,
    /// Folders for mounted files, one per container.
    staging: PathBuf,
    events: broadcast::Sender<ContainerEvent>,
    /// The lives of all containers.
    lives: TaskTracker,
}

impl Shim {
    /// Starts a runtime without containers; images and compiled code of an
    /// earlier one are found again. Must be called within a tokio runtime,
    /// which then drives the guests' timers and I/O.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let folder = |name: &str| {
            let path = config.data_dir.join(name);
            platform::create_private_dir(&path)
                .map_err(|source| StartError::Folder(path.clone(), source))?;
            Ok::<_, StartError>(path)
        };
        let staging = folder("staging")?;
        clear(&staging).map_err(|source| StartError::Folder(staging.clone(), source))?;
        let engine = Engine::new(folder("compiled")?).map_err(StartError::Engine)?;
        let executor = Executor::new(&tokio::runtime::Handle::current());
        let images = Images::open(folder("images")?, config.images).map_err(StartError::Images)?;
        let node = Node {
            engine: Arc::new(engine),
            executor: Arc::new(executor.map_err(StartError::Executor)?),
            switch: config.switch,
            staging,
            events: broadcast::Sender::new(EVENTS),
            lives: TaskTracker::new(),
        };
        let (sandboxes, containers) = (Mutex::default(), Mutex::default());
        Ok(Self { node: Arc::new(node), images, sandboxes, containers })
    }

    /// The images of this node.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Cancelled once a container has ended; already is if there is no such
    /// container. What [`crate::logs::Options::ended`] wants.
    pub fn container_ended(&self, id: &Id) -> CancellationToken {
        self.containers.lock().get(id).map_or_else(
            || {
                let gone = CancellationToken::new();
                gone.cancel();
                gone
            },
            |container| container.ended().clone(),
        )
    }

    /// The standard input of a running program, for `attach`.
    pub fn container_stdin(&self, id: &Id) -> Result<Stdin, RuntimeError> {
        let why = || RuntimeError::FailedPrecondition(format!("{:?} takes no input", id.0));
        self.container(id)?.stdin().ok_or_else(why)
    }

    /// Ends every container by force and waits for it.
    pub async fn shutdown(&self) {
        let all: Vec<_> = self.containers.lock().values().cloned().collect();
        self.end(&all).await;
        self.node.lives.close();
        self.node.lives.wait().await;
    }

    fn container(&self, id: &Id) -> Result<Arc<Container>, RuntimeError> {
        let containers = self.containers.lock();
        containers.get(id).cloned().ok_or_else(|| not_found("container", id))
    }

    fn containers_of(&self, sandbox: &Id) -> Vec<Arc<Container>> {
        let containers = self.containers.lock();
        containers.values().filter(|container| container.sandbox() == sandbox).cloned().collect()
    }

    /// A sandbox that takes containers, and its network.
    fn ready_sandbox(&self, id: &Id) -> Result<(Sandbox, PodNet), RuntimeError> {
        let sandboxes = self.sandboxes.lock();
        let sandbox = sandboxes.get(id).ok_or_else(|| not_found("sandbox", id))?;
        match sandbox.net() {
            Some(net) => Ok((sandbox.clone(), net.clone())),
            None => Err(RuntimeError::FailedPrecondition(format!("sandbox {:?} is stopped", id.0))),
        }
    }

    /// Ends containers by force, all at once.
    async fn end(&self, containers: &[Arc<Container>]) {
        containers.iter().for_each(|container| container.stop(Duration::ZERO));
        for container in containers {
            container.ended().cancelled().await;
        }
    }

    /// Ends a container by force, forgets it and tells of it.
    async fn forget(&self, container: &Arc<Container>) {
        self.end(std::slice::from_ref(container)).await;
        if self.containers.lock().remove(container.id()).is_some() {
            self.node.tell(container, ContainerEventKind::Deleted);
        }
    }
}

impl Node {
    fn tell_compiling(&self, sandbox: &Sandbox, container: &str) {
        drop(self.events.send(ContainerEvent {
            container: sandbox.id.clone(),
            sandbox: sandbox.id.clone(),
            pod_uid: sandbox.config.metadata.uid.clone(),
            kind: ContainerEventKind::Compiling(container.to_owned()),
        }));
    }

    fn tell(&self, container: &Container, kind: ContainerEventKind) {
        // Nobody need listen.
        drop(self.events.send(container.event(kind)));
    }
}

/// 64 hexadecimal digits, as every container runtime has them.
fn new_id() -> Id {
    Id(hex::encode(rand::random::<[u8; 32]>()))
}

fn not_found(what: &'static str, id: &Id) -> RuntimeError {
    RuntimeError::NotFound { what, id: id.0.clone() }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Removes what an earlier run left in a folder of ours.
fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}
