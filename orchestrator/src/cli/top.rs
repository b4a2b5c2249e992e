//! `podium top pods|nodes`: what is used, through `metrics.k8s.io`.
use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::output::table::Grid;
use super::output::{DOCUMENT_FORMS, Format, one_of};
use super::session::{Cluster, RequestError, Session};
use super::targets::{Selection, text};
use super::{completion, progress, say};
use crate::api::Quantity;

/// Where the metrics are.
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// Flags of `podium top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// CPU and memory of Pods.
    #[command(visible_aliases = ["pods", "po"])]
    Pod {
        /// Only this one.
        #[arg(add = completion::names_of("pods"))]
        name: Option<String>,
        /// Each container of its own.
        #[arg(long)]
        containers: bool,
        #[command(flatten)]
        common: Common,
    },
    /// CPU and memory of nodes, and how much of what there is that is.
    #[command(visible_aliases = ["nodes", "no"])]
    Node {
        /// Only this one.
        #[arg(add = completion::names_of("nodes"))]
        name: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

/// Flags that both have.
#[derive(Debug, clap::Args)]
struct Common {
    /// The largest first: cpu or memory.
    #[arg(long, value_name = "RESOURCE", value_parser = ["cpu", "memory"])]
    sort_by: Option<String>,
    /// Leave out the headings.
    #[arg(long)]
    no_headers: bool,
    /// json, yaml, jsonpath=…
    #[arg(short, long, value_name = "FORM", value_parser = one_of(DOCUMENT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

/// CPU in thousandths, memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    cpu: i64,
    memory: i64,
}

impl Usage {
    fn of(usage: &Value) -> Self {
        let quantity = |field: &str| Quantity::parse(text(&usage[field])).ok();
        Self {
            cpu: quantity("cpu").map_or(0, Quantity::milli_value),
            memory: quantity("memory").map_or(0, Quantity::value),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    fn cells(self) -> [String; 2] {
        [format!("{}m", self.cpu), format!("{}Mi", self.memory >> 20)]
    }
}

pub(super) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Pod { name, containers, common } => {
            pods(name.as_deref(), containers, &common).await
        }
        Command::Node { name, common } => nodes(name.as_deref(), &common).await,
    }
}

/// The metrics of one object or of many, as a list.
async fn metrics(
    session: &Session,
    path: &str,
    name: Option<&str>,
    common: &Common,
) -> Result<Vec<Value>> {
    let path = match name {
        Some(name) => format!("{path}/{name}"),
        None => common.selection.query().on(path),
    };
    match session.get(&path).await {
        Ok(mut answer) if name.is_none() => {
            Ok(answer["items"].take().as_array().cloned().unwrap_or_default())
        }
        Ok(answer) => Ok(vec![answer]),
        Err(error) => bail!(absent(session, name, error).await),
    }
}

/// A server without metrics, and one that has none yet, are told apart.
async fn absent(session: &Session, name: Option<&str>, error: RequestError) -> String {
    if error.code() != 404 {
        return error.to_string();
    }
    let served = session.catalog().await.map(|catalog| catalog.find("pods.metrics.k8s.io").is_ok());
    match (served, name) {
        (Ok(false), _) => {
            "the cluster serves no metrics.k8s.io: nothing there measures Pods and nodes".into()
        }
        (_, Some(name)) => {
            format!("no metrics of {name:?}: it is not there, or has not run for long enough")
        }
        _ => error.to_string(),
    }
}

async fn pods(name: Option<&str>, containers: bool, common: &Common) -> Result<()> {
    let session = common.cluster.open().await?;
    let path = match common.selection.namespace(&session).filter(|_| name.is_none()) {
        None if name.is_none() => format!("{METRICS}/pods"),
        _ => format!("{METRICS}/namespaces/{}/pods", session.namespace),
    };
    let pods = metrics(&session, &path, name, common).await?;
    if print_document(common, &pods)? {
        return Ok(());
    }
    if pods.is_empty() {
        progress("No Pods have metrics yet");
        return Ok(());
    }
    let mut rows = Vec::new();
    for pod in &pods {
        let metadata = &pod["metadata"];
        let mut cells = vec![text(&metadata["name"]).to_owned()];
        if common.selection.all_namespaces {
            cells.insert(0, text(&metadata["namespace"]).to_owned());
        }
        let each = pod["containers"].as_array().into_iter().flatten();
        if containers {
            for container in each {
                let cells = [cells.clone(), vec![text(&container["name"]).to_owned()]].concat();
                rows.push((cells, Usage::of(&container["usage"])));
            }
        } else {
            let sum = each.map(|c| Usage::of(&c["usage"])).fold(Usage::default(), Usage::plus);
            rows.push((cells, sum));
        }
    }
    let namespace = common.selection.all_namespaces.then_some("NAMESPACE");
    let names: &[&str] = if containers { &["POD", "NAME"] } else { &["NAME"] };
    let heading = namespace.into_iter().chain(names.iter().copied());
    let mut grid = grid(common, heading.chain(["CPU(cores)", "MEMORY(bytes)"]));
    sort(common, &mut rows);
    for (cells, usage) in rows {
        grid.row(cells.into_iter().chain(usage.cells()));
    }
    say(&grid.render(0))
}

async fn nodes(name: Option<&str>, common: &Common) -> Result<()> {
    let session = common.cluster.open().await?;
    let nodes = metrics(&session, &format!("{METRICS}/nodes"), name, common).await?;
    if print_document(common, &nodes)? {
        return Ok(());
    }
    let served = session.catalog().await?.find("nodes")?;
    let list = session.get(&served.path(None, None)).await?;
    let capacity: BTreeMap<&str, Usage> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| (text(&node["metadata"]["name"]), Usage::of(&node["status"]["allocatable"])))
        .collect();
    let mut rows: Vec<_> = nodes
        .iter()
        .map(|node| (vec![text(&node["metadata"]["name"]).to_owned()], Usage::of(&node["usage"])))
        .collect();
    sort(common, &mut rows);
    let heading = ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"];
    let mut grid = grid(common, heading);
    for (cells, usage) in rows {
        let all = capacity.get(cells[0].as_str()).copied().unwrap_or_default();
        let [cpu, memory] = usage.cells();
        let of_cpu = percent(usage.cpu, all.cpu);
        grid.row([cells[0].clone(), cpu, of_cpu, memory, percent(usage.memory, all.memory)]);
    }
    say(&grid.render(0))
}

