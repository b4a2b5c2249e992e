//! The running cluster: that it answers, that its clock is ours, how its node and Pods are.
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use kube::config::Kubeconfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Finding;
use crate::cli::data_dir::Running;
use crate::cli::session::{Cluster, Session};
use crate::cli::targets::text;
use crate::cli::trouble::of_old_pod;

/// How long a part may take to answer: all of them are on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an answer that its status line fits into.
const HEAD: usize = 64;

/// More seconds than this between two clocks, and leases and certificates go wrong.
const MAX_SKEW: i64 = 10;

/// Pods in trouble that are listed.
const MAX_PODS: usize = 10;

/// What is wrong with the cluster that runs on a data directory.
pub(super) async fn check(root: &Path, running: &Running, flags: &Cluster) -> Vec<Finding> {
    let mut findings = vec![
        http("registry", &running.registry, "/v2/").await,
        http("gateway", &running.gateway, "/").await,
    ];
    let cluster = Cluster { data_dir: Some(root.to_path_buf()), ..flags.clone() };
    match cluster.open().await {
        Ok(session) => findings.extend(api(&session).await),
        Err(error) => {
            let fix = "restart the cluster: it writes the kubeconfig anew";
            findings.push(Finding::error("API server", format!("{error:#}"), fix));
        }
    }
    findings
}

/// Whether a plain HTTP server answers anything at all.
async fn http(check: &'static str, address: &str, path: &str) -> Finding {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = vec![0; HEAD];
        let read = stream.read(&mut head).await?;
        let line = String::from_utf8_lossy(&head[..read]).into_owned();
        Ok::<_, std::io::Error>(line.lines().next().unwrap_or_default().to_owned())
    };
    let fix = "look at what `podium up` printed, and restart it";
    match timeout(PATIENCE, ask).await {
        Ok(Ok(line)) if line.starts_with("HTTP/1.") => {
            Finding::ok(check, format!("{address} answers"))
        }
        Ok(Ok(line)) => {
            Finding::error(check, format!("{address} does not speak HTTP: {line:?}"), fix)
        }
        Ok(Err(error)) => Finding::error(check, format!("{address}: {error}"), fix),
        Err(_) => Finding::error(check, format!("{address} does not answer in {PATIENCE:?}"), fix),
    }
}

async fn api(session: &Session) -> Vec<Finding> {
    const API: &str = "API server";
    let fix = "look at what `podium up` printed, and restart it";
    let ready = timeout(PATIENCE, session.text("/readyz", "*/*")).await;
    let mut findings = Vec::new();
    match ready {
        Ok(Ok(_)) => findings.push(Finding::ok(API, format!("{} is ready", session.server))),
        Ok(Err(error)) => {
            return vec![Finding::error(API, crate::cli::chain(&error.into()), fix)];
        }
        Err(_) => {
            let why = format!("{} does not answer in {PATIENCE:?}", session.server);
            return vec![Finding::error(API, why, fix)];
        }
    }
    for (path, judge) in [
        (
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            clock as fn(&Value) -> Vec<Finding>,
        ),
        ("/api/v1/nodes", nodes),
        ("/api/v1/pods", pods),
    ] {
        match timeout(PATIENCE, session.get(path)).await {
            Ok(Ok(list)) => findings.extend(judge(&list)),
            Ok(Err(error)) => {
                findings.push(Finding::error(API, crate::cli::chain(&error.into()), fix));
            }
            Err(_) => {
                findings.push(Finding::error(
                    API,
                    format!("{path} takes longer than {PATIENCE:?}"),
                    fix,
                ));
            }
        }
    }
    findings
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// A lease that was renewed in the future was written by another clock.
fn clock(leases: &Value) -> Vec<Finding> {
    let now = Timestamp::now();
    let renewed = items(leases).filter_map(|lease| text(&lease["spec"]["renewTime"]).parse().ok());
    let ahead = renewed.map(|time: Timestamp| time.duration_since(now).as_secs()).max();
    vec![match ahead {
        Some(ahead) if ahead > MAX_SKEW => Finding::error(
            "clock",
            format!("the cluster's clock is {ahead} s ahead of this one"),
            "set the clocks right, such as with NTP, and restart the cluster",
        ),
        _ => Finding::ok("clock", "the cluster's clock is this one"),
    }]
}

fn nodes(list: &Value) -> Vec<Finding> {
    const NODE: &str = "node";
    let mut findings = Vec::new();
    for node in items(list) {
        let name = text(&node["metadata"]["name"]);
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        findings.push(match ready {
            Some(ready) if ready["status"] == "True" && node["spec"]["unschedulable"] == true => {
                let why = format!("{name} is ready but cordoned: new Pods do not come there");
                Finding::warning(NODE, why, format!("kubectl uncordon {name}"))
            }
            Some(ready) if ready["status"] == "True" => {
                Finding::ok(NODE, format!("{name} is ready"))
            }
            Some(ready) => {
                let why = format!("{name} is not ready: {}", text(&ready["message"]));
                Finding::error(NODE, why, format!("`podium describe node {name}` says more"))
            }
            None => {
                let why = format!("{name} has not said how it is");
                Finding::error(NODE, why, "wait a moment; if it stays so, restart the cluster")
            }
        });
    }
    if findings.is_empty() {
        let fix = "wait a moment; if it stays so, restart the cluster";
        findings.push(Finding::error(NODE, "no node has registered", fix));
    }
    findings
}

fn pods(list: &Value) -> Vec<Finding> {
    const PODS: &str = "Pods";
    let now = Timestamp::now();
    let troubled: Vec<Finding> = items(list)
        .filter_map(|pod| {
            let trouble = of_old_pod(pod, now)?;
            let metadata = &pod["metadata"];
            let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
            let fix = match trouble.reason.as_str() {
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
                    "push the image with `podium push`, or mend its name with `podium set image`".to_owned()
                }
                "Unschedulable" => {
                    format!("ask for less, or make room; `podium describe pod {name} -n {namespace}` says more")
                }
                _ => {
                    let logs = logs(pod).map(|flags| format!("`podium logs {name} -n {namespace}{flags}` and "));
                    let (logs, say) = logs.map_or((String::new(), "says"), |logs| (logs, "say"));
                    format!("{logs}`podium describe pod {name} -n {namespace}` {say} more")
                }
            };
            Some(Finding::warning(PODS, format!("{namespace}/{name}: {trouble}"), fix))
        })
        .collect();
    if troubled.is_empty() {
        let count = items(list).count();
        return vec![Finding::ok(PODS, format!("{count} Pods, none in trouble"))];
    }
    let more = troubled.len().saturating_sub(MAX_PODS);
    let mut shown: Vec<Finding> = troubled.into_iter().take(MAX_PODS).collect();
    if more > 0 {
        let fix = "`podium get pods -A` lists them";
        shown.push(Finding::warning(PODS, format!("{more} more Pods are in trouble"), fix));
    }
    shown
}

