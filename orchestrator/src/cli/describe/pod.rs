//! A Pod: where it is, how its containers are, why it is not ready.
use serde_json::Value;

use super::sheet::{Sheet, age_of};
use super::{conditions, quantities};
use crate::cli::targets::text;

/// What is told about a Pod.
pub(super) fn describe(pod: &Value, sheet: &mut Sheet) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    sheet.line(0, "Node", text(spec.get("nodeName").unwrap_or(&Value::from("<none>"))));
    sheet.some(0, "Start Time", &status["startTime"]);
    sheet.line(0, "Status", text(&status["phase"]));
    sheet.some(0, "Reason", &status["reason"]);
    sheet.some(0, "Message", &status["message"]);
    sheet.some(0, "IP", &status["podIP"]);
    sheet.some(0, "Service Account", &spec["serviceAccountName"]);
    sheet.some(0, "Runtime Class", &spec["runtimeClassName"]);
    sheet.some(0, "Priority Class", &spec["priorityClassName"]);
    sheet.some(0, "QoS Class", &status["qosClass"]);
    sheet.some(0, "Restart Policy", &spec["restartPolicy"]);
    for (field, statuses, heading) in [
        ("initContainers", "initContainerStatuses", "Init Containers"),
        ("containers", "containerStatuses", "Containers"),
    ] {
        let Some(containers) = spec[field].as_array().filter(|list| !list.is_empty()) else {
            continue;
        };
        sheet.line(0, heading, "");
        for container in containers {
            let known = status[statuses].as_array().into_iter().flatten();
            let mut known = known.filter(|status| status["name"] == container["name"]);
            describe_container(container, known.next(), sheet);
        }
    }
    conditions(pod, sheet);
    volumes(spec, sheet);
    if let Some(selector) = spec["nodeSelector"].as_object().filter(|map| !map.is_empty()) {
        sheet.map(0, "Node Selectors", &Value::Object(selector.clone()));
    }
    let tolerations = spec["tolerations"].as_array().into_iter().flatten();
    for (i, toleration) in tolerations.enumerate() {
        sheet.line(0, if i == 0 { "Tolerations" } else { "" }, &describe_toleration(toleration));
    }
}

/// A container of a template or of a Pod.
pub(super) fn describe_container(container: &Value, status: Option<&Value>, sheet: &mut Sheet) {
    sheet.line(1, text(&container["name"]), "");
    sheet.some(2, "Image", &container["image"]);
    if let Some(status) = status {
        sheet.some(2, "Image ID", &status["imageID"]);
    }
    let ports = container["ports"].as_array().into_iter().flatten();
    let ports: Vec<String> = ports
        .map(|port| {
            format!("{}/{}", port["containerPort"], port["protocol"].as_str().unwrap_or("TCP"))
        })
        .collect();
    if !ports.is_empty() {
        sheet.line(2, "Ports", &ports.join(", "));
    }
    for (field, key) in [("command", "Command"), ("args", "Args")] {
        let words = container[field].as_array().into_iter().flatten();
        let words: Vec<&str> = words.map(text).collect();
        if !words.is_empty() {
            sheet.line(2, key, &words.join(" "));
        }
    }
    if let Some(status) = status {
        state(2, "State", &status["state"], sheet);
        if status["lastState"].as_object().is_some_and(|last| !last.is_empty()) {
            state(2, "Last State", &status["lastState"], sheet);
        }
        sheet.line(2, "Ready", if status["ready"] == true { "True" } else { "False" });
        sheet.some(2, "Restart Count", &status["restartCount"]);
    }
    for (field, key) in [("limits", "Limits"), ("requests", "Requests")] {
        if container["resources"][field].is_object() {
            sheet.line(2, key, &quantities(&container["resources"][field]));
        }
    }
    for (field, key) in [
        ("livenessProbe", "Liveness"),
        ("readinessProbe", "Readiness"),
        ("startupProbe", "Startup"),
    ] {
        if container[field].is_object() {
            sheet.line(2, key, &probe(&container[field]));
        }
    }
    let environment = container["env"].as_array().into_iter().flatten().map(variable);
    let from = container["envFrom"].as_array().into_iter().flatten().map(Value::to_string);
    let environment: Vec<String> = environment.chain(from).collect();
    if !environment.is_empty() {
        sheet.line(2, "Environment", &environment.join("\n"));
    }
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let mounts: Vec<String> = mounts
        .map(|mount| {
            let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
            format!("{} from {} ({mode})", text(&mount["mountPath"]), text(&mount["name"]))
        })
        .collect();
    if !mounts.is_empty() {
        sheet.line(2, "Mounts", &mounts.join("\n"));
    }
}

