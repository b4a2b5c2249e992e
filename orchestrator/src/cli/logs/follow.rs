//! Logs that go on: a stream for each run of each container.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Args, Origin, Source, containers, next_line, path, pods, prefixed};
use crate::cli::session::Session;
use crate::cli::targets::text;
use crate::cli::{progress, say};

/// Lines that wait for the terminal; a full queue slows the streams down.
const QUEUE: usize = 1024;

/// How often it is looked for Pods and containers that started meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// Containers followed at once: each is a connection.
const MAX_STREAMS: usize = 64;

/// One run of a container.
type Run = (Source, i64);

/// Prints until there is nothing left to follow.
pub(super) async fn run(args: &Args, session: &Session, origins: &[Origin]) -> Result<()> {
    let (sender, mut lines) = mpsc::channel::<(Run, String)>(QUEUE);
    let mut followed = BTreeSet::<Run>::new();
    let mut order = BTreeMap::<Source, usize>::new();
    let mut streams = JoinSet::<Option<String>>::new();
    let endless = origins.iter().any(|origin| matches!(origin, Origin::Labels(_)));
    let mut width = 0;
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(((source, _), line)) = lines.recv() => {
                let nth = order.get(&source).copied().unwrap_or(0);
                let alone = order.len() == 1 && !endless;
                say(&prefixed(args, &source.name(), nth, width, alone, &line))?;
            }
            Some(ended) = streams.join_next() => {
                if let Ok(Some(complaint)) = ended {
                    progress(&complaint);
                }
            }
            _ = look.tick() => {
                let pods = match pods(args, session, origins).await {
                    Ok(pods) => pods,
                    // A Pod that was followed may go.
                    Err(_) if !followed.is_empty() && !endless => Vec::new(),
                    Err(error) => return Err(error),
                };
                let mut over = !endless;
                for pod in &pods {
                    let started = runs(args, pod)?;
                    over &= is_over(pod) || args.previous;
                    for run in started {
                        if streams.len() >= MAX_STREAMS || followed.contains(&run) {
                            continue;
                        }
                        width = width.max(run.0.name().len());
                        let next = order.len();
                        order.entry(run.0.clone()).or_insert(next);
                        followed.insert(run.clone());
                        let log = session.stream(&path(args, &run.0, args.timestamps)).await;
                        match log {
                            Ok(log) => {
                                let sender = sender.clone();
                                streams.spawn(async move { copy(Box::pin(log), run, sender).await });
                            }
                            Err(error) => progress(&format!("{}: {error}", run.0.name())),
                        }
                    }
                }
                if over && streams.is_empty() && lines.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}

/// Hands on a log line by line; answers a complaint if it breaks.
async fn copy(
    mut log: impl futures::AsyncBufRead + Unpin,
    run: Run,
    lines: mpsc::Sender<(Run, String)>,
) -> Option<String> {
    loop {
        match next_line(&mut log).await {
            Ok(Some(line)) => lines.send((run.clone(), line)).await.ok()?,
            Ok(None) => return None,
            Err(error) => return Some(format!("{}: {error:#}", run.0.name())),
        }
    }
}

/// The runs of a Pod's containers that have begun.
fn runs(args: &Args, pod: &Value) -> Result<Vec<Run>> {
    let status = &pod["status"];
    let lists = [&status["containerStatuses"], &status["initContainerStatuses"]];
    let statuses: Vec<&Value> =
        lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten()).collect();
    let begun = |source: &Source| {
        let status = statuses.iter().find(|status| text(&status["name"]) == source.container)?;
        let state = &status["state"];
        let begun =
            state["running"].is_object() || state["terminated"].is_object() || args.previous;
        begun.then(|| status["restartCount"].as_i64().unwrap_or(0))
    };
    let sources = containers(args, pod)?;
    Ok(sources.into_iter().filter_map(|source| begun(&source).map(|n| (source, n))).collect())
}

/// Whether nothing of a Pod will run any more.
fn is_over(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}
