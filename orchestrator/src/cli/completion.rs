//! `podium completion SHELL`: the completion script of a shell.
//!
//! The script asks this binary what may follow, and it asks the cluster: types and
//! names are those of the moment. A cluster that does not answer completes nothing.
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::session::{Cluster, Session};
use super::targets;
use super::{UsageError, say};

/// How long a shell waits for the cluster: a person who pressed Tab sits there.
const PATIENCE: Duration = Duration::from_secs(2);

/// The variable that makes this binary answer a shell instead of running.
const VARIABLE: &str = "PODIUM_COMPLETE";

/// Flags of `podium completion`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// bash, elvish, fish, powershell or zsh.
    shell: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&args.shell) else {
        let known: Vec<_> = shells.names().collect();
        let why = format!("no such shell: {:?}; say one of {}", args.shell, known.join(", "));
        return Err(UsageError(why).into());
    };
    let program = std::env::current_exe()?;
    let mut script = Vec::new();
    let program = program.to_string_lossy();
    shell.write_registration(VARIABLE, "podium", "podium", &program, &mut script)?;
    say(&String::from_utf8(script)?)
}

/// Answers a shell that asks what may follow; whether one did.
pub(super) fn answer() -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(super::Podium::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), folder.as_deref())
}

/// Completes `TYPE`, `TYPE NAME` and `TYPE/NAME`.
pub(super) fn objects() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| ask(current, Wanted::Anything))
}

/// Completes the names of objects of one type, or `TYPE/NAME`.
pub(super) fn names_of(plural: &'static str) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| ask(current, Wanted::Of(plural)))
}

/// What a word may be.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Anything,
    Of(&'static str),
}

fn ask(current: &OsStr, wanted: Wanted) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let words: Vec<String> = std::env::args_os().filter_map(|w| w.into_string().ok()).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let found = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, candidates(&words, current, wanted)).await
    });
    // A shell has no place for complaints.
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    found.into_iter().map(|word| CompletionCandidate::new(OsString::from(word))).collect()
}

async fn candidates(
    words: &[String],
    current: &str,
    wanted: Wanted,
) -> anyhow::Result<Vec<String>> {
    let line = Line::read(words);
    let session = line.cluster.open().await?;
    let begins = |word: &String| word.starts_with(current);
    if let Some((kind, _)) = current.split_once('/') {
        let names = names(&session, kind).await?;
        return Ok(names.into_iter().map(|name| format!("{kind}/{name}")).filter(begins).collect());
    }
    let mut found = match (wanted, line.kind) {
        (Wanted::Of(plural), _) => names(&session, plural).await?,
        (Wanted::Anything, Some(kind)) => names(&session, &kind).await?,
        (Wanted::Anything, None) => {
            session.catalog().await?.iter().map(|served| served.plural.clone()).collect()
        }
    };
    found.retain(begins);
    found.sort();
    found.dedup();
    Ok(found)
}

async fn names(session: &Session, kind: &str) -> anyhow::Result<Vec<String>> {
    let served = session.catalog().await?.find(kind)?;
    Ok(targets::names(session, served).await?)
}

/// What of the line that is being typed matters.
#[derive(Debug, Default)]
struct Line {
    cluster: Cluster,
    /// The type that was named, if it was.
    kind: Option<String>,
}

impl Line {
    /// Reads `podium -- podium get pods -n x CURRENT`, as shells pass it on.
    fn read(words: &[String]) -> Self {
        let typed = words.iter().skip_while(|word| *word != "--").skip(2);
        let typed: Vec<&String> = typed.collect();
        // The last word is the one that is completed.
        let before = typed.len().saturating_sub(1);
        let mut line = Self::default();
        let mut plain = Vec::new();
        let mut words = typed[..before].iter();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let slot = match flag {
                "-n" | "--namespace" => &mut line.cluster.namespace,
                "--context" => &mut line.cluster.context,
                "--kubeconfig" | "--data-dir" => {
                    let value = value.or_else(|| words.next().map(|word| (*word).clone()));
                    let path = value.map(Into::into);
                    if flag == "--kubeconfig" {
                        line.cluster.kubeconfig = path;
                    } else {
                        line.cluster.data_dir = path;
                    }
                    continue;
                }
                "-l" | "--selector" | "-o" | "--output" | "--field-selector" => {
                    if value.is_none() {
                        words.next();
                    }
                    continue;
                }
                flag if flag.starts_with('-') => continue,
                _ => {
                    plain.push((*word).clone());
                    continue;
                }
            };
            *slot = value.or_else(|| words.next().map(|word| (*word).clone()));
        }
        if line.cluster.data_dir.is_none() {
            let named = std::env::var_os("PODIUM_DATA_DIR").filter(|path| !path.is_empty());
            line.cluster.data_dir = named.map(Into::into);
        }
        // `get TYPE`, `rollout status TYPE`, `set image TYPE`
        let verbs = if matches!(plain.first().map(String::as_str), Some("rollout" | "set")) {
            2
        } else {
            1
        };
        line.kind = plain.into_iter().nth(verbs).filter(|kind| !kind.contains('/'));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Line {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Line::read(&words)
    }

    #[test]
    fn the_type_and_the_namespace_are_found_in_what_was_typed() {
        let line = read("/bin/podium -- podium get -n team pods -o wide we");
        assert_eq!(line.kind.as_deref(), Some("pods"));
        assert_eq!(line.cluster.namespace.as_deref(), Some("team"));
        assert_eq!(
            read("podium -- podium rollout status deploy w").kind.as_deref(),
            Some("deploy")
        );
        assert_eq!(read("podium -- podium get --data-dir=/x po").kind, None);
        assert_eq!(read("podium -- podium delete pod/a p").kind, None);
    }
}
