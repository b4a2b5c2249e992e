//! How far a rollout is: read from the Deployment alone.
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cli::say;
use crate::cli::session::Session;
use crate::cli::targets::get_one;
use crate::client::Served;

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Progress {
    /// Not there yet, and why.
    Going(String),
    /// Every replica is of the newest version and available.
    Done,
    /// It took longer than `progressDeadlineSeconds`.
    Failed,
}

/// How far the rollout of a Deployment is.
pub(in crate::cli) fn progress_of(name: &str, deployment: &Value) -> Progress {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let observed = count("observedGeneration");
    if observed < deployment["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Progress::Going("Waiting for deployment spec update to be observed...".into());
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut progressing = conditions.filter(|condition| condition["type"] == "Progressing");
    if progressing.any(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Progress::Failed;
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (updated, all) = (count("updatedReplicas"), count("replicas"));
    let available = count("availableReplicas");
    let going = |what: String| {
        Progress::Going(format!("Waiting for deployment {name:?} rollout to finish: {what}..."))
    };
    if updated < wanted {
        going(format!("{updated} out of {wanted} new replicas have been updated"))
    } else if all > updated {
        going(format!("{} old replicas are pending termination", all - updated))
    } else if available < updated {
        going(format!("{available} of {updated} updated replicas are available"))
    } else {
        Progress::Done
    }
}

/// Says how far it is until it is done.
pub(super) async fn wait(
    session: &Session,
    served: &Served,
    name: &str,
    once: bool,
    timeout: Option<Duration>,
) -> Result<()> {
    if served.kind != "Deployment" {
        bail!("{} has no rollout status; only Deployments have", served.slashed(name));
    }
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut said = String::new();
    loop {
        let deployment = get_one(session, served, name).await?;
        let going = match progress_of(name, &deployment) {
            Progress::Going(what) => what,
            Progress::Done => {
                return say(&format!("deployment {name:?} successfully rolled out\n"));
            }
            Progress::Failed => {
                bail!(
                    "deployment {name:?} exceeded its progress deadline; `podium describe deployment {name}` says why"
                )
            }
        };
        if going != said {
            say(&format!("{going}\n"))?;
            said = going;
        }
        if once {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!(
                "deployment {name:?} is not rolled out after {:?}; `podium describe deployment {name}` says why",
                timeout.unwrap_or_default()
            );
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(status: Value) -> Progress {
        let deployment =
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status});
        progress_of("web", &deployment)
    }

    #[test]
    fn a_rollout_is_done_when_every_replica_is_new_and_available() {
        let going = |status, part: &str| match at(status) {
            Progress::Going(what) => assert!(what.contains(part), "{what}"),
            other => panic!("{other:?}"),
        };
        going(json!({"observedGeneration": 1}), "spec update to be observed");
        going(
            json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 3}),
            "1 out of 3 new",
        );
        going(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
            "1 old replicas",
        );
        going(
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
            "2 of 3 updated replicas are available",
        );
        let done = json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3});
        assert_eq!(at(done), Progress::Done);
    }

    #[test]
    fn a_deadline_that_passed_is_a_failure() {
        let conditions = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
        assert_eq!(
            at(json!({"observedGeneration": 2, "conditions": conditions})),
            Progress::Failed
        );
    }
}
