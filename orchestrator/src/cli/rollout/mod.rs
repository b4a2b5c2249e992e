//! `podium rollout`: how a Deployment's new version comes about, and back.
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::failures::Failures;
use super::output::{Format, OBJECT_FORMS, Report, one_of};
use super::session::{Body, Cluster, Session};
use super::targets::{self, Selection, Target, path_of, text};
use super::{UsageError, completion, duration};
use crate::client::Served;

mod history;
mod status;

pub(super) use status::{Progress, progress_of};

/// The annotation that makes a template new without changing what it runs.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Flags of `podium rollout`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Wait until every replica is of the newest version.
    Status {
        #[command(flatten)]
        common: Common,
        /// Print how it is now and return.
        #[arg(long)]
        no_watch: bool,
        /// How long to wait, such as `60s`.
        #[arg(long, value_parser = duration::parse)]
        timeout: Option<Duration>,
    },
    /// List the versions there were.
    History {
        #[command(flatten)]
        common: Common,
        /// Show this one whole.
        #[arg(long)]
        revision: Option<i64>,
    },
    /// Return to an earlier version.
    Undo {
        #[command(flatten)]
        common: Common,
        /// To this one; the one before if none is named.
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        to_revision: i64,
    },
    /// Replace every replica by a new one of the same version.
    Restart(Common),
    /// Let changes wait.
    Pause(Common),
    /// Roll out what waits.
    Resume(Common),
}

/// What all of them have.
#[derive(Debug, clap::Args)]
struct Common {
    /// The Deployments: `deployment/web`, `deploy web`.
    #[arg(value_name = "TYPE/NAME", required = true, add = completion::objects())]
    words: Vec<String>,
    /// Only those with these labels, such as `app=web,tier in (a,b)`.
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,
    /// Print the objects that were changed: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Status { common, no_watch, timeout } => {
            for_each(&common, async |session, served, name| {
                status::wait(session, served, name, no_watch, timeout).await.map(|()| None)
            })
            .await
        }
        Command::History { common, revision } => {
            for_each(&common, async |session, served, name| {
                history::print(session, served, name, revision).await.map(|()| None)
            })
            .await
        }
        Command::Undo { common, to_revision } => {
            for_each(&common, async |session, served, name| {
                history::undo(session, served, name, to_revision).await
            })
            .await
        }
        Command::Restart(common) => {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let template = json!({"metadata": {"annotations": {RESTARTED_AT: now}}});
            let patch = json!({"spec": {"template": template}});
            for_each(&common, async |session, served, name| {
                let object = targets::get_one(session, served, name).await?;
                if object["spec"]["paused"] == true {
                    bail!(paused(served, name, "restart"));
                }
                if object["spec"]["template"].is_null() {
                    bail!("{} has no Pod template to restart", served.slashed(name));
                }
                change(session, served, &object, &patch, "restarted").await
            })
            .await
        }
        Command::Pause(common) => pause(&common, true).await,
        Command::Resume(common) => pause(&common, false).await,
    }
}

async fn pause(common: &Common, pause: bool) -> Result<()> {
    let word = if pause { "paused" } else { "resumed" };
    for_each(common, async |session, served, name| {
        let object = targets::get_one(session, served, name).await?;
        if served.kind != "Deployment" {
            bail!("{} cannot be {word}; only Deployments can", served.slashed(name));
        }
        if (object["spec"]["paused"] == true) == pause {
            let already = if pause { "is already paused" } else { "is not paused" };
            bail!("{} {already}", served.slashed(name));
        }
        let value = if pause { json!(true) } else { Value::Null };
        change(session, served, &object, &json!({"spec": {"paused": value}}), word).await
    })
    .await
}

fn paused(served: &Served, name: &str, what: &str) -> String {
    let slashed = served.slashed(name);
    format!("{slashed} is paused; run `podium rollout resume {slashed}` before you {what} it")
}

/// What was done to an object, and how it is now.
type Change = (String, Value);

async fn change(
    session: &Session,
    served: &Served,
    object: &Value,
    patch: &Value,
    done: &str,
) -> Result<Option<Change>> {
    let body = Body::Patch("application/merge-patch+json", patch);
    let changed = session.send(Method::PATCH, &path_of(served, object), body).await?;
    Ok(Some((done.to_owned(), changed)))
}

/// Does something to each object that is meant, and says what.
async fn for_each(
    common: &Common,
    what: impl AsyncFn(&Session, &Served, &str) -> Result<Option<Change>>,
) -> Result<()> {
    let session = common.cluster.open().await?;
    let selection =
        Selection { labels: common.labels.clone().unwrap_or_default(), ..Selection::default() };
    let (mut failures, mut report) = (Failures::default(), Report::new(&common.output));
    for (served, name) in meant(&session, &common.words, &selection).await? {
        if let Some(Some((done, object))) = failures.take(what(&session, served, &name).await)? {
            report.add(&served.slashed(&name), &done, object)?;
        }
    }
    report.end()?;
    failures.end()
}

/// The objects that are named, or chosen by their labels.
async fn meant<'s>(
    session: &'s Session,
    words: &[String],
    selection: &Selection,
) -> Result<Vec<(&'s Served, String)>> {
    let mut meant = Vec::new();
    for target in targets::parse(session.catalog().await?, words)? {
        match target {
            Target::One(served, name) => meant.push((served, name)),
            Target::All(_) if selection.is_empty() => {
                let why = "name what to roll out, such as deployment/web, or choose it with -l";
                return Err(UsageError(why.into()).into());
            }
            target => {
                let found = targets::objects(session, &[target], selection).await?;
                let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
                meant.extend(found.iter().map(|(served, object)| (*served, name(object))));
            }
        }
    }
    Ok(meant)
}

/// The ReplicaSets of a Deployment, oldest revision first.
async fn revisions(
    session: &Session,
    served: &Served,
    object: &Value,
) -> Result<Vec<(i64, Value)>> {
    if served.kind != "Deployment" {
        bail!(
            "{} has no history; only Deployments have",
            served.slashed(text(&object["metadata"]["name"]))
        );
    }
    let sets = session.catalog().await?.find("replicasets.apps")?;
    let namespace = text(&object["metadata"]["namespace"]);
    let list = session.get(&sets.path(Some(namespace), None)).await?;
    let uid = &object["metadata"]["uid"];
    let owned = |set: &&Value| {
        let owners = set["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|owner| &owner["uid"] == uid))
    };
    let sets = list["items"].as_array().context("the server sent no list of ReplicaSets")?;
    let mut revisions: Vec<_> =
        sets.iter().filter(owned).map(|set| (revision(set), set.clone())).collect();
    revisions.sort_by_key(|(revision, _)| *revision);
    Ok(revisions)
}

fn revision(set: &Value) -> i64 {
    let revision = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    text(revision).parse().unwrap_or(0)
}
