//! `podium scale`: how many replicas there shall be.
use anyhow::{Result, bail};
use http::Method;
use serde_json::json;

use super::failures::Failures;
use super::output::{Format, OBJECT_FORMS, Report, one_of};
use super::session::{Body, Cluster};
use super::targets::{self, Selection, path_of, text};
use super::{UsageError, completion};

/// Flags of `podium scale`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to scale: `deployment/web`, `deploy web`.
    #[arg(value_name = "TYPE[/NAME]", required = true, add = completion::objects())]
    words: Vec<String>,
    /// As many as this.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    replicas: u32,
    /// Only if there are as many as this now.
    #[arg(long, value_name = "REPLICAS")]
    current_replicas: Option<u64>,
    /// Print the objects: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    /// All objects of the type in the namespace.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let targets = targets::parse(session.catalog().await?, &args.words)?;
    let named = targets.iter().all(|target| matches!(target, targets::Target::One(..)));
    if !named && !args.all && args.selection.is_empty() {
        return Err(UsageError("name what to scale, or choose it with -l or --all".into()).into());
    }
    if let Some(target) =
        targets.iter().find(|t| !t.served().subresources.iter().any(|s| s == "scale"))
    {
        let what = target.served().qualified();
        bail!("{what} cannot be scaled; what makes Pods can, such as deployments and replicasets");
    }
    let (mut failures, mut report) = (Failures::default(), Report::new(&args.output));
    for (served, object) in
        targets::readable(&session, &targets, &args.selection, &mut failures).await?
    {
        let slashed = served.slashed(text(&object["metadata"]["name"]));
        let now = object["spec"]["replicas"].as_u64().unwrap_or(1);
        if let Some(expected) = args.current_replicas.filter(|expected| *expected != now) {
            bail!("{slashed} has {now} replicas, not {expected}: nothing was changed");
        }
        let patch = json!({"spec": {"replicas": args.replicas}});
        let path = format!("{}/scale", path_of(served, &object));
        let body = Body::Patch("application/merge-patch+json", &patch);
        let scaled = session.send(Method::PATCH, &path, body).await?;
        report.add(&slashed, "scaled", scaled)?;
    }
    report.end()?;
    failures.end()
}
