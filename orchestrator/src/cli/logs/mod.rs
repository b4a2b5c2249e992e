//! `podium logs`: what containers wrote; those of several Pods interleaved and told apart.
//!
//! What is there is merged by time. With `-f` each container is a stream of its own, and
//! where a selector or a Deployment is followed, Pods that come later join.
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{AsyncBufReadExt as _, AsyncReadExt as _};
use serde_json::Value;

use super::output::{Tone, paint};
use super::session::{Cluster, Query, Session};
use super::targets::{self, Selection, get_one, text};
use super::{UsageError, completion, duration, progress, say};

mod follow;

/// As much of a line as is kept together; longer ones come in pieces.
const MAX_LINE: u64 = 256 << 10;

/// Lines of each container when Pods are chosen by labels, as in kubectl.
const SELECTED_TAIL: i64 = 10;

/// The annotation that says which container is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Flags of `podium logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pods, or what makes them: `web-1`, `deployment/web`, `job/report`.
    #[arg(value_name = "POD|TYPE/NAME", add = completion::names_of("pods"))]
    words: Vec<String>,
    /// Go on and print what is written.
    #[arg(short, long)]
    follow: bool,
    /// The container; the Pod's first if none is named.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Every container of each Pod.
    #[arg(long, conflicts_with = "container")]
    all_containers: bool,
    /// Of the container that ran before.
    #[arg(short, long)]
    previous: bool,
    /// The last so many lines of each; -1 for all.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// What was written since, such as `5m`.
    #[arg(long, value_parser = duration::parse)]
    since: Option<Duration>,
    /// What was written since this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    since_time: Option<String>,
    /// When each line was written.
    #[arg(long)]
    timestamps: bool,
    /// Of each container, at most so many bytes.
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// Name the source of each line even if there is but one.
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

/// Where Pods come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// One by its name.
    Pod(String),
    /// Those that labels choose.
    Labels(String),
}

/// A container's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    namespace: String,
    pod: String,
    container: String,
    /// Whether the Pod has others.
    alone: bool,
}

impl Source {
    fn name(&self) -> String {
        if self.alone { self.pod.clone() } else { format!("{}/{}", self.pod, self.container) }
    }
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let origins = origins(&args, &session).await?;
    if args.follow {
        return follow::run(&args, &session, &origins).await;
    }
    let mut sources = Vec::new();
    for pod in pods(&args, &session, &origins).await? {
        sources.extend(containers(&args, &pod)?);
    }
    if sources.is_empty() {
        progress("No Pods found; `podium get pods --show-labels` shows what there is");
    }
    let alone = sources.len() == 1;
    let width = sources.iter().map(|source| source.name().len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        match whole(&args, &session, source).await {
            Ok(of_one) => lines.extend(of_one.into_iter().map(|line| (line, i))),
            Err(error) if alone => return Err(error),
            // One that does not speak does not silence the others.
            Err(error) => progress(&format!("{}: {error:#}", source.name())),
        }
    }
    // The sort is stable: what a container wrote stays in order.
    lines.sort_by(|(a, _), (b, _)| a.time.cmp(&b.time));
    let mut out = String::new();
    for (line, i) in &lines {
        let shown = if args.timestamps { line.whole() } else { line.text.clone() };
        out.push_str(&prefixed(&args, &sources[*i].name(), *i, width, alone, &shown));
    }
    say(&out)
}

/// A line of a log with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    time: String,
    text: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        Self { time: time.to_owned(), text: text.to_owned() }
    }

    fn whole(&self) -> String {
        format!("{} {}", self.time, self.text)
    }
}

/// A line with the name of its source, painted so that sources are told apart.
fn prefixed(args: &Args, name: &str, nth: usize, width: usize, alone: bool, line: &str) -> String {
    if alone && !args.prefix {
        return format!("{line}\n");
    }
    let name = paint().text(Tone::Source(nth), &format!("{name:width$} |"));
    format!("{name} {line}\n")
}

/// What the words and the selector mean.
async fn origins(args: &Args, session: &Session) -> Result<Vec<Origin>> {
    if args.words.is_empty() {
        if args.selection.is_empty() {
            let why = "name a Pod, or say deployment/NAME or -l LABELS";
            return Err(UsageError(why.into()).into());
        }
        return Ok(vec![Origin::Labels(args.selection.labels.clone())]);
    }
    if !args.selection.is_empty() {
        return Err(UsageError("a name and a selector exclude each other".into()).into());
    }
    let catalog = session.catalog().await?;
    let mut origins = Vec::new();
    // `logs deployment web`, as `get` has it.
    let words = match args.words.as_slice() {
        [kind, name]
            if !kind.contains('/') && !name.contains('/') && catalog.find(kind).is_ok() =>
        {
            vec![format!("{kind}/{name}")]
        }
        words => words.to_vec(),
    };
    for word in words {
        let (kind, name) = word.split_once('/').unwrap_or(("pods", &word));
        let served = catalog.find(kind)?;
        if served.kind == "Pod" {
            origins.push(Origin::Pod(name.to_owned()));
            continue;
        }
        let object = get_one(session, served, name).await?;
        let labels = labels(&object)
            .with_context(|| format!("{word} chooses no Pods: name one, or use -l LABELS"))?;
        origins.push(Origin::Labels(labels));
    }
    Ok(origins)
}