/// Prints a form for programs, if one was asked for.
fn print_document(common: &Common, items: &[Value]) -> Result<bool> {
    let Some(format) = &common.output else {
        return Ok(false);
    };
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items});
    say(&format.document(&list)?)?;
    Ok(true)
}

fn grid<'a>(common: &Common, heading: impl IntoIterator<Item = &'a str>) -> Grid {
    let grid = Grid::new(heading);
    if common.no_headers { grid.without_heading() } else { grid }
}

fn sort(common: &Common, rows: &mut [(Vec<String>, Usage)]) {
    match common.sort_by.as_deref() {
        Some("cpu") => rows.sort_by_key(|(_, usage)| Reverse(usage.cpu)),
        Some(_) => rows.sort_by_key(|(_, usage)| Reverse(usage.memory)),
        None => rows.sort_by(|(a, _), (b, _)| a.cmp(b)),
    }
}

fn percent(part: i64, whole: i64) -> String {
    if whole == 0 { "<unknown>".into() } else { format!("{}%", part * 100 / whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_summed_and_shown_in_kubectls_units() {
        let one = Usage::of(&json!({"cpu": "1500000n", "memory": "2048Ki"}));
        let two = Usage::of(&json!({"cpu": "250m", "memory": "3Mi"}));
        assert_eq!(one.plus(two).cells(), ["252m", "5Mi"]);
        assert_eq!(percent(252, 2000), "12%");
        assert_eq!(percent(1, 0), "<unknown>");
    }
}
