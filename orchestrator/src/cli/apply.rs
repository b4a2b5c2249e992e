//! `podium apply -f`: makes the cluster what manifests say.
use anyhow::{Context as _, Result};
use http::Method;
use serde_json::Value;

use super::UsageError;
use super::failures::Failures;
use super::manifests::{Document, Files};
use super::output::{Format, OBJECT_FORMS, Report, one_of};
use super::session::{Body, Cluster, Query, Session};
use super::targets::text;

/// Flags of `podium apply`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// Ask the server what would happen and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the objects: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Cluster,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new.
    Created,
    /// It is as the manifest says now.
    Configured,
    /// It was.
    Unchanged,
}

impl Outcome {
    /// kubectl's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// An object that was applied.
pub(super) struct Applied {
    /// `deployment.apps/web`.
    pub(super) name: String,
    /// What became of it.
    pub(super) outcome: Outcome,
    /// As the server has it.
    pub(super) object: Value,
}

pub(super) async fn run(args: Args) -> Result<()> {
    if args.files.files.is_empty() {
        return Err(UsageError("name what to apply with -f FILE, -f DIR or -f -".into()).into());
    }
    let documents = args.files.read()?;
    let session = args.cluster.open().await?;
    let note = if args.dry_run { " (server dry run)" } else { "" };
    let mut report = Report::new(&args.output);
    let mut failures = Failures::default();
    for document in &documents {
        let applied = apply(&session, document, args.dry_run).await;
        let Some(applied) = failures.take(applied)? else { continue };
        let done = format!("{}{note}", applied.outcome.word());
        report.add(&applied.name, &done, applied.object)?;
    }
    report.end()?;
    failures.end()
}

/// Applies one object.
pub(super) async fn apply(
    session: &Session,
    document: &Document,
    dry_run: bool,
) -> Result<Applied> {
    try_apply(session, &document.object, dry_run).await.with_context(|| document.what())
}

async fn try_apply(session: &Session, object: &Value, dry_run: bool) -> Result<Applied> {
    let served = session.resource_of(object).await?;
    let metadata = &object["metadata"];
    let name = text(&metadata["name"]);
    if name.is_empty() {
        anyhow::bail!("metadata.name: what is applied needs a name");
    }
    let namespace = metadata["namespace"].as_str().unwrap_or(&session.namespace);
    let query = Query::default()
        .with("fieldValidation", "Strict")
        .with("fieldManager", "podium")
        .with("dryRun", if dry_run { "All" } else { "" });
    let path = served.path(Some(namespace), Some(name));
    let before = match session.get(&path).await {
        Ok(before) => Some(before),
        Err(error) if error.code() == 404 => None,
        Err(error) => return Err(error.into()),
    };
    // What somebody else set is taken over: a person who applies a file means what it says.
    let forced = query.with("force", "true");
    let patch = Body::Patch("application/apply-patch+yaml", object);
    let after = session.send(Method::PATCH, &forced.on(&path), patch).await?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let outcome = match before {
        None => Outcome::Created,
        Some(before) if version(&before) == version(&after) => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    };
    Ok(Applied { name: served.slashed(name), outcome, object: after })
}
