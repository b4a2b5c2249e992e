//! `podium get`: objects as tables, JSON, YAML and more; `-w` goes on.
use anyhow::Result;
use futures::TryStreamExt as _;
use kube::core::WatchEvent;
use serde_json::{Value, json};

use super::failures::Failures;
use super::output::table::{self, Grid, Look, Table};
use super::output::{ALL_FORMS, Format, one_of};
use super::session::{Cluster, Query, Session};
use super::targets::{self, Selection, Target, text};
use super::{UsageError, completion, progress, say};
use crate::client::Served;

/// Flags of `podium get`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to get: `pods`, `pod web`, `deploy/web svc/web`, `svc,deploy`, `all`.
    #[arg(value_name = "TYPE[/NAME]", add = completion::objects())]
    words: Vec<String>,
    /// json, yaml, wide, name, jsonpath=TEMPLATE or custom-columns=NAME:PATH,…
    #[arg(short, long, value_name = "FORM", value_parser = one_of(ALL_FORMS))]
    output: Option<Format>,
    /// Go on and print what changes.
    #[arg(short, long)]
    watch: bool,
    /// Show labels in a last column.
    #[arg(long)]
    show_labels: bool,
    /// Leave out the headings.
    #[arg(long)]
    no_headers: bool,
    /// What is not there is no mistake.
    #[arg(long)]
    ignore_not_found: bool,
    /// With -o json or yaml, show who manages which field.
    #[arg(long)]
    show_managed_fields: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let catalog = session.catalog().await?;
    let targets = targets::parse(catalog, &args.words)?;
    let targets: Vec<_> = targets
        .into_iter()
        .filter(|t| matches!(t, Target::One(..)) || t.served().can("list"))
        .collect();
    let named = targets.iter().any(|target| matches!(target, Target::One(..)));
    if named && args.selection.all_namespaces {
        let why = "an object that is named is in one namespace: leave out -A and name it with -n";
        return Err(UsageError(why.into()).into());
    }
    if named && !args.selection.is_empty() {
        return Err(UsageError("a name and a selector exclude each other".into()).into());
    }
    if args.watch && targets.len() != 1 {
        return Err(UsageError("-w watches one type or one object".into()).into());
    }
    if args.output.as_ref().is_some_and(Format::wants_objects) {
        return objects(&args, &session, &targets).await;
    }
    let mut failures = Failures::default();
    tables(&args, &session, &targets, &mut failures).await?;
    failures.end()
}

