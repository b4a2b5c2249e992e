//! `podium events`: what happened, oldest first; `-w` goes on.
use anyhow::Result;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::core::WatchEvent;
use serde_json::{Value, json};

use super::output::table::Grid;
use super::output::{Format, LIST_FORMS, one_of};
use super::session::{Cluster, Query, Session};
use super::targets::text;
use super::{UsageError, completion, lacking, progress, say};
use crate::api::age;

/// Flags of `podium events`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of this object alone, such as `pod/web-1`.
    #[arg(long = "for", value_name = "TYPE/NAME", add = completion::objects())]
    about: Option<String>,
    /// Only of these types: Normal, Warning.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Go on and print what happens.
    #[arg(short, long)]
    watch: bool,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// json, yaml, name, jsonpath=TEMPLATE or custom-columns=NAME:PATH,…
    #[arg(short, long, value_name = "FORM", value_parser = one_of(LIST_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let fields = match &args.about {
        Some(about) => {
            let Some((kind, name)) = about.split_once('/') else {
                return Err(UsageError(format!("--for {about:?}: say TYPE/NAME")).into());
            };
            let kind = &lacking::find(session.catalog().await?, kind)?.kind;
            format!("involvedObject.kind={kind},involvedObject.name={name}")
        }
        None => String::new(),
    };
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let list = list(&session, namespace, &fields).await?;
    let version = text(&list["metadata"]["resourceVersion"]).to_owned();
    let events: Vec<Value> =
        sorted(&list).into_iter().filter(|event| wanted(&args, event)).collect();
    let mut grid = heading(&args);
    match &args.output {
        Some(Format::Name) => {
            let names = events.iter().map(name_line);
            say(&names.collect::<String>())?;
        }
        Some(format) => {
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": events});
            say(&format.document(&list)?)?;
        }
        None if events.is_empty() && !args.watch => {
            let place = namespace.map_or_else(String::new, |name| format!(" in {name} namespace"));
            progress(&format!("No events found{place}."));
        }
        None => {
            for event in &events {
                grid.row(cells(&args, event));
            }
            if !events.is_empty() {
                say(&grid.render(0))?;
            }
        }
    }
    if args.watch {
        follow(&args, &session, namespace, &fields, version, grid).await
    } else {
        Ok(())
    }
}

/// The events about objects of these fields.
async fn list(session: &Session, namespace: Option<&str>, fields: &str) -> Result<Value> {
    let served = session.catalog().await?.find("events")?;
    let query = Query::default().with("fieldSelector", fields);
    Ok(session.get(&query.on(&served.path(namespace, None))).await?)
}

async fn follow(
    args: &Args,
    session: &Session,
    namespace: Option<&str>,
    fields: &str,
    mut version: String,
    mut grid: Grid,
) -> Result<()> {
    let path = session.catalog().await?.find("events")?.path(namespace, None);
    loop {
        let query = Query::default().with("fieldSelector", fields).with("watch", "true");
        let path = query.with("resourceVersion", &*version).on(&path);
        let mut events = session.watch::<Value>(&path, "application/json").await?;
        while let Some(event) = events.try_next().await.map_err(|e| session.explain(e))? {
            let event = match event {
                WatchEvent::Added(event) | WatchEvent::Modified(event) => event,
                WatchEvent::Error(status) => {
                    return Err(session.explain(kube::Error::Api(status)).into());
                }
                // An event goes when its hour is over.
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => continue,
            };
            version = text(&event["metadata"]["resourceVersion"]).to_owned();
            if !wanted(args, &event) {
                continue;
            }
            match &args.output {
                Some(Format::Name) => say(&name_line(&event))?,
                Some(format) => say(&format.clone().without_heading().document(&event)?)?,
                None => {
                    grid.row(cells(args, &event));
                    say(&grid.render(0))?;
                }
            }
        }
    }
}

fn wanted(args: &Args, event: &Value) -> bool {
    args.types.is_empty() || args.types.iter().any(|t| t.eq_ignore_ascii_case(text(&event["type"])))
}

fn name_line(event: &Value) -> String {
    format!("event/{}\n", text(&event["metadata"]["name"]))
}

fn heading(args: &Args) -> Grid {
    let namespace = args.all_namespaces.then_some("NAMESPACE");
    Grid::new(namespace.into_iter().chain(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]))
}

fn cells(args: &Args, event: &Value) -> Vec<String> {
    let involved = &event["involvedObject"];
    let object = format!("{}/{}", text(&involved["kind"]), text(&involved["name"]));
    let namespace = args.all_namespaces.then(|| text(&event["metadata"]["namespace"]).to_owned());
    let rest = [
        last_seen(event),
        text(&event["type"]).into(),
        text(&event["reason"]).into(),
        object,
        message(event),
    ];
    namespace.into_iter().chain(rest).collect()
}

/// The newest of the times that either kind of event may carry.
fn last_time(event: &Value) -> Option<Timestamp> {
    let series = &event["series"]["lastObservedTime"];
    let times = [
        series,
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["firstTimestamp"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().find_map(|time| time.as_str()?.parse().ok())
}

/// How long ago it was last seen, and how often since the first time.
pub(super) fn last_seen(event: &Value) -> String {
    let now = Timestamp::now();
    let last = age(last_time(event), now);
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    let first = event["firstTimestamp"].as_str().or(event["eventTime"].as_str());
    match first.and_then(|time| time.parse().ok()) {
        Some(first) if count > 1 => format!("{last} (x{count} over {})", age(Some(first), now)),
        _ => last,
    }
}

/// Its message, in one line.
pub(super) fn message(event: &Value) -> String {
    text(&event["message"]).trim().replace('\n', " ")
}

/// Oldest first.
fn sorted(list: &Value) -> Vec<Value> {
    let mut events = list["items"].as_array().cloned().unwrap_or_default();
    events.sort_by_key(last_time);
    events
}

/// The events about an object, oldest first.
pub(super) async fn about(session: &Session, object: &Value) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str();
    let fields = format!(
        "involvedObject.kind={},involvedObject.name={}",
        text(&object["kind"]),
        text(&metadata["name"])
    );
    // Events about what has no namespace lie in the default one; a Node's uid is its name.
    let list = list(session, Some(namespace.unwrap_or("default")), &fields).await?;
    let same = |event: &Value| {
        let uid = &event["involvedObject"]["uid"];
        namespace.is_none() || !uid.is_string() || uid == &metadata["uid"]
    };
    Ok(sorted(&list).into_iter().filter(same).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_repeats_says_how_often() {
        let now = Timestamp::now();
        let ago = |seconds: i64| (now - jiff::SignedDuration::from_secs(seconds)).to_string();
        let event = json!({"firstTimestamp": ago(300), "lastTimestamp": ago(10), "count": 4});
        assert!(last_seen(&event).ends_with("s (x4 over 5m)"), "{}", last_seen(&event));
        let once = json!({"eventTime": ago(300)});
        assert_eq!(last_seen(&once), "5m");
    }

    #[test]
    fn events_are_sorted_by_when_they_were_last_seen() {
        let list = json!({"items": [
            {"reason": "b", "lastTimestamp": "2026-01-02T00:00:00Z"},
            {"reason": "a", "eventTime": "2026-01-01T00:00:00.5Z"}]});
        let reasons: Vec<_> = sorted(&list).iter().map(|event| event["reason"].clone()).collect();
        assert_eq!(reasons, ["a", "b"]);
    }
}
