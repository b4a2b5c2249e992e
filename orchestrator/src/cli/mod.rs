//! The subcommands, one file each: wiring only.
//!
//! Output for people and programs goes to stdout, logs and progress to stderr.
//! Exit codes: 0 done, 1 it failed, 64 the command line or configuration makes
//! no sense (`EX_USAGE` of sysexits.h).
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod apply;
mod artifact;
pub mod cluster;
mod completion;
pub mod data_dir;
mod delete;
mod describe;
mod doctor;
mod duration;
mod events;
mod failures;
mod generate;
mod get;
pub mod kubeconfig;
mod lacking;
mod listeners;
mod logs;
mod manifests;
mod output;
mod own_images;
mod pod_network;
mod port;
mod push;
mod rollout;
mod run;
mod scale;
mod session;
mod set;
mod stop;
mod targets;
mod top;
mod trouble;
mod up;
mod version;
mod wait;
mod workload;

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
    /// Stop the cluster of a data directory.
    #[command(visible_alias = "down")]
    Stop(stop::Args),
    /// Push a .wasm file to a registry as an OCI artifact.
    Push(push::Args),
    /// Run an image or a .wasm file without a manifest.
    Run(Box<run::Args>),
    /// Make the cluster what manifests say.
    Apply(apply::Args),
    /// Print objects: tables, JSON, YAML; `-w` goes on.
    Get(get::Args),
    /// Tell everything about an object, with what happened to it.
    Describe(describe::Args),
    /// Print what containers wrote.
    Logs(logs::Args),
    /// Print what happened in the cluster.
    Events(events::Args),
    /// Say how many replicas there shall be.
    Scale(scale::Args),
    /// See, pause, undo or repeat the rollout of a Deployment.
    Rollout(rollout::Args),
    /// Change images, variables or resources of containers.
    Set(set::Args),
    /// Delete objects.
    Delete(Box<delete::Args>),
    /// Wait until objects are as they shall be.
    Wait(wait::Args),
    /// Print what Pods and nodes use.
    Top(top::Args),
    /// Print where the cluster and its Services are reached.
    Port(port::Args),
    /// Find what is wrong with an installation, and what to do about it.
    Doctor(doctor::Args),
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
    match completion::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    let podium = match parse(words) {
        Ok(podium) => podium,
        Err(error) => {
            if let Some(why) = is_kubectls(&error) {
                complain(&UsageError(why).into());
                return ExitCode::from(EX_USAGE);
            }
            let help = !error.use_stderr();
            return match error.print() {
                Ok(()) if help => ExitCode::SUCCESS,
                _ => ExitCode::from(EX_USAGE),
            };
        }
    };
    init_tracing();
    match run(podium.command) {
        Ok(code) => code,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) if error.is::<failures::Told>() => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            let usage = error.chain().any(|cause| cause.is::<UsageError>());
            ExitCode::from(if usage { EX_USAGE } else { 1 })
        }
    }
}

