//! The status of a Deployment: counts and the conditions that `kubectl rollout status` reads.
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::sets::{self, available, existing, wanted};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of a finished rollout.
const FINISHED: &str = "NewReplicaSetAvailable";
/// The reason of a rollout that takes too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What a pass did about the new replica set.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It was there.
    Found(String),
    /// It was created.
    Created(String),
    /// It could not be created, with the server's words.
    Failed(String, String),
}

/// What the status is made of.
pub struct Seen<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its replica sets.
    pub sets: &'a [Arc<ReplicaSet>],
    /// What happened to the new one.
    pub happened: Option<Happened>,
    /// Whether progress is judged.
    pub rolls_out: bool,
    /// Now.
    pub now: Timestamp,
}

/// Whether all Pods are new and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = wanted(deployment);
    let count = |count: Option<i32>| count.unwrap_or(0) == wanted;
    count(status.updated_replicas)
        && count(status.replicas)
        && count(status.available_replicas)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

/// Whether two statuses say the same; an absent count is zero.
pub fn same(one: &DeploymentStatus, other: &DeploymentStatus) -> bool {
    let counts = |s: &DeploymentStatus| {
        [
            s.replicas,
            s.updated_replicas,
            s.ready_replicas,
            s.available_replicas,
            s.unavailable_replicas,
            s.terminating_replicas,
            s.collision_count,
        ]
        .map(|count| count.unwrap_or(0))
    };
    let conditions = |s: &DeploymentStatus| s.conditions.clone().unwrap_or_default();
    counts(one) == counts(other)
        && one.observed_generation == other.observed_generation
        && conditions(one) == conditions(other)
}

