//! Programs: guests that run from their start to their end.
//!
//! A program is an instance of `wasi:cli/run` or of a preview-1 module with
//! `_start`. It has no signals: it is asked to stop by the end of its stdin and
//! stopped by force by dropping its task, which takes effect within a slice.
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::InstancePre as ModulePre;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::cri::Exit;
use crate::engine::{Artifact, Engine};
use crate::executor::{CpuAccount, Executor, GuestTask};
use crate::guest::{self, Environment, Guest, ModuleGuest, Stdin, Stdio, ending};
use crate::limits::{InstanceLimits, MemoryAccount};
use crate::logs::{LogFile, Outputs};
use crate::network::PodNet;

/// What a program is started with.
pub struct Setup {
    /// The node's engine.
    pub engine: Arc<Engine>,
    /// What it runs.
    pub artifact: Arc<Artifact>,
    /// What it is given.
    pub environment: Arc<Environment>,
    /// Its log.
    pub log: Arc<LogFile>,
    /// Its Pod's network.
    pub net: PodNet,
    /// Where its memory counts.
    pub memory: Arc<MemoryAccount>,
    /// Fuel for the whole run.
    pub fuel: Option<u64>,
    /// Whether stdin stays open.
    pub stdin: bool,
}

/// A running program; ended by force when dropped.
pub struct Program {
    task: GuestTask,
    stdin: Stdin,
}

impl Program {
    /// Starts it; the receiver gets its end, or an error if it was ended by force.
    pub fn start(
        setup: Setup,
        executor: &Executor,
        cpu: &Arc<CpuAccount>,
    ) -> (Self, oneshot::Receiver<Exit>) {
        let stdin = if setup.stdin { Stdin::default() } else { Stdin::closed() };
        let stdio = Stdio { stdin: stdin.clone(), log: setup.log.clone() };
        let (ended, end) = oneshot::channel();
        let task = executor.spawn(cpu, async move {
            let exit = run(&setup, &stdio).await;
            drop(stdio);
            if !exit.message.is_empty() {
                setup.log.note(&exit.message);
            }
            // Nobody listens any more where the container was removed.
            drop(ended.send(exit));
        });
        (Self { task, stdin }, end)
    }

    /// Its standard input.
    pub fn stdin(&self) -> &Stdin {
        &self.stdin
    }

    /// Ends it by force.
    pub fn interrupt(&self) {
        self.task.abort();
    }
}

async fn run(setup: &Setup, stdio: &Stdio) -> Exit {
    let Some(_slot) = setup.engine.try_instance() else {
        return ending::cannot_run("the node has no room for another instance".to_owned());
    };
    let ended = match &*setup.artifact {
        Artifact::Program(pre) => component(setup, stdio, pre).await,
        Artifact::Module(pre) => module(setup, stdio, pre).await,
        Artifact::Function(_) => {
            return ending::cannot_run("a function is not started as a program".to_owned());
        }
    };
    match ended {
        Ok(success) => ending::returned(success),
        Err(error) => ending::failed(&error),
    }
}

async fn component(
    setup: &Setup,
    stdio: &Stdio,
    pre: &CommandPre<Guest>,
) -> wasmtime::Result<bool> {
    let limits = InstanceLimits::new(setup.memory.clone())?;
    let wasi = setup.environment.context(stdio.stdin.clone(), &Outputs::new(&stdio.log))?.build();
    let net = setup.net.clone();
    let engine = setup.engine.wasmtime();
    let mut store = guest::component_store(engine, wasi, net, None, limits, setup.fuel)?;
    let command = pre.instantiate_async(&mut store).await?;
    Ok(command.wasi_cli_run().call_run(&mut store).await?.is_ok())
}

async fn module(
    setup: &Setup,
    stdio: &Stdio,
    pre: &ModulePre<ModuleGuest>,
) -> wasmtime::Result<bool> {
    let limits = InstanceLimits::new(setup.memory.clone())?;
    let wasi =
        setup.environment.context(stdio.stdin.clone(), &Outputs::new(&stdio.log))?.build_p1();
    let mut store = guest::module_store(setup.engine.wasmtime(), wasi, limits, setup.fuel)?;
    let instance = pre.instantiate_async(&mut store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    start.call_async(&mut store, ()).await?;
    Ok(true)
}