/// The flags with which the log of the container that ended badly is printed; none if none has.
fn logs(pod: &Value) -> Option<String> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| &pod["status"][list]);
    let statuses = || lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
    let ended = |status: &&Value, state: &str| {
        status[state]["terminated"]["exitCode"].as_i64().is_some_and(|code| code != 0)
    };
    let of = |status: &Value| format!(" -c {}", text(&status["name"]));
    let now = statuses().find(|status| ended(status, "state")).map(of);
    now.or_else(|| statuses().find(|s| ended(s, "lastState")).map(|s| of(s) + " -p"))
}

/// Whether kubectl, as it is set up, means this cluster.
pub(super) fn context(root: &Path) -> Vec<Finding> {
    const CONTEXT: &str = "kubectl";
    let own = root.join("kubeconfig");
    let Ok(ours) = Kubeconfig::read_from(&own) else { return Vec::new() };
    let fix = format!("export KUBECONFIG={}, or `podium kubeconfig merge`", own.display());
    let theirs = match Kubeconfig::read() {
        Ok(theirs) => theirs,
        Err(_) if std::env::var_os("KUBECONFIG").is_none() => {
            let why = "kubectl knows no cluster: there is no ~/.kube/config";
            return vec![Finding::ok(CONTEXT, format!("{why} ({fix})"))];
        }
        Err(error) => {
            return vec![Finding::warning(
                CONTEXT,
                format!("KUBECONFIG cannot be used: {error}"),
                fix,
            )];
        }
    };
    let (ours, theirs) = (server(&ours), server(&theirs));
    vec![if ours == theirs {
        Finding::ok(CONTEXT, "kubectl means this cluster")
    } else {
        let theirs = theirs.unwrap_or_else(|| "no cluster".into());
        Finding::warning(CONTEXT, format!("kubectl's current context means {theirs}"), fix)
    }]
}

/// The server of a kubeconfig's current context.
fn server(config: &Kubeconfig) -> Option<String> {
    let current = config.current_context.as_deref()?;
    let context = config.contexts.iter().find(|context| context.name == current)?;
    let cluster = &context.context.as_ref()?.cluster;
    let cluster = config.clusters.iter().find(|named| &named.name == cluster)?;
    cluster.cluster.as_ref()?.server.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;
    use serde_json::json;

    #[test]
    fn a_node_that_is_not_ready_and_one_that_never_came_are_errors() {
        let of = |status: &str| {
            json!({"items": [{"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "Ready", "status": status, "message": "why"}]}}]})
        };
        assert_eq!(nodes(&of("True"))[0].level, Level::Ok);
        let found = &nodes(&of("False"))[0];
        assert!(found.level == Level::Error && found.message.ends_with("why"), "{found:?}");
        assert_eq!(nodes(&json!({"items": []}))[0].level, Level::Error);
    }

    #[test]
    fn a_pod_whose_image_is_missing_is_told_with_the_way_out() {
        let list = json!({"items": [{"metadata": {"name": "p", "namespace": "d"}, "status": {
            "phase": "Pending", "containerStatuses": [
                {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]}}]});
        let found = &pods(&list)[0];
        assert_eq!(found.message, "d/p: ImagePullBackOff: not found");
        assert!(found.fix.as_ref().unwrap().contains("podium push"));
        assert_eq!(pods(&json!({"items": []}))[0].level, Level::Ok);
    }

    #[test]
    fn the_log_that_is_named_is_one_that_there_is() {
        let pod = |status: Value| json!({"status": {"containerStatuses": [status]}});
        let failed = json!({"terminated": {"exitCode": 1}});
        assert_eq!(logs(&pod(json!({"name": "c", "state": failed}))).unwrap(), " -c c");
        let crashes = json!({"name": "c", "state": {"waiting": {}}, "lastState": failed});
        assert_eq!(logs(&pod(crashes)).unwrap(), " -c c -p");
        assert_eq!(logs(&pod(json!({"name": "c", "state": {"waiting": {}}}))), None);
    }

    #[test]
    fn a_clock_that_is_ahead_is_an_error() {
        let at = |seconds: i64| {
            let time = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            clock(&json!({"items": [{"spec": {"renewTime": time.to_string()}}]}))[0].level
        };
        assert_eq!((at(-30), at(0), at(60)), (Level::Ok, Level::Ok, Level::Error));
    }
}
