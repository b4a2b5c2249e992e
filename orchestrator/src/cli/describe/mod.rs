//! `podium describe`: an object for people, with what happened to it.
//!
//! The kinds of every day are told in the order in which one asks; everything else, custom
//! resources included, field by field.
use anyhow::Result;
use serde_json::{Value, json};

use super::failures::Failures;
use super::output::table::{Grid, pairs};
use super::output::{Tone, paint, tone};
use super::session::{Cluster, Session};
use super::targets::{self, Selection, text};
use super::{completion, events, progress, say};
use crate::api::yaml;
use crate::client::Served;

mod autoscaler;
mod data;
mod deployment;
mod generic;
mod ingress;
mod job;
mod node;
mod pod;
mod service;
mod sheet;

use sheet::Sheet;

/// Events that are shown, the newest: a Pod in trouble has many that say the same.
const MAX_EVENTS: usize = 25;

/// kubectl's copy of the manifest: it says what the object says, and of a Secret what it keeps.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Flags of `podium describe`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to describe: `pod web-1`, `deploy/web`, `pods -l app=web`, `node`.
    #[arg(value_name = "TYPE[/NAME]", add = completion::objects())]
    words: Vec<String>,
    /// json or yaml: the object and its events.
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"])]
    output: Option<String>,
    /// Leave out the events.
    #[arg(long)]
    no_events: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let targets = targets::parse(session.catalog().await?, &args.words)?;
    let mut failures = Failures::default();
    let found = targets::readable(&session, &targets, &args.selection, &mut failures).await?;
    if found.is_empty() && !failures.any() {
        progress("No resources found");
    }
    for (i, (served, object)) in found.iter().enumerate() {
        if i > 0 {
            say("\n\n")?;
        }
        let events = match args.no_events {
            true => Vec::new(),
            false => events::about(&session, object).await?,
        };
        let text = match args.output.as_deref() {
            Some("json") => {
                let both = json!({"object": object, "events": events});
                format!("{}\n", serde_json::to_string_pretty(&both)?)
            }
            Some(_) => yaml::to_string(&json!({"object": object, "events": events}))?,
            None => {
                let mut sheet = Sheet::default();
                describe(&session, served, object, &mut sheet).await?;
                let events = if args.no_events { String::new() } else { event_table(&events) };
                format!("{}{events}", sheet.render())
            }
        };
        say(&text)?;
    }
    failures.end()
}

async fn describe(
    session: &Session,
    served: &Served,
    object: &Value,
    sheet: &mut Sheet,
) -> Result<()> {
    head(object, sheet);
    match (served.group.as_str(), served.kind.as_str()) {
        ("", "Pod") => pod::describe(object, sheet),
        ("", "ConfigMap") => data::describe_config(object, sheet),
        ("", "Secret") => data::describe_secret(object, sheet),
        ("batch", "Job") => job::describe_job(object, sheet),
        ("batch", "CronJob") => job::describe_cron_job(object, sheet),
        ("policy", "PodDisruptionBudget") => autoscaler::describe_budget(object, sheet),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::describe(object, sheet),
        ("networking.k8s.io", "Ingress") => ingress::describe(session, object, sheet).await?,
        ("apps", "Deployment") => deployment::describe(session, object, sheet).await?,
        ("", "Service") => service::describe(session, object, sheet).await?,
        ("", "Node") => node::describe(session, object, sheet).await?,
        _ => generic::describe(object, sheet),
    }
    Ok(())
}

/// What every object has.
fn head(object: &Value, sheet: &mut Sheet) {
    let metadata = &object["metadata"];
    sheet.line(0, "Name", text(&metadata["name"]));
    if metadata["namespace"].is_string() {
        sheet.line(0, "Namespace", text(&metadata["namespace"]));
    }
    sheet.map(0, "Labels", &metadata["labels"]);
    let mut annotations = metadata["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    sheet.map(0, "Annotations", &annotations);
    let created = text(&metadata["creationTimestamp"]);
    if !created.is_empty() {
        sheet.line(0, "Created", &format!("{created} ({} ago)", sheet::age_of(created)));
    }
    if let Some(deleted) = metadata["deletionTimestamp"].as_str() {
        sheet.line(0, "Deleted", deleted);
        if metadata["finalizers"].is_array() {
            sheet.line(0, "Finalizers", &metadata["finalizers"].to_string());
        }
    }
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        if owner["controller"] == true {
            let owner = format!("{}/{}", text(&owner["kind"]), text(&owner["name"]));
            sheet.line(0, "Controlled By", &owner);
        }
    }
}

/// The conditions of a status, as a table.
fn conditions(object: &Value, sheet: &mut Sheet) {
    let Some(conditions) = object["status"]["conditions"].as_array().filter(|c| !c.is_empty())
    else {
        return;
    };
    let mut grid = Grid::new(["Type", "Status", "Reason", "Message"]);
    for condition in conditions {
        grid.row(["type", "status", "reason", "message"].map(|field| text(&condition[field])));
    }
    sheet.block("Conditions", &grid.render(2));
}

fn event_table(events: &[Value]) -> String {
    let heading = paint().text(Tone::Strong, "Events:");
    if events.is_empty() {
        return format!("{heading} <none>\n");
    }
    let mut grid = Grid::new(["Type", "Reason", "Age", "From", "Message"]);
    let left_out = events.len().saturating_sub(MAX_EVENTS);
    for event in events.iter().skip(left_out) {
        let from = [&event["source"]["component"], &event["reportingComponent"]];
        let from = from.into_iter().map(text).find(|from| !from.is_empty()).unwrap_or_default();
        grid.row([
            text(&event["type"]),
            text(&event["reason"]),
            &events::last_seen(event),
            from,
            &events::message(event),
        ]);
    }
    let note = match left_out {
        0 => String::new(),
        left_out => format!("  ({left_out} older ones: `podium events --for …` shows them)\n"),
    };
    format!("{heading}\n{}{note}", grid.render(2))
}

/// A word that says how something is, painted.
fn painted(word: &str) -> String {
    tone(word).map_or_else(|| word.to_owned(), |tone| paint().text(tone, word))
}

/// `name=value` of each entry of a resource list: `cpu=500m, memory=16Mi`.
fn quantities(list: &Value) -> String {
    pairs(list, ", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_of_a_manifest_is_not_shown() {
        let mut sheet = Sheet::default();
        let annotations = json!({LAST_APPLIED: "{\"stringData\":{\"a\":\"secret\"}}", "b": "c"});
        head(&json!({"metadata": {"name": "s", "annotations": annotations}}), &mut sheet);
        let text = sheet.render();
        assert!(text.contains("b=c") && !text.contains("secret"), "{text}");
    }
}