impl Seen<'_> {
    /// The status.
    pub fn status(&self) -> DeploymentStatus {
        let new = sets::find_new(self.deployment, self.sets).map(|at| &*self.sets[at]);
        let mut status = self.counts(new);
        let mut conditions =
            Conditions { list: self.old().conditions.clone().unwrap_or_default(), now: self.now };
        self.judge_pause(&mut conditions);
        self.judge_creation(&mut conditions);
        self.judge_availability(&status, &mut conditions);
        if self.rolls_out {
            self.judge_progress(&status, new, &mut conditions);
            self.copy_failure(new, &mut conditions);
        }
        status.conditions = Some(conditions.list);
        status
    }

    /// How long until a rollout that stands still takes too long.
    pub fn until_deadline(&self, status: &DeploymentStatus) -> Option<Duration> {
        let deadline = self.deadline()?;
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let progressing = conditions.iter().find(|c| c.type_ == PROGRESSING)?;
        // A rollout that was finished or timed out cannot time out any more.
        let is_over = matches!(progressing.reason.as_deref(), Some(FINISHED | TIMED_OUT));
        if is_over || is_complete(self.deployment, status) {
            return None;
        }
        let due = progressing.last_update_time.as_ref()?.0 + deadline;
        let wait = Duration::try_from(due.duration_since(self.now)).unwrap_or_default();
        // A second more: times in conditions are whole seconds.
        Some(wait + Duration::from_secs(1))
    }

    fn old(&self) -> DeploymentStatus {
        self.deployment.status.clone().unwrap_or_default()
    }

    /// `progressDeadlineSeconds`, unless it is switched off.
    fn deadline(&self) -> Option<SignedDuration> {
        let seconds = self.deployment.spec.as_ref()?.progress_deadline_seconds?;
        (seconds != i32::MAX).then(|| SignedDuration::from_secs(i64::from(seconds)))
    }

    fn counts(&self, new: Option<&ReplicaSet>) -> DeploymentStatus {
        let sum = |count: fn(&ReplicaSet) -> i32| self.sets.iter().map(|set| count(set)).sum();
        let total: i32 = sum(sets::size);
        let available: i32 = sum(available);
        let ready =
            |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
        let terminating: Option<i32> = self
            .sets
            .iter()
            .map(|set| set.status.as_ref().and_then(|status| status.terminating_replicas))
            .sum();
        let nonzero = |count: i32| (count != 0).then_some(count);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: nonzero(sum(existing)),
            updated_replicas: nonzero(new.map_or(0, existing)),
            ready_replicas: nonzero(sum(ready)),
            available_replicas: nonzero(available),
            unavailable_replicas: nonzero((total - available).max(0)),
            terminating_replicas: terminating,
            collision_count: self.old().collision_count,
            conditions: None,
        }
    }

    /// A pause stops the clock of the deadline; it is told so.
    fn judge_pause(&self, conditions: &mut Conditions) {
        if self.deadline().is_none() {
            return;
        }
        let reason = conditions.reason(PROGRESSING);
        if reason.as_deref() == Some(TIMED_OUT) {
            return;
        }
        let known = reason.as_deref() == Some(PAUSED);
        let paused = self.deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
        if paused && !known {
            conditions.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into());
        } else if !paused && known {
            let told = "Deployment is resumed".into();
            conditions.set(PROGRESSING, "Unknown", "DeploymentResumed", told);
        }
    }

    fn judge_creation(&self, conditions: &mut Conditions) {
        if self.deadline().is_none() {
            return;
        }
        match &self.happened {
            Some(Happened::Created(name)) => {
                let told = format!("Created new replica set {name:?}");
                conditions.set(PROGRESSING, "True", "NewReplicaSetCreated", told);
            }
            Some(Happened::Found(name)) if conditions.reason(PROGRESSING).is_none() => {
                let told = format!("Found new replica set {name:?}");
                conditions.set(PROGRESSING, "True", "FoundNewReplicaSet", told);
            }
            Some(Happened::Failed(name, why)) => {
                let told = format!("Failed to create new replica set {name:?}: {why}");
                conditions.set(PROGRESSING, "False", "ReplicaSetCreateError", told);
            }
            Some(Happened::Found(_)) | None => {}
        }
    }

    fn judge_availability(&self, status: &DeploymentStatus, conditions: &mut Conditions) {
        let minimum = wanted(self.deployment) - sets::max_unavailable(self.deployment);
        if status.available_replicas.unwrap_or(0) >= minimum {
            let told = "Deployment has minimum availability.".into();
            conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", told);
        } else {
            let told = "Deployment does not have minimum availability.".into();
            conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", told);
        }
    }

    fn judge_progress(
        &self,
        status: &DeploymentStatus,
        new: Option<&ReplicaSet>,
        conditions: &mut Conditions,
    ) {
        let Some(deadline) = self.deadline() else {
            conditions.remove(PROGRESSING);
            return;
        };
        let reason = conditions.reason(PROGRESSING);
        let all_new = status.replicas == status.updated_replicas;
        if (all_new && reason.as_deref() == Some(FINISHED))
            || matches!(self.happened, Some(Happened::Failed(..)))
        {
            return;
        }
        let who = match new.and_then(|set| set.metadata.name.as_deref()) {
            Some(name) => format!("ReplicaSet {name:?}"),
            None => {
                format!(
                    "Deployment {:?}",
                    self.deployment.metadata.name.as_deref().unwrap_or_default()
                )
            }
        };
        if is_complete(self.deployment, status) {
            let told = format!("{who} has successfully progressed.");
            conditions.set(PROGRESSING, "True", FINISHED, told);
        } else if self.has_progressed(status) {
            let told = format!("{who} is progressing.");
            conditions.renew(PROGRESSING, "True", "ReplicaSetUpdated", told);
        } else if conditions.is_older(PROGRESSING, deadline)
            && !matches!(reason.as_deref(), Some(FINISHED | TIMED_OUT))
        {
            let told = format!("{who} has timed out progressing.");
            conditions.set(PROGRESSING, "False", TIMED_OUT, told);
        }
    }

    fn has_progressed(&self, new: &DeploymentStatus) -> bool {
        let old = self.old();
        let count = |count: Option<i32>| count.unwrap_or(0);
        let outdated = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
        count(new.updated_replicas) > count(old.updated_replicas)
            || outdated(new) < outdated(&old)
            || count(new.ready_replicas) > count(old.ready_replicas)
            || count(new.available_replicas) > count(old.available_replicas)
    }

    /// A set that cannot create its Pods is the Deployment's trouble too.
    fn copy_failure(&self, new: Option<&ReplicaSet>, conditions: &mut Conditions) {
        let failure = |set: &ReplicaSet| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
        };
        let found = new.and_then(failure).or_else(|| self.sets.iter().find_map(|set| failure(set)));
        match found {
            None => conditions.remove(REPLICA_FAILURE),
            Some(found) => conditions.set(
                REPLICA_FAILURE,
                &found.status,
                found.reason.as_deref().unwrap_or_default(),
                found.message.unwrap_or_default(),
            ),
        }
    }
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == type_)
    }

    fn reason(&self, type_: &str) -> Option<String> {
        self.get(type_)?.reason.clone()
    }

    fn remove(&mut self, type_: &str) {
        self.list.retain(|condition| condition.type_ != type_);
    }

    /// Sets a condition, unless it says so already.
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let known = self.get(type_);
        if !known.is_some_and(|c| c.status == status && c.reason.as_deref() == Some(reason)) {
            self.renew(type_, status, reason, message);
        }
    }

    /// Sets a condition and the time of its update.
    fn renew(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        // As the API writes it: a status that is read back must be equal.
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let since = self.get(type_).filter(|c| c.status == status);
        let since = since.and_then(|c| c.last_transition_time.clone());
        self.remove(type_);
        self.list.push(DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        });
    }

    fn is_older(&self, type_: &str, than: SignedDuration) -> bool {
        let updated = self.get(type_).and_then(|condition| condition.last_update_time.as_ref());
        updated.is_some_and(|updated| updated.0 + than < self.now)
    }
}
