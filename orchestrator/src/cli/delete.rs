//! `podium delete`: by name, by selector, by manifest; waits until it is gone.
use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::failures::Failures;
use super::manifests::Files;
use super::session::{Body, Cluster, Session};
use super::targets::{self, Selection, Target, path_of, text};
use super::{UsageError, completion, duration, progress, say};
use crate::client::Served;

/// How often it is looked whether an object is gone.
const POLL: Duration = Duration::from_millis(20);

/// Flags of `podium delete`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to delete: `pod web`, `deploy/web svc/web`, `pods -l app=web`.
    #[arg(value_name = "TYPE[/NAME]", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// All objects of the type in the namespace.
    #[arg(long)]
    all: bool,
    /// Return at once, before it is gone.
    #[arg(long)]
    no_wait: bool,
    /// Wait until it is gone (the default), or with `false` do not.
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait until it is gone, such as `30s`.
    #[arg(long, value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Seconds that Pods get to end; -1 leaves it to them.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// What belongs to it: background, foreground or orphan.
    #[arg(long, default_value = "background")]
    cascade: String,
    /// What is not there is no mistake.
    #[arg(long)]
    ignore_not_found: bool,
    /// Ask the server what would happen and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// `name` prints names only.
    #[arg(short, long, value_name = "FORM", value_parser = ["name"])]
    output: Option<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

/// How objects are deleted.
pub(super) struct Manner {
    /// DeleteOptions; a server that finds them asks for nothing more, not even in the query.
    options: Value,
}

impl Manner {
    /// In the background, with the object's own grace.
    pub(super) fn plain() -> Self {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
            "propagationPolicy": "Background"});
        Self { options }
    }
}

/// An object that was told to go.
struct Leaving {
    path: String,
    uid: Value,
    what: String,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let manner = manner(&args)?;
    let documents = args.files.read()?;
    let session = args.cluster.open().await?;
    if !documents.is_empty() && !args.words.is_empty() {
        return Err(UsageError("name objects or files (-f), not both".into()).into());
    }
    let mut failures = Failures::default();
    let mut leaving = Vec::new();
    for document in &documents {
        let deleted = delete_described(&args, &session, &document.object, &manner).await;
        leaving.extend(failures.take(deleted)?.flatten());
    }
    if documents.is_empty() {
        for (served, name, path) in chosen(&args, &session).await? {
            let deleted = delete(&args, &session, served, &name, path, &manner).await;
            leaving.extend(failures.take(deleted)?.flatten());
        }
    }
    if !args.no_wait && args.wait && !args.dry_run {
        wait(&session, &leaving, args.timeout).await?;
    }
    failures.end()
}

fn manner(args: &Args) -> Result<Manner> {
    let policy = match args.cascade.as_str() {
        "background" => "Background",
        "foreground" => "Foreground",
        "orphan" => "Orphan",
        other => {
            let why = format!("--cascade {other:?}: say background, foreground or orphan");
            return Err(UsageError(why).into());
        }
    };
    let mut options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    if args.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    Ok(Manner { options })
}

/// The objects that names and selectors mean.
async fn chosen<'s>(
    args: &Args,
    session: &'s Session,
) -> Result<Vec<(&'s Served, String, String)>> {
    let targets = targets::parse(session.catalog().await?, &args.words)?;
    let wide = targets.iter().any(|target| matches!(target, Target::All(_)));
    if wide && !args.all && args.selection.is_empty() {
        let why = "name the objects, choose them with -l or --field-selector, or say --all";
        return Err(UsageError(why.into()).into());
    }
    let mut chosen = Vec::new();
    for target in targets {
        match target {
            Target::One(served, name) => {
                let path = served.path(Some(&session.namespace), Some(&name));
                chosen.push((served, name, path));
            }
            Target::All(served) if !served.can("list") || !served.can("delete") => {}
            Target::All(_) => {
                let found = targets::objects(session, &[target], &args.selection).await?;
                for (served, object) in found {
                    let name = text(&object["metadata"]["name"]).to_owned();
                    chosen.push((served, name, path_of(served, &object)));
                }
            }
        }
    }
    if chosen.is_empty() {
        progress("No resources found");
    }
    Ok(chosen)
}

/// Deletes what a manifest describes.
async fn delete_described(
    args: &Args,
    session: &Session,
    object: &Value,
    manner: &Manner,
) -> Result<Option<Leaving>> {
    let served = session.resource_of(object).await?;
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or(&session.namespace);
    let name = text(&metadata["name"]);
    delete(args, session, served, name, served.path(Some(namespace), Some(name)), manner).await
}

async fn delete(
    args: &Args,
    session: &Session,
    served: &Served,
    name: &str,
    path: String,
    manner: &Manner,
) -> Result<Option<Leaving>> {
    let answer = match session.send(Method::DELETE, &path, Body::Json(&manner.options)).await {
        Ok(answer) => answer,
        Err(error) if error.code() == 404 && args.ignore_not_found => return Ok(None),
        Err(error) => return Err(targets::with_hint(session, served, name, error).await),
    };
    let what = served.slashed(name);
    if args.output.is_some() {
        say(&format!("{what}\n"))?;
    } else {
        let kind = what.split('/').next().unwrap_or_default();
        let how = match (args.dry_run, args.grace_period) {
            (true, _) => "deleted (server dry run)",
            (false, 0) => "force deleted",
            (false, _) => "deleted",
        };
        say(&format!("{kind} {name:?} {how}\n"))?;
    }
    Ok(Some(Leaving { path, uid: uid(&answer), what }))
}

/// An object is answered while it goes, a Status with its uid once it is gone.
fn uid(answer: &Value) -> Value {
    let uid = [&answer["metadata"]["uid"], &answer["details"]["uid"]];
    uid.into_iter().find(|uid| uid.is_string()).cloned().unwrap_or_default()
}

async fn wait(session: &Session, leaving: &[Leaving], timeout: Option<Duration>) -> Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    for one in leaving {
        loop {
            match session.get(&one.path).await {
                Err(error) if error.code() == 404 => break,
                Err(error) => return Err(error.into()),
                Ok(object) if one.uid.is_string() && object["metadata"]["uid"] != one.uid => break,
                Ok(object) if deadline.is_some_and(|deadline| Instant::now() > deadline) => {
                    let finalizers = &object["metadata"]["finalizers"];
                    let why = match finalizers.as_array() {
                        Some(list) if !list.is_empty() => format!("; its finalizers: {finalizers}"),
                        _ => String::new(),
                    };
                    anyhow::bail!(
                        "{} is still there after {:?}{why}",
                        one.what,
                        timeout.unwrap_or_default()
                    );
                }
                Ok(_) => sleep(POLL).await,
            }
        }
    }
    Ok(())
}

/// Deletes one object with what belongs to it, grants it no grace and waits until it is gone.
pub(super) async fn and_wait(session: &Session, path: &str) -> Result<()> {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "propagationPolicy": "Background"});
    let answer = match session.send(Method::DELETE, path, Body::Json(&options)).await {
        Err(error) if error.code() == 404 => return Ok(()),
        answer => answer?,
    };
    let leaving = Leaving { path: path.to_owned(), uid: uid(&answer), what: path.to_owned() };
    wait(session, &[leaving], None).await
}

/// Deletes one object and does not wait; whether it was there.
pub(super) async fn quietly(session: &Session, path: &str) -> Result<bool> {
    let manner = Manner::plain();
    match session.send(Method::DELETE, path, Body::Json(&manner.options)).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == 404 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
