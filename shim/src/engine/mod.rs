//! Turns artifacts into something that can be started, once.
//!
//! There is one wasmtime engine per node. An artifact is recognised by its
//! exports, its imports are checked against what the node offers, and its
//! compiled code is kept on disk and mapped. Several containers that want the
//! same artifact at the same time wait for one compilation.

mod cache;
mod config;
mod detect;
mod imports;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use registry::artifact::Interface;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use wasmtime::component::{Component, InstancePre as ComponentPre, Linker as ComponentLinker};
use wasmtime::{InstancePre as ModulePre, Linker as ModuleLinker, Module};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

pub use detect::{DetectError, Kind, detect};

use crate::guest::{Guest, ModuleGuest};
use crate::platform;
use cache::Cache;

/// Compilations at once: each uses all cores already, two so that a small
/// artifact does not wait for a large one.
const COMPILATIONS: usize = 2;

/// One in this many instances may be idle: requests always find room in the rest.
const IDLE_SHARE: usize = 2;

/// The WIT interface that hands a guest its folders.
const PREOPENS: &str = "wasi:filesystem/preopens@";

/// Why an artifact cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine itself cannot be built on this machine.
    #[error("cannot set up the WebAssembly engine")]
    Setup(#[source] wasmtime::Error),
    /// The folder of compiled code cannot be used.
    #[error("cannot use the folder {0} of compiled code")]
    Folder(PathBuf, #[source] io::Error),
    /// The artifact cannot be read.
    #[error("cannot read the artifact")]
    Read(#[source] io::Error),
    /// It is nothing that can be run.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// It does not validate or uses features that are not supported.
    #[error("it does not compile")]
    Compile(#[source] wasmtime::Error),
    /// It imports what this node lacks: which, in words.
    #[error("{0}")]
    Unmet(String),
    /// It imports an interface of ours in another shape; the source names the import.
    #[error("it imports what this node does not offer")]
    Import(#[source] wasmtime::Error),
    /// The compiler's thread ended.
    #[error("the compiler stopped")]
    Stopped,
}

/// An artifact that is ready to be instantiated.
pub enum Artifact {
    /// A function.
    Function(ProxyPre<Guest>),
    /// A program.
    Program(CommandPre<Guest>),
    /// A program of preview 1.
    Module(ModulePre<ModuleGuest>),
}

impl Artifact {
    /// What is called per request; none if it is a program.
    pub fn function(&self) -> Option<&ProxyPre<Guest>> {
        match self {
            Self::Function(pre) => Some(pre),
            Self::Program(_) | Self::Module(_) => None,
        }
    }

    /// Whether its guests can see folders that they are given.
    pub fn sees_files(&self) -> bool {
        let component = match self {
            Self::Function(pre) => pre.instance_pre().component(),
            Self::Program(pre) => pre.instance_pre().component(),
            Self::Module(_) => return true,
        };
        let type_ = component.component_type();
        type_.imports(component.engine()).any(|(name, _)| name.starts_with(PREOPENS))
    }
}

/// The node's WebAssembly engine.
pub struct Engine {
    engine: wasmtime::Engine,
    components: ComponentLinker<Guest>,
    modules: ModuleLinker<ModuleGuest>,
    cache: Cache,
    /// Artifacts in use, each behind the lock that lets one caller prepare it.
    artifacts: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Weak<Artifact>>>>>,
    compilations: Arc<Semaphore>,
    /// What is being prepared, each by a task that ends by itself.
    preparing: TaskTracker,
    instances: Arc<Semaphore>,
    idle: Arc<Semaphore>,
}

impl Engine {
    /// Sets the engine up; compiled code is kept in `folder`.
    pub fn new(folder: PathBuf) -> Result<Self, EngineError> {
        compile_with_low_priority();
        let built = config::build().map_err(EngineError::Setup)?;
        let engine = built.engine;
        let cache = Cache::open(folder.clone(), &engine)
            .map_err(|source| EngineError::Folder(folder, source))?;
        Ok(Self {
            components: crate::guest::component_linker(&engine).map_err(EngineError::Setup)?,
            modules: crate::guest::module_linker(&engine).map_err(EngineError::Setup)?,
            engine,
            cache,
            artifacts: Mutex::new(HashMap::new()),
            compilations: Arc::new(Semaphore::new(COMPILATIONS)),
            preparing: TaskTracker::new(),
            instances: Arc::new(Semaphore::new(built.slots)),
            idle: Arc::new(Semaphore::new(built.slots / IDLE_SHARE)),
        })
    }

    /// The wasmtime engine.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Room for one more instance, or `None` while the pool is full.
    pub fn try_instance(&self) -> Option<OwnedSemaphorePermit> {
        self.instances.clone().try_acquire_owned().ok()
    }

    /// Room for one more instance that waits for a request, or `None` while
    /// enough of the pool is kept that way.
    pub fn try_idle(&self) -> Option<OwnedSemaphorePermit> {
        self.idle.clone().try_acquire_owned().ok()
    }

    /// Whether an artifact is ready, or its code is here: preparing it takes no time then.
    pub fn is_compiled(&self, digest: &str) -> bool {
        self.cache.has(digest)
    }

    /// Prepares the artifact with this digest, whose bytes `read` fetches if
    /// they must be compiled.
    pub async fn prepare<R>(
        self: &Arc<Self>,
        digest: &str,
        read: R,
    ) -> Result<Arc<Artifact>, EngineError>
    where
        R: FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    {
        let slot = self.artifacts.lock().entry(digest.to_owned()).or_default().clone();
        let mut slot = slot.lock_owned().await;
        if let Some(artifact) = slot.upgrade() {
            return Ok(artifact);
        }
        // A task of its own: whoever waits may give up, and the next would begin again.
        let (engine, digest) = (self.clone(), digest.to_owned());
        let preparing = self.preparing.spawn(async move {
            let artifact = Arc::new(match engine.clone().load(digest.clone()).await? {
                Some(artifact) => artifact,
                None => engine.clone().compile(digest, read).await?,
            });
            *slot = Arc::downgrade(&artifact);
            drop(slot);
            engine.forget_unused();
            Ok(artifact)
        });
        preparing.await.unwrap_or(Err(EngineError::Stopped))
    }

    /// Removes the compiled code of an artifact; what runs keeps its own.
    pub async fn discard(self: &Arc<Self>, digest: String) {
        let engine = self.clone();
        let removed = tokio::task::spawn_blocking(move || engine.cache.remove(&digest)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "cannot remove compiled code");
        }
    }

    /// Drops the slots of artifacts that nobody holds or prepares.
    fn forget_unused(&self) {
        self.artifacts.lock().retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| slot.strong_count() > 0)
        });
    }

    /// Maps code that was compiled before.
    async fn load(self: Arc<Self>, digest: String) -> Result<Option<Artifact>, EngineError> {
        blocking(move || {
            let Some((kind, code)) = self.cache.find(&digest) else { return Ok(None) };
            match self.map(kind, &code) {
                Err(EngineError::Compile(error)) => {
                    tracing::warn!(digest, %error, "compiled code does not load, compiling anew");
                    Ok(None)
                }
                mapped => mapped.map(Some),
            }
        })
        .await
    }

    async fn compile(
        self: Arc<Self>,
        digest: String,
        read: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Artifact, EngineError> {
        let permit = self.compilations.clone().acquire_owned().await;
        blocking(move || {
            let _permit = permit;
            let wasm = read().map_err(EngineError::Read)?;
            let kind = check(&wasm)?;
            let started = std::time::Instant::now();
            let precompile = || match kind {
                Kind::Module => self.engine.precompile_module(&wasm),
                Kind::Function | Kind::Program => self.engine.precompile_component(&wasm),
            };
            // Within the pool as a whole: its threads have a low priority, this one has not.
            let (code, ()) = rayon::join(precompile, || ());
            let code = code.map_err(EngineError::Compile)?;
            tracing::info!(digest, ?kind, elapsed = ?started.elapsed(), "compiled");
            let code = self
                .cache
                .keep(&digest, kind, &code)
                .map_err(|source| EngineError::Folder(self.cache.folder().to_owned(), source))?;
            self.map(kind, &code)
        })
        .await
    }

    fn map(&self, kind: Kind, code: &std::path::Path) -> Result<Artifact, EngineError> {
        let (engine, import) = (&self.engine, EngineError::Import);
        let component = || platform::map_component(engine, code).map_err(EngineError::Compile);
        match kind {
            Kind::Function => {
                let pre = self.link(&component()?)?;
                ProxyPre::new(pre).map(Artifact::Function).map_err(import)
            }
            Kind::Program => {
                let pre = self.link(&component()?)?;
                CommandPre::new(pre).map(Artifact::Program).map_err(import)
            }
            Kind::Module => {
                let module: Module =
                    platform::map_module(engine, code).map_err(EngineError::Compile)?;
                self.modules.instantiate_pre(&module).map(Artifact::Module).map_err(import)
            }
        }
    }

    fn link(&self, component: &Component) -> Result<ComponentPre<Guest>, EngineError> {
        self.components.instantiate_pre(component).map_err(EngineError::Import)
    }
}

/// Tells how an artifact is run, and refuses what cannot be, without compiling it.
pub fn check(wasm: &[u8]) -> Result<Kind, EngineError> {
    let kind = detect(wasm)?;
    // What `detect` has read whole is not broken to this reader either.
    let Ok(interface) = Interface::read(wasm) else { return Ok(kind) };
    let outer = interface.kind;
    match imports::unmet(outer, &imports::imports(wasm, interface)) {
        Some(unmet) => Err(EngineError::Unmet(unmet)),
        None => Ok(kind),
    }
}

/// Lets compilation give way to everything else on the machine: it takes seconds of every core,
/// guests and the agent want milliseconds.
fn compile_with_low_priority() {
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|index| format!("compile-{index}"))
        .start_handler(|_| platform::lower_priority());
    if let Err(error) = pool.build_global() {
        tracing::debug!(%error, "the pool of compiler threads was set up before");
    }
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(EngineError::Stopped))
}
