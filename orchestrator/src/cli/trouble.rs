//! Why a Pod does not run or is not ready, in a few words.
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::session::{Query, RequestError, Session};
use super::targets::text;

/// As much of a message as is shown.
const MAX_MESSAGE: usize = 300;

/// A Pod that is not ready for longer hangs.
const HANGS: SignedDuration = SignedDuration::from_secs(30);

/// Reasons of a waiting container that are no trouble, only beginnings.
const BEGINNINGS: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

/// What is wrong with a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// `ImagePullBackOff`, `Unschedulable`, …
    pub(super) reason: String,
    /// Details.
    pub(super) message: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            return f.write_str(&self.reason);
        }
        let message: String = self.message.chars().take(MAX_MESSAGE).collect();
        write!(f, "{}: {}", self.reason, message.replace('\n', " "))
    }
}

impl Trouble {
    fn new(reason: &str, message: &str) -> Self {
        Self { reason: reason.to_owned(), message: message.to_owned() }
    }

    /// Whether waiting alone may mend it.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.reason.as_str(), "CrashLoopBackOff" | "Unschedulable" | "NotReady")
    }
}

/// What is wrong with a Pod that has had its time: one that hangs is in trouble too.
pub(super) fn of_old_pod(pod: &Value, now: Timestamp) -> Option<Trouble> {
    of_pod(pod).or_else(|| {
        let since = |time: &Value| text(time).parse().is_ok_and(|t| now.duration_since(t) > HANGS);
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        if !metadata["deletionTimestamp"].is_null() {
            return None;
        }
        if text(&status["phase"]) == "Pending" && since(&metadata["creationTimestamp"]) {
            return Some(Trouble::new("NotStarted", "it does not start; its events say why"));
        }
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        let unready = ready.find(|condition| condition["status"] == "False")?;
        let running = text(&status["phase"]) == "Running";
        (running && since(&unready["lastTransitionTime"]))
            .then(|| Trouble::new("NotReady", text(&unready["message"])))
    })
}

/// What is wrong with a Pod; none if it runs, has done its work, or has just begun.
pub(super) fn of_pod(pod: &Value) -> Option<Trouble> {
    let status = &pod["status"];
    if !pod["metadata"]["deletionTimestamp"].is_null() || text(&status["phase"]) == "Succeeded" {
        return None;
    }
    // An eviction ends the containers: what they say then is not why.
    if let (Some(reason), "Failed") = (status["reason"].as_str(), text(&status["phase"])) {
        return Some(Trouble::new(reason, text(&status["message"])));
    }
    let lists = [&status["initContainerStatuses"], &status["containerStatuses"]];
    for container in lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten()) {
        if let Some(trouble) = of_container(container) {
            return Some(trouble);
        }
    }
    if text(&status["phase"]) == "Failed" {
        return Some(Trouble::new("Failed", text(&status["message"])));
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let scheduled = conditions.into_iter().find(|condition| condition["type"] == "PodScheduled");
    let unscheduled = scheduled.filter(|condition| condition["status"] == "False");
    unscheduled
        .map(|condition| Trouble::new(text(&condition["reason"]), text(&condition["message"])))
}

fn of_container(status: &Value) -> Option<Trouble> {
    let waiting = &status["state"]["waiting"];
    let reason = text(&waiting["reason"]);
    if waiting.is_object() && !BEGINNINGS.contains(&reason) {
        let last = &status["lastState"]["terminated"];
        let message = match text(&last["message"]) {
            "" if last.is_object() => {
                format!("{}, exit code {}", text(&last["reason"]), last["exitCode"])
            }
            "" => text(&waiting["message"]).to_owned(),
            said => format!("{}: {said}", text(&last["reason"])),
        };
        return Some(Trouble::new(reason, &message));
    }
    let ended = &status["state"]["terminated"];
    if ended.is_object() && ended["exitCode"].as_i64().unwrap_or(0) != 0 {
        let code = format!("exit code {}", ended["exitCode"]);
        let message = match text(&ended["message"]) {
            "" => code,
            said => format!("{code}: {said}"),
        };
        return Some(Trouble::new(text(&ended["reason"]), &message));
    }
    None
}

/// The first of the Pods with these labels that is in trouble, by name.
pub(super) async fn among(
    session: &Session,
    namespace: &str,
    labels: &str,
) -> Result<Option<(String, Trouble)>, RequestError> {
    let query = Query::default().with("labelSelector", labels);
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let list = session.get(&query.on(&path)).await?;
    let pods = list["items"].as_array().into_iter().flatten();
    let now = Timestamp::now();
    let name = |pod: &Value| text(&pod["metadata"]["name"]).to_owned();
    let named = |pod: &Value| of_old_pod(pod, now).map(|trouble| (name(pod), trouble));
    Ok(pods.filter_map(named).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_reason_and_what_ended_it_before_are_told() {
        let pod = json!({"status": {"phase": "Running", "containerStatuses": [{
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}});
        assert_eq!(of_pod(&pod).unwrap().to_string(), "CrashLoopBackOff: OOMKilled, exit code 137");
        let pod = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled",
            "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}});
        assert_eq!(of_pod(&pod).unwrap().reason, "Unschedulable");
    }

    #[test]
    fn a_pod_that_hangs_is_in_trouble_and_one_that_begins_is_not() {
        let pod = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}],
                "conditions": [{"type": "Ready", "status": "False", "message": "unready: [c]",
                    "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        });
        let at = |time: &str| of_old_pod(&pod, time.parse().unwrap());
        assert_eq!(at("2026-01-01T00:00:20Z"), None);
        assert_eq!(at("2026-01-01T00:01:00Z").unwrap().to_string(), "NotReady: unready: [c]");
    }

    #[test]
    fn what_runs_has_ended_well_or_just_begins_is_in_no_trouble() {
        for status in [
            json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}),
            json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}),
            json!({"phase": "Pending", "containerStatuses": [
                {"state": {"waiting": {"reason": "ContainerCreating"}}}]}),
        ] {
            assert_eq!(of_pod(&json!({"status": status})), None);
        }
    }
}