/// The label selector with which an object chooses its Pods.
fn labels(object: &Value) -> Option<String> {
    let selector = &object["spec"]["selector"];
    let mut parts: Vec<String> = Vec::new();
    let plain = selector["matchLabels"].as_object();
    let plain =
        plain.or_else(|| selector.as_object().filter(|map| map.values().all(Value::is_string)));
    for (key, value) in plain.into_iter().flatten() {
        parts.push(format!("{key}={}", text(value)));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().map(text).collect();
        let key = text(&expression["key"]);
        parts.push(match text(&expression["operator"]) {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

/// The Pods of every origin.
async fn pods(args: &Args, session: &Session, origins: &[Origin]) -> Result<Vec<Value>> {
    let served = session.catalog().await?.find("pods")?;
    let mut pods = Vec::new();
    for origin in origins {
        match origin {
            Origin::Pod(name) => pods.push(get_one(session, served, name).await?),
            Origin::Labels(labels) => {
                let selection = Selection { labels: labels.clone(), ..args.selection.clone() };
                let target = [targets::Target::All(served)];
                let found = targets::objects(session, &target, &selection).await?;
                pods.extend(found.into_iter().map(|(_, pod)| pod));
            }
        }
    }
    Ok(pods)
}

/// The containers of a Pod whose logs are wanted.
fn containers(args: &Args, pod: &Value) -> Result<Vec<Source>> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.map(|container| text(&container["name"]).to_owned()).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let metadata = &pod["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let wanted = match &args.container {
        Some(wanted) if main.contains(wanted) || init.contains(wanted) => vec![wanted.clone()],
        Some(wanted) => {
            let known: Vec<String> = main.into_iter().chain(init).collect();
            anyhow::bail!("pod {name} has no container {wanted:?}; it has {}", known.join(", "))
        }
        None if args.all_containers => init.iter().chain(&main).cloned().collect(),
        None => {
            let preferred = metadata["annotations"][DEFAULT_CONTAINER].as_str();
            let preferred = preferred.map(str::to_owned).or_else(|| main.first().cloned());
            preferred.into_iter().collect()
        }
    };
    let alone = wanted.len() == 1;
    let source = |container| Source {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        container,
        alone,
    };
    Ok(wanted.into_iter().map(source).collect())
}

/// The path of a container's log.
fn path(args: &Args, source: &Source, timestamps: bool) -> String {
    let selected = !args.selection.is_empty();
    let tail = args.tail.unwrap_or(if selected { SELECTED_TAIL } else { -1 });
    let tail = if tail < 0 { String::new() } else { tail.to_string() };
    let flag = |set: bool| if set { "true" } else { "" };
    let since = args.since.map(|since| since.as_secs().max(1).to_string()).unwrap_or_default();
    let query = Query::default()
        .with("container", &*source.container)
        .with("follow", flag(args.follow))
        .with("previous", flag(args.previous))
        .with("tailLines", tail)
        .with("sinceSeconds", since)
        .with("sinceTime", args.since_time.clone().unwrap_or_default())
        .with("limitBytes", args.limit_bytes.map(|bytes| bytes.to_string()).unwrap_or_default())
        .with("timestamps", flag(timestamps));
    query.on(&format!("/api/v1/namespaces/{}/pods/{}/log", source.namespace, source.pod))
}

/// A log as it is now.
async fn whole(args: &Args, session: &Session, source: &Source) -> Result<Vec<Line>> {
    let mut log = Box::pin(session.stream(&path(args, source, true)).await?);
    let mut lines = Vec::new();
    while let Some(line) = next_line(&mut log).await? {
        lines.push(Line::parse(&line));
    }
    Ok(lines)
}

/// The next line without its end; none when the log is over.
async fn next_line(log: &mut (impl futures::AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    log.take(MAX_LINE).read_until(b'\n', &mut bytes).await.context("read the log")?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_chosen_as_their_owner_chooses_them() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]},
                                 {"key": "old", "operator": "DoesNotExist"}]}}});
        assert_eq!(labels(&deployment).unwrap(), "app=web,tier in (a,b),!old");
        let service = json!({"spec": {"selector": {"app": "web"}}});
        assert_eq!(labels(&service).unwrap(), "app=web");
        assert_eq!(labels(&json!({"spec": {}})), None);
    }

    #[tokio::test]
    async fn lines_are_taken_apart_and_the_last_may_lack_its_end() {
        let mut log = futures::io::Cursor::new("1 a\n2 \n3 c");
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut log).await.unwrap() {
            lines.push(Line::parse(&line).text);
        }
        assert_eq!(lines, ["a", "", "c"]);
    }
}