fn parse(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> clap::error::Result<Podium> {
    let words = flags_after_command(words.into_iter().map(Into::into).collect());
    let command = without_empty_variables(Podium::command(), &|name| std::env::var_os(name));
    Podium::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// kubectl's people write `-n NAMESPACE` before the command too.
fn flags_after_command(mut words: Vec<OsString>) -> Vec<OsString> {
    const FLAGS: [&str; 4] = ["-n", "--namespace", "--context", "--kubeconfig"];
    let is_flag = |word: &OsString| FLAGS.iter().any(|flag| word.as_os_str() == *flag);
    let mut moved = Vec::new();
    while words.len() > 3 && words.get(1).is_some_and(is_flag) {
        moved.extend(words.drain(1..3));
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(end..end, moved);
    words
}

/// What kubectl does and `podium` leaves to it.
fn is_kubectls(error: &clap::Error) -> Option<String> {
    const LEFT: [&str; 14] = [
        "annotate",
        "auth",
        "autoscale",
        "cordon",
        "create",
        "diff",
        "drain",
        "edit",
        "explain",
        "expose",
        "label",
        "patch",
        "replace",
        "uncordon",
    ];
    const NONE: [&str; 5] = ["attach", "cp", "debug", "exec", "port-forward"];
    let word = match error.get(clap::error::ContextKind::InvalidSubcommand)? {
        clap::error::ContextValue::String(word) => word,
        _ => return None,
    };
    if LEFT.contains(&word.as_str()) {
        return Some(format!("podium has no `{word}`: `kubectl {word}` does it here too"));
    }
    let how = "a sandbox has no other programs, and no ports of this machine";
    NONE.contains(&word.as_str()).then(|| format!("podium has no `{word}`: {how}"))
}

/// A variable that is set and empty names nothing, as where a script clears it.
fn without_empty_variables(
    command: clap::Command,
    value: &dyn Fn(&OsStr) -> Option<OsString>,
) -> clap::Command {
    let empty = |arg: &clap::Arg| arg.get_env().and_then(value).is_some_and(|text| text.is_empty());
    let without = |arg: clap::Arg| if empty(&arg) { arg.env(Resettable::Reset) } else { arg };
    command.mut_args(without).mut_subcommands(|inner| without_empty_variables(inner, value))
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(async {
        match command {
            Command::Run(args) => return run::run(*args).await,
            Command::Doctor(args) => return doctor::run(args).await,
            Command::Up(args) => up::run(args).await,
            Command::Stop(args) => stop::run(args).await,
            Command::Push(args) => push::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Describe(args) => describe::run(args).await,
            Command::Logs(args) => logs::run(args).await,
            Command::Events(args) => events::run(args).await,
            Command::Scale(args) => scale::run(args).await,
            Command::Rollout(args) => rollout::run(args).await,
            Command::Set(args) => set::run(args).await,
            Command::Delete(args) => delete::run(*args).await,
            Command::Wait(args) => wait::run(args).await,
            Command::Top(args) => top::run(args).await,
            Command::Port(args) => port::run(args).await,
            Command::Kubeconfig(args) => kubeconfig::run(args),
            Command::Version(args) => version::run(&args),
            Command::Completion(args) => completion::run(&args),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // What still reads a terminal or a log must not hold the process.
    runtime.shutdown_background();
    done
}

/// Logs go to stderr; `PODIUM_LOG` chooses what, in the words of tracing's filters. The client's own
/// are left out: what it was refused is told by whoever asked.
fn init_tracing() {
    let filter = EnvFilter::try_from_env("PODIUM_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,kube_client=off"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = !plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    logs.with_writer(std::io::stderr).init();
}

/// Nobody reads what is written any more: no failure, and nothing left to do.
#[derive(Debug, thiserror::Error)]
#[error("the reader of stdout went away")]
struct ReaderGone;

/// Writes to stdout.
fn say(text: &str) -> anyhow::Result<()> {
    say_bytes(text.as_bytes())
}

/// Writes to stdout what may be no text.
fn say_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
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
    let label = output::paint_errors().text(output::Tone::Bad, "error:");
    eprintln!("{label} {}", chain(error));
}

/// An error and its causes in one line.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = match cause.downcast_ref::<kube::Error>() {
            Some(error) => crate::client::refusal(error),
            None => cause.to_string(),
        };
        // Some libraries print their source in their own text too.
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Podium::command().debug_assert();
    }

    #[test]
    fn a_variable_that_is_empty_names_no_directory() {
        let read = |value: &'static str| {
            let command = without_empty_variables(Podium::command(), &|_| Some(value.into()));
            command
                .find_subcommand("get")
                .unwrap()
                .get_arguments()
                .any(|arg| arg.get_env().is_some())
        };
        assert!(read("/data"));
        assert!(!read(""));
    }

    #[test]
    fn flags_before_the_command_are_taken_as_kubectl_does() {
        let moved = |line: &str| {
            let words = flags_after_command(line.split(' ').map(OsString::from).collect());
            words.join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(moved("podium -n shop logs job/a"), "podium logs job/a -n shop");
        assert_eq!(moved("podium -n shop run a -- -n b"), "podium run a -n shop -- -n b");
        assert_eq!(moved("podium get pods -n shop"), "podium get pods -n shop");
        assert_eq!(moved("podium -n"), "podium -n");
    }

    #[test]
    fn what_kubectl_does_is_left_to_it_by_name() {
        let why = |word: &str| is_kubectls(&parse(["podium", word]).unwrap_err());
        assert!(why("label").unwrap().contains("`kubectl label`"));
        assert!(why("exec").unwrap().contains("sandbox"));
        assert_eq!(why("nonsense"), None);
    }

    #[test]
    fn a_chain_says_nothing_twice() {
        let error = anyhow::anyhow!("no such file").context("read a.yaml: no such file");
        assert_eq!(chain(&error.context("apply")), "apply: read a.yaml: no such file");
    }
}
