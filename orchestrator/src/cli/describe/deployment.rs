//! A Deployment: how far it is, what it runs, which ReplicaSets carry it.
use anyhow::Result;
use serde_json::Value;

use super::conditions;
use super::pod::describe_container;
use super::sheet::Sheet;
use crate::cli::output::table::pairs;
use crate::cli::rollout::{Progress, progress_of};
use crate::cli::session::Session;
use crate::cli::targets::text;
use crate::cli::trouble;

/// What is told about a Deployment.
pub(super) async fn describe(session: &Session, object: &Value, sheet: &mut Sheet) -> Result<()> {
    let (spec, status) = (&object["spec"], &object["status"]);
    sheet.line(0, "Selector", &pairs(&spec["selector"]["matchLabels"], ","));
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    sheet.line(
        0,
        "Replicas",
        &format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
            count("unavailableReplicas")
        ),
    );
    let rollout = match progress_of(text(&object["metadata"]["name"]), object) {
        _ if spec["paused"] == true => "paused; `podium rollout resume` goes on".to_owned(),
        Progress::Done => "complete".into(),
        Progress::Failed => "failed: it exceeded its progress deadline".into(),
        Progress::Going(what) => what,
    };
    sheet.line(0, "Rollout", &rollout);
    let namespace = text(&object["metadata"]["namespace"]);
    let labels = pairs(&spec["selector"]["matchLabels"], ",");
    if let Some((pod, trouble)) = trouble::among(session, namespace, &labels).await? {
        sheet.line(0, "Trouble", &format!("pod {pod}: {trouble}"));
    }
    let strategy = &spec["strategy"];
    sheet.some(0, "Strategy", &strategy["type"]);
    if strategy["rollingUpdate"].is_object() {
        sheet.some(1, "Max Unavailable", &strategy["rollingUpdate"]["maxUnavailable"]);
        sheet.some(1, "Max Surge", &strategy["rollingUpdate"]["maxSurge"]);
    }
    template(&spec["template"], sheet);
    conditions(object, sheet);
    replica_sets(session, object, sheet).await
}

/// The Pod template of a workload.
pub(super) fn template(template: &Value, sheet: &mut Sheet) {
    sheet.line(0, "Pod Template", "");
    sheet.line(1, "Labels", &pairs(&template["metadata"]["labels"], ","));
    if template["metadata"]["annotations"].is_object() {
        sheet.line(1, "Annotations", &pairs(&template["metadata"]["annotations"], ","));
    }
    for field in ["initContainers", "containers"] {
        for container in template["spec"][field].as_array().into_iter().flatten() {
            describe_container(container, None, sheet);
        }
    }
}

async fn replica_sets(session: &Session, object: &Value, sheet: &mut Sheet) -> Result<()> {
    let served = session.catalog().await?.find("replicasets.apps")?;
    let list = session.get(&served.path(object["metadata"]["namespace"].as_str(), None)).await?;
    let uid = &object["metadata"]["uid"];
    let mut lines = Vec::new();
    for set in list["items"].as_array().into_iter().flatten() {
        let owners = set["metadata"]["ownerReferences"].as_array();
        let owned = owners.is_some_and(|owners| owners.iter().any(|owner| &owner["uid"] == uid));
        let wanted = set["spec"]["replicas"].as_i64().unwrap_or(0);
        let actual = set["status"]["replicas"].as_i64().unwrap_or(0);
        if owned && wanted + actual > 0 {
            lines.push(format!("{} ({actual}/{wanted} replicas)", text(&set["metadata"]["name"])));
        }
    }
    let lines = if lines.is_empty() { "<none>".to_owned() } else { lines.join("\n") };
    sheet.line(0, "ReplicaSets", &lines);
    Ok(())
}
