//! The subcommands, one file each: wiring only.
//!
//! Output for people and programs goes to stdout, logs and progress to stderr.
//! Exit codes: 0 done, 1 it failed, 64 the command line or configuration makes
//! no sense (`EX_USAGE` of sysexits.h).
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod apply;
pub mod cluster;
mod completion;
pub mod data_dir;
pub mod kubeconfig;
mod listeners;
mod pod_network;
mod push;
mod up;
mod version;

/// The command line or the configuration makes no sense.
const EX_USAGE: u8 = 64;

/// Kubernetes for WebAssembly in one small binary.
#[derive(Debug, Parser)]
#[command(name = "podium", version, about, disable_help_subcommand = true)]
struct Podium {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, and deploy a .wasm file if one is named.
    Up(up::Args),
    /// Push a .wasm file to a registry as an OCI artifact.
    Push(push::Args),
    /// Print, merge or make credentials for a cluster.
    Kubeconfig(kubeconfig::Args),
    /// Print what this binary is.
    Version(version::Args),
    /// Print the completion script of a shell.
    Completion(completion::Args),
}

/// A mistake in the command line or configuration, as opposed to a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_from(std::env::args_os())
}

/// Runs a command line whose first word is the program's name.
pub fn main_from(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let podium = match Podium::try_parse_from(words) {
        Ok(podium) => podium,
        Err(error) => {
            let help = !error.use_stderr();
            return match error.print() {
                Ok(()) if help => ExitCode::SUCCESS,
                _ => ExitCode::from(EX_USAGE),
            };
        }
    };
    init_tracing();
    match run(podium.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            let usage = error.downcast_ref::<UsageError>().is_some();
            ExitCode::from(if usage { EX_USAGE } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Up(args) => up::run(args).await,
            Command::Push(args) => push::run(args).await,
            Command::Kubeconfig(args) => kubeconfig::run(args),
            Command::Version(args) => version::run(&args),
            Command::Completion(args) => completion::run(&args),
        }
    })
}

/// Logs go to stderr; `PODIUM_LOG` chooses what, in the words of tracing's filters.
fn init_tracing() {
    let filter = EnvFilter::try_from_env("PODIUM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Writes to stdout; a reader that went away is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("write to stdout"),
    }
}

/// Tells a person what has been done.
#[expect(clippy::print_stderr, reason = "progress is for people, and stdout for results")]
fn progress(text: &str) {
    eprintln!("{text}");
}

/// Prints the whole chain of an error.
#[expect(clippy::print_stderr, reason = "this is where a command says that it failed")]
fn complain(error: &anyhow::Error) {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("error: {}", chain.join(": "));
}
