//! A HorizontalPodAutoscaler: what it scales, by what, and how it is now.
use serde_json::Value;

use super::sheet::Sheet;
use super::{conditions, pairs};
use crate::cli::output::table;
use crate::cli::targets::text;

/// Replicas of what says nothing else.
const DEFAULT_MIN: i64 = 1;

/// What is told about a HorizontalPodAutoscaler.
pub(super) fn describe(object: &Value, sheet: &mut Sheet) {
    let (spec, status) = (&object["spec"], &object["status"]);
    let scaled = &spec["scaleTargetRef"];
    sheet.line(0, "Reference", &format!("{}/{}", text(&scaled["kind"]), text(&scaled["name"])));
    sheet.line(0, "Metrics", "( current / target )");
    for (i, metric) in spec["metrics"].as_array().into_iter().flatten().enumerate() {
        let (what, amount) = describe_metric(metric, &status["currentMetrics"][i]);
        sheet.line(1, &what, &amount);
    }
    sheet.line(0, "Min Replicas", &spec["minReplicas"].as_i64().unwrap_or(DEFAULT_MIN).to_string());
    sheet.some(0, "Max Replicas", &spec["maxReplicas"]);
    for (field, key) in [("scaleUp", "Scale Up"), ("scaleDown", "Scale Down")] {
        if spec["behavior"][field].is_object() {
            sheet.line(0, key, &rules(&spec["behavior"][field]));
        }
    }
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let pods =
        format!("{} current / {} desired", count("currentReplicas"), count("desiredReplicas"));
    sheet.line(0, &format!("{} Pods", text(&scaled["kind"])), &pods);
    conditions(object, sheet);
}

/// What is measured, and how much of it there is and should be.
fn describe_metric(metric: &Value, current: &Value) -> (String, String) {
    let (source, seen) = match text(&metric["type"]) {
        "Resource" => (&metric["resource"], &current["resource"]["current"]),
        "ContainerResource" => {
            (&metric["containerResource"], &current["containerResource"]["current"])
        }
        "Pods" => (&metric["pods"], &current["pods"]["current"]),
        "Object" => (&metric["object"], &current["object"]["current"]),
        _ => (&metric["external"], &current["external"]["current"]),
    };
    let what = match (text(&source["container"]), source["name"].as_str()) {
        ("", Some(resource)) => format!("resource {resource} on Pods"),
        (container, Some(resource)) => format!("resource {resource} of container {container}"),
        (_, None) => format!("{:?}", text(&source["metric"]["name"])),
    };
    let target = &source["target"];
    let or_unknown = |value: &Value| match value {
        Value::Null => "<unknown>".to_owned(),
        value => table::text(value),
    };
    match target["averageUtilization"].as_i64() {
        Some(wanted) => {
            let amount = match seen["averageUtilization"].as_i64() {
                Some(share) => format!("{share}% ({})", or_unknown(&seen["averageValue"])),
                None => "<unknown>".into(),
            };
            (format!("{what}, of the request"), format!("{amount} / {wanted}%"))
        }
        None => {
            let field = if target["value"].is_null() { "averageValue" } else { "value" };
            (what, format!("{} / {}", or_unknown(&seen[field]), or_unknown(&target[field])))
        }
    }
}

fn rules(rules: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
        lines.push(format!("stabilization window {seconds}s"));
    }
    if let Some(select) = rules["selectPolicy"].as_str() {
        lines.push(format!("select policy {select}"));
    }
    for policy in rules["policies"].as_array().into_iter().flatten() {
        let (kind, value) = (text(&policy["type"]), &policy["value"]);
        let value = if kind == "Percent" { format!("{value}%") } else { format!("{value} Pods") };
        lines.push(format!("{value} in {}s", policy["periodSeconds"]));
    }
    lines.join("\n")
}

/// What is told about a PodDisruptionBudget.
pub(super) fn describe_budget(object: &Value, sheet: &mut Sheet) {
    let (spec, status) = (&object["spec"], &object["status"]);
    for (field, key) in [("minAvailable", "Min Available"), ("maxUnavailable", "Max Unavailable")] {
        sheet.some(0, key, &spec[field]);
    }
    sheet.line(0, "Selector", &pairs(&spec["selector"]["matchLabels"], ","));
    for expression in spec["selector"]["matchExpressions"].as_array().into_iter().flatten() {
        sheet.line(0, "", &expression.to_string());
    }
    for (field, key) in [
        ("disruptionsAllowed", "Allowed Disruptions"),
        ("currentHealthy", "Current"),
        ("desiredHealthy", "Desired"),
        ("expectedPods", "Total"),
    ] {
        sheet.some(0, key, &status[field]);
    }
    conditions(object, sheet);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_are_told_beside_their_targets() {
        let metric = |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let share = metric(json!({"type": "Utilization", "averageUtilization": 50}));
        let seen =
            json!({"resource": {"current": {"averageUtilization": 10, "averageValue": "20m"}}});
        let told = |metric: &Value, seen: &Value| describe_metric(metric, seen).1;
        assert_eq!(told(&share, &seen), "10% (20m) / 50%");
        assert_eq!(told(&share, &Value::Null), "<unknown> / 50%");
        let amount = metric(json!({"type": "AverageValue", "averageValue": "100m"}));
        assert_eq!(told(&amount, &seen), "20m / 100m");
        let scale = json!({"stabilizationWindowSeconds": 0,
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
        assert_eq!(rules(&scale), "stabilization window 0s\n100% in 15s");
    }

    #[test]
    fn a_budget_says_how_many_may_go() {
        let mut sheet = Sheet::default();
        let budget = json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}},
            "status": {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}});
        describe_budget(&budget, &mut sheet);
        let text = sheet.render();
        assert!(text.contains("Min Available:        50%\n"), "{text}");
        assert!(text.contains("Allowed Disruptions:  1\n") && text.contains("a=b"), "{text}");
    }
}