fn state(level: usize, key: &str, state: &Value, sheet: &mut Sheet) {
    let Some((word, details)) = state.as_object().and_then(|state| state.iter().next()) else {
        return sheet.line(level, key, "Waiting");
    };
    let word = match word.as_str() {
        "running" => "Running",
        "terminated" => "Terminated",
        _ => "Waiting",
    };
    sheet.line(level, key, word);
    sheet.some(level + 1, "Reason", &details["reason"]);
    sheet.some(level + 1, "Message", &details["message"]);
    sheet.some(level + 1, "Exit Code", &details["exitCode"]);
    for (field, key) in [("startedAt", "Started"), ("finishedAt", "Finished")] {
        if let Some(time) = details[field].as_str() {
            sheet.line(level + 1, key, &format!("{time} ({} ago)", age_of(time)));
        }
    }
}

/// A variable and where its value comes from; values of Secrets are not there to be shown.
fn variable(variable: &Value) -> String {
    let name = text(&variable["name"]);
    let from = &variable["valueFrom"];
    for (field, what) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
        if from[field].is_object() {
            let source = &from[field];
            return format!(
                "{name}: key {:?} of {what} {}",
                text(&source["key"]),
                text(&source["name"])
            );
        }
    }
    match from {
        Value::Null => format!("{name}: {}", text(&variable["value"])),
        from => format!("{name}: {from}"),
    }
}

fn probe(probe: &Value) -> String {
    let what = if probe["httpGet"].is_object() {
        let http = &probe["httpGet"];
        format!(
            "http-get :{}{}",
            super::super::output::table::text(&http["port"]),
            text(&http["path"])
        )
    } else if probe["tcpSocket"].is_object() {
        format!("tcp-socket :{}", super::super::output::table::text(&probe["tcpSocket"]["port"]))
    } else if probe["grpc"].is_object() {
        format!("grpc :{}", probe["grpc"]["port"])
    } else {
        "exec".to_owned()
    };
    let number = |field: &str, or: i64| probe[field].as_i64().unwrap_or(or);
    format!(
        "{what} delay={}s timeout={}s period={}s success={} failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    )
}

fn volumes(spec: &Value, sheet: &mut Sheet) {
    let Some(volumes) = spec["volumes"].as_array().filter(|list| !list.is_empty()) else { return };
    sheet.line(0, "Volumes", "");
    for volume in volumes {
        let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
        let Some((kind, details)) = source else { continue };
        let name = [&details["name"], &details["secretName"], &details["path"]];
        let name = name.into_iter().map(text).find(|name| !name.is_empty()).unwrap_or_default();
        sheet.line(1, text(&volume["name"]), format!("{kind} {name}").trim_end());
    }
}

fn describe_toleration(toleration: &Value) -> String {
    let key = toleration["key"].as_str().unwrap_or("every taint");
    let value = toleration["value"].as_str().map(|value| format!("={value}")).unwrap_or_default();
    let effect = toleration["effect"].as_str().map(|e| format!(":{e}")).unwrap_or_default();
    let seconds = toleration["tolerationSeconds"].as_i64();
    let seconds = seconds.map(|seconds| format!(" for {seconds}s")).unwrap_or_default();
    format!("{key}{value}{effect}{seconds}")
}
