//! A Node: what it has, what of it is asked for, who runs there.
use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::sheet::Sheet;
use super::{conditions, quantities};
use crate::api::Quantity;
use crate::cli::output::table::Grid;
use crate::cli::session::{Query, Session};
use crate::cli::targets::text;

/// Pods that are listed; a node may hold thousands.
const MAX_PODS: usize = 50;

/// What is told about a Node.
pub(super) async fn describe(session: &Session, node: &Value, sheet: &mut Sheet) -> Result<()> {
    let (spec, status) = (&node["spec"], &node["status"]);
    for (i, taint) in spec["taints"].as_array().into_iter().flatten().enumerate() {
        let value = taint["value"].as_str().map(|value| format!("={value}")).unwrap_or_default();
        let taint = format!("{}{value}:{}", text(&taint["key"]), text(&taint["effect"]));
        sheet.line(0, if i == 0 { "Taints" } else { "" }, &taint);
    }
    if spec["taints"].as_array().is_none_or(Vec::is_empty) {
        sheet.line(0, "Taints", "<none>");
    }
    sheet.line(0, "Unschedulable", if spec["unschedulable"] == true { "true" } else { "false" });
    conditions(node, sheet);
    for address in status["addresses"].as_array().into_iter().flatten() {
        sheet.line(0, text(&address["type"]), text(&address["address"]));
    }
    sheet.line(0, "Capacity", &quantities(&status["capacity"]));
    sheet.line(0, "Allocatable", &quantities(&status["allocatable"]));
    let info = &status["nodeInfo"];
    for (field, key) in [
        ("osImage", "OS Image"),
        ("kernelVersion", "Kernel"),
        ("architecture", "Architecture"),
        ("containerRuntimeVersion", "Runtime"),
        ("kubeletVersion", "Version"),
    ] {
        sheet.some(0, key, &info[field]);
    }
    let pods = pods(session, text(&node["metadata"]["name"])).await?;
    asked_for(&pods, &status["allocatable"], sheet);
    let mut grid = Grid::new([
        "Namespace",
        "Name",
        "CPU Requests",
        "CPU Limits",
        "Memory Requests",
        "Memory Limits",
    ]);
    for pod in pods.iter().take(MAX_PODS) {
        let of = |list, resource| sum(pod, list, resource).to_string();
        grid.row([
            text(&pod["metadata"]["namespace"]).to_owned(),
            text(&pod["metadata"]["name"]).to_owned(),
            of("requests", "cpu"),
            of("limits", "cpu"),
            of("requests", "memory"),
            of("limits", "memory"),
        ]);
    }
    let more = match pods.len().saturating_sub(MAX_PODS) {
        0 => String::new(),
        more => format!("  and {more} more\n"),
    };
    sheet.block(&format!("Pods ({})", pods.len()), &format!("{}{more}", grid.render(2)));
    Ok(())
}

/// The Pods on a node that have not ended.
async fn pods(session: &Session, node: &str) -> Result<Vec<Value>> {
    let served = session.catalog().await?.find("pods")?;
    let fields = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let query = Query::default().with("fieldSelector", fields);
    let mut list = session.get(&query.on(&served.path(None, None))).await?;
    Ok(list["items"].take().as_array().cloned().unwrap_or_default())
}

/// What the containers of a Pod ask for together.
fn sum(pod: &Value, list: &str, resource: &str) -> Quantity {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let amounts = containers.filter_map(|container| {
        Quantity::parse(text(&container["resources"][list][resource])).ok()
    });
    let milli: i64 = amounts.map(Quantity::milli_value).fold(0, i64::saturating_add);
    if resource == "memory" {
        Quantity::from_bytes(milli / 1000)
    } else {
        Quantity::from_milli(milli)
    }
}

fn asked_for(pods: &[Value], allocatable: &Value, sheet: &mut Sheet) {
    let mut grid = Grid::new(["Resource", "Requests", "Limits"]);
    let mut rows = BTreeMap::new();
    for resource in ["cpu", "memory"] {
        let all =
            Quantity::parse(text(&allocatable[resource])).unwrap_or(Quantity::ZERO).milli_value();
        let cell = |list: &str| {
            let milli = pods.iter().map(|pod| sum(pod, list, resource).milli_value());
            let milli: i64 = milli.fold(0, i64::saturating_add);
            let amount = if resource == "memory" {
                Quantity::from_bytes(milli / 1000)
            } else {
                Quantity::from_milli(milli)
            };
            let share = if all > 0 { i128::from(milli) * 100 / i128::from(all) } else { 0 };
            format!("{amount} ({share}%)")
        };
        rows.insert(resource, [cell("requests"), cell("limits")]);
    }
    for (resource, [requests, limits]) in rows {
        grid.row([resource.to_owned(), requests, limits]);
    }
    sheet.block("Allocated resources", &grid.render(2));
}
