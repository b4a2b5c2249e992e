//! `podium set image|env|resources`: changes containers, which rolls out.
use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::output::table::Grid;
use super::output::{Format, OBJECT_FORMS, Report, one_of};
use super::session::{Cluster, Session};
use super::targets::{self, Selection, Target, text};
use super::workload;
use super::{UsageError, completion, say};
use crate::client::Served;

mod edits;

use edits::Edit;

/// Flags of `podium set`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Change the images of containers: `deploy/web web=hello:v2`; `*=…` is every container.
    Image {
        /// The objects, then `CONTAINER=IMAGE`.
        #[arg(value_name = "TYPE/NAME|CONTAINER=IMAGE", required = true, add = completion::objects())]
        words: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Change environment variables: `deploy/web COLOR=blue OLD-`.
    Env {
        /// The objects, then `NAME=VALUE` or, to remove it, `NAME-`.
        #[arg(value_name = "TYPE/NAME|NAME=VALUE|NAME-", required = true, add = completion::objects())]
        words: Vec<String>,
        /// Print the variables and change nothing.
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Change requests and limits: `deploy/web --limits cpu=200m,memory=32Mi`.
    Resources {
        /// The objects.
        #[arg(value_name = "TYPE/NAME", required = true, add = completion::objects())]
        words: Vec<String>,
        /// Limits, such as `cpu=200m,memory=32Mi`; 0 removes one.
        #[arg(long, value_name = "NAME=QUANTITY,…", value_delimiter = ',')]
        limits: Vec<String>,
        /// Requests, such as `cpu=50m`; 0 removes one.
        #[arg(long, value_name = "NAME=QUANTITY,…", value_delimiter = ',')]
        requests: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

/// Flags that all of them have.
#[derive(Debug, clap::Args)]
struct Common {
    /// Only these containers; `*` is every one.
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// Print the objects: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Image { words, common } => {
            let (objects, pairs): (Vec<_>, Vec<_>) =
                words.into_iter().partition(|w| !w.contains('='));
            let edits = edits::images(&pairs)?;
            change(&objects, &common, &edits, "image updated").await
        }
        Command::Env { words, list, common } => {
            let is_edit = |word: &String| word.contains('=') || word.ends_with('-');
            let (pairs, objects): (Vec<_>, Vec<_>) = words.into_iter().partition(is_edit);
            if list {
                return print_environment(&objects, &common).await;
            }
            let edits = edits::variables(&pairs, &common.containers)?;
            change(&objects, &common, &edits, "env updated").await
        }
        Command::Resources { words, limits, requests, common } => {
            let edits = edits::resources(&limits, &requests, &common.containers)?;
            change(&words, &common, &edits, "resource requirements updated").await
        }
    }
}

/// The names of the objects that are meant, with their types.
async fn named<'s>(
    session: &'s Session,
    words: &[String],
    common: &Common,
) -> Result<Vec<(&'s Served, String)>> {
    let targets = targets::parse(session.catalog().await?, words)?;
    let named = targets.iter().all(|target| matches!(target, Target::One(..)));
    if !named && common.selection.is_empty() {
        return Err(UsageError("name the objects, or choose them with -l".into()).into());
    }
    let found = targets::objects(session, &targets, &common.selection).await?;
    let name = |object: &Value| text(&object["metadata"]["name"]).to_owned();
    Ok(found.iter().map(|(served, object)| (*served, name(object))).collect())
}

async fn change(words: &[String], common: &Common, edits: &[Edit], done: &str) -> Result<()> {
    let session = common.cluster.open().await?;
    let mut report = Report::new(&common.output);
    for (served, name) in named(&session, words, common).await? {
        let slashed = served.slashed(&name);
        let apply = |spec: &mut Value| edits::apply(edits, spec);
        let changed = workload::change(&session, served, &name, apply).await;
        match changed.map_err(|error| error.context(slashed.clone()))? {
            Some(changed) => report.add(&slashed, done, changed)?,
            None => {
                let unchanged = targets::get_one(&session, served, &name).await?;
                report.add(&slashed, "unchanged", unchanged)?;
            }
        }
    }
    report.end()
}

async fn print_environment(words: &[String], common: &Common) -> Result<()> {
    let session = common.cluster.open().await?;
    for (served, name) in named(&session, words, common).await? {
        let object = targets::get_one(&session, served, &name).await?;
        let mut spec = workload::spec(served, &object)?.clone();
        for container in workload::containers(&mut spec) {
            let mut grid = Grid::new(["NAME", "VALUE"]).without_heading();
            for variable in container["env"].as_array().into_iter().flatten() {
                let value = match &variable["valueFrom"] {
                    Value::Null => text(&variable["value"]).to_owned(),
                    from => from.to_string(),
                };
                grid.row([text(&variable["name"]).to_owned(), value]);
            }
            let heading =
                format!("{}, container {}\n", served.slashed(&name), text(&container["name"]));
            say(&format!("{heading}{}", grid.render(2)))?;
        }
    }
    Ok(())
}

/// `NAME=VALUE`, taken apart.
fn pair(word: &str) -> Result<(&str, &str)> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => bail!(UsageError(format!("{word:?}: say NAME=VALUE"))),
    }
}

/// The list of a field, made if it is not there.
fn list<'v>(value: &'v mut Value, field: &str) -> Option<&'v mut Vec<Value>> {
    if value[field].is_null() {
        value[field] = json!([]);
    }
    value[field].as_array_mut()
}