async fn tables(
    args: &Args,
    session: &Session,
    targets: &[Target<'_>],
    failures: &mut Failures,
) -> Result<()> {
    let mut printed = false;
    let types: std::collections::BTreeSet<_> =
        targets.iter().map(|target| target.served().qualified()).collect();
    let mut rest = targets;
    while let Some(first) = rest.first() {
        let served = first.served();
        let same = rest.iter().take_while(|target| target.served() == served).count();
        let (these, others) = rest.split_at(same);
        rest = others;
        let Some(table) = fetch(args, session, these, failures).await? else { continue };
        if table.rows.is_empty() && !args.watch {
            continue;
        }
        let kind = served.slashed("");
        let look = Look {
            wide: matches!(args.output, Some(Format::Wide)),
            namespace: args.selection.all_namespaces && served.namespaced,
            labels: args.show_labels,
            plain: args.no_headers,
            prefix: (types.len() > 1).then_some(kind.trim_end_matches('/')),
        };
        let mut grid = look.grid(&table.column_definitions);
        for row in &table.rows {
            grid.row(look.cells(&table.column_definitions, row));
        }
        if printed {
            say("\n")?;
        }
        printed = true;
        if !grid.is_empty() {
            say(&grid.render(0))?;
        }
        if args.watch {
            return follow(args, session, first, table, look, grid).await;
        }
    }
    if !printed && !args.ignore_not_found && !failures.any() {
        progress(&nothing(args, session, targets));
    }
    Ok(())
}

fn nothing(args: &Args, session: &Session, targets: &[Target<'_>]) -> String {
    let namespaced = targets.iter().any(|target| target.served().namespaced);
    if args.selection.all_namespaces || !namespaced {
        return "No resources found".into();
    }
    format!("No resources found in {} namespace.", session.namespace)
}

/// The table of targets of one type.
async fn fetch(
    args: &Args,
    session: &Session,
    targets: &[Target<'_>],
    failures: &mut Failures,
) -> Result<Option<Table>> {
    let mut whole: Option<Table> = None;
    for target in targets {
        let path = match target {
            Target::All(served) => {
                args.selection.query().on(&served.path(args.selection.namespace(session), None))
            }
            Target::One(served, name) => served.path(Some(&session.namespace), Some(name)),
        };
        let table: Table = match (session.read(&path, table::ACCEPT).await, target) {
            (Ok(table), _) => table,
            (Err(error), _) if args.ignore_not_found && error.code() == 404 => continue,
            (Err(error), Target::One(served, name)) => {
                let missing = targets::with_hint(session, served, name, error).await;
                failures.take::<()>(Err(missing))?;
                continue;
            }
            (Err(error), Target::All(_)) => return Err(error.into()),
        };
        match &mut whole {
            None => whole = Some(table),
            Some(whole) => whole.rows.extend(table.rows),
        }
    }
    Ok(whole)
}

/// The path and query of a watch on a target.
fn watched(args: &Args, session: &Session, target: &Target<'_>, version: &str) -> String {
    let (served, query) = match target {
        Target::All(served) => (served, args.selection.query()),
        Target::One(served, name) => {
            (served, Query::default().with("fieldSelector", format!("metadata.name={name}")))
        }
    };
    let path = served.path(args.selection.namespace(session), None);
    query.with("watch", "true").with("resourceVersion", version).on(&path)
}

async fn follow(
    args: &Args,
    session: &Session,
    target: &Target<'_>,
    table: Table,
    look: Look<'_>,
    mut grid: Grid,
) -> Result<()> {
    let columns = table.column_definitions;
    let mut version = text(&table.metadata["resourceVersion"]).to_owned();
    if version.is_empty() {
        let first = table.rows.first().map(|row| &row.object["metadata"]["resourceVersion"]);
        version = first.map(text).unwrap_or_default().to_owned();
    }
    // A server ends a watch now and then: it goes on where it was.
    loop {
        let path = watched(args, session, target, &version);
        let mut events = session.watch::<Value>(&path, table::ACCEPT).await?;
        while let Some(event) = events.try_next().await.map_err(|e| session.explain(e))? {
            let value = match event {
                WatchEvent::Added(value)
                | WatchEvent::Modified(value)
                | WatchEvent::Deleted(value) => value,
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => {
                    return Err(session.explain(kube::Error::Api(status)).into());
                }
            };
            let change: Table = serde_json::from_value(value)?;
            for row in &change.rows {
                let newer = text(&row.object["metadata"]["resourceVersion"]);
                if !newer.is_empty() {
                    version = newer.to_owned();
                }
                grid.row(look.cells(&columns, row));
            }
            say(&grid.render(0))?;
        }
    }
}

async fn objects(args: &Args, session: &Session, targets: &[Target<'_>]) -> Result<()> {
    let mut found: Vec<(&Served, Value)> = Vec::new();
    let mut failures = Failures::default();
    for target in targets {
        let these = targets::objects(session, std::slice::from_ref(target), &args.selection).await;
        match these {
            Ok(these) => found.extend(these),
            Err(error) => {
                let missing = error
                    .downcast_ref()
                    .is_some_and(|error: &super::session::RequestError| error.code() == 404);
                if !(missing && args.ignore_not_found) {
                    failures.take::<()>(Err(error))?;
                }
            }
        }
    }
    if !args.show_managed_fields {
        found.iter_mut().for_each(|(_, object)| without_managed_fields(object));
    }
    let mut format = args.output.clone().unwrap_or_default();
    if args.no_headers {
        format = format.without_heading();
    }
    if matches!(format, Format::Name) {
        for (served, object) in &found {
            say(&format!("{}\n", served.slashed(text(&object["metadata"]["name"]))))?;
        }
    } else if let ([Target::One(..)], [(_, object)]) = (targets, found.as_slice()) {
        say(&format.document(object)?)?;
    } else if !(found.is_empty() && (args.ignore_not_found || failures.any())) {
        let items: Vec<Value> = found.iter().map(|(_, object)| object.clone()).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""},
            "items": items});
        say(&format.document(&list)?)?;
    }
    if args.watch
        && let Some(target) = targets.first()
    {
        return follow_objects(args, session, target, &format.without_heading()).await;
    }
    failures.end()
}

/// Who manages which field is for few to read, and no server takes it back.
fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

async fn follow_objects(
    args: &Args,
    session: &Session,
    target: &Target<'_>,
    format: &Format,
) -> Result<()> {
    let path = watched(args, session, target, "");
    // Without a version a watch begins with what there is, which has been printed.
    let list = session.get(&target.served().path(args.selection.namespace(session), None)).await?;
    let version = text(&list["metadata"]["resourceVersion"]);
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}resourceVersion={version}");
    let mut events = session.watch::<Value>(&path, "application/json").await?;
    while let Some(event) = events.try_next().await.map_err(|e| session.explain(e))? {
        if let WatchEvent::Added(mut object)
        | WatchEvent::Modified(mut object)
        | WatchEvent::Deleted(mut object) = event
        {
            if !args.show_managed_fields {
                without_managed_fields(&mut object);
            }
            let name = text(&object["metadata"]["name"]);
            say(&match format {
                Format::Name => format!("{}\n", target.served().slashed(name)),
                format => format.document(&object)?,
            })?;
        }
    }
    Ok(())
}
