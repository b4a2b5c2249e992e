//! `pods/eviction`: a deletion that its disruption budget allows.
//!
//! The budget is charged before the Pod is deleted: its `disruptedPods` says
//! so to the controller until that has seen the deletion.
use axum::body::Body;
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    Condition, DeleteOptions, Preconditions, Time,
};
use serde_json::{Value, json};

use crate::api::{ApiError, GroupResource, Object, ObjectKey, whole_seconds};
use crate::apis::checks::selects;
use crate::server::body;
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{Reply, Served};
use crate::server::path::ResourcePath;
use crate::server::query::WriteOptions;
use crate::server::verbs;
use crate::server::write::{self, Part};
use crate::storage::ListQuery;

/// Evictions that a budget's controller may have yet to see, as in Kubernetes.
const DISRUPTED_MAX: usize = 2000;

/// Seconds a client waits for the controller of a budget to have looked at it.
const UNPROCESSED: u32 = 10;

/// How often an eviction is tried again after somebody else wrote to the Pod.
const ATTEMPTS: usize = 10;

const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Deletes a Pod, if its disruption budget allows.
pub async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let query = WriteOptions::parse(call.query, "CreateOptions")?;
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let eviction: Eviction = serde_json::from_value(document.value)
        .map_err(|error| ApiError::BadRequest(format!("Eviction cannot be decoded: {error}")))?;
    if eviction.metadata.name.as_deref().is_some_and(|name| name != call.path.name) {
        let why = "name in URL does not match name in Eviction object";
        return Err(ApiError::BadRequest(why.into()));
    }
    let mut options = eviction.delete_options.unwrap_or_default();
    let dry_run = query.dry_run || options.dry_run.iter().flatten().any(|value| value == "All");
    if dry_run {
        options.dry_run = Some(vec!["All".into()]);
    }
    let mut charged = false;
    for _ in 0..ATTEMPTS {
        let pod = pod(call).await?;
        check_preconditions(call, &pod, &options)?;
        let wish = if ignores_budget(&pod) {
            options.clone()
        } else {
            match guarded(call, &pod, dry_run, &mut charged).await? {
                Pinned::Yes => pinned(&pod, &options),
                Pinned::No => options.clone(),
            }
        };
        match delete(call, &pod, wish, dry_run).await {
            Ok(()) => return Ok(success()),
            // Somebody wrote to the Pod: what was decided of it may no longer hold.
            Err(ApiError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let why = format!("couldn't evict Pod {:?} due to conflicts", call.path.name);
    Err(ApiError::Timeout(why))
}

/// Whether the deletion holds only for the Pod as it was looked at.
enum Pinned {
    Yes,
    No,
}

async fn pod(call: &Call<'_>) -> Result<Pod, ApiError> {
    let stored = call.server.storage().get(call.row, &call.key()).await;
    let stored = stored.map_err(|error| storage_error(call.row, &call.path.name, error))?;
    Ok(stored.object()?.decode()?)
}

/// The uid that the client has in mind is looked at before a budget is charged.
fn check_preconditions(call: &Call<'_>, pod: &Pod, wish: &DeleteOptions) -> Result<(), ApiError> {
    let wanted = wish.preconditions.as_ref().and_then(|conditions| conditions.uid.as_ref());
    match (wanted, &pod.metadata.uid) {
        (Some(wanted), Some(uid)) if wanted != uid => {
            let why = format!(
                "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            );
            Err(call.conflict(&call.path.name, why))
        }
        _ => Ok(()),
    }
}

/// A Pod that does not run yet, has ended or is on its way out disrupts nothing.
fn ignores_budget(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some()
        || matches!(phase, Some("Succeeded" | "Failed" | "Pending"))
}

/// Asks the Pod's budget, and charges it.
async fn guarded(
    call: &Call<'_>,
    pod: &Pod,
    dry_run: bool,
    charged: &mut bool,
) -> Result<Pinned, ApiError> {
    if *charged {
        return Ok(Pinned::No);
    }
    let mut budgets = budgets(call, pod).await?;
    if budgets.len() > 1 {
        return Err(ApiError::Unsupported(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".into(),
        ));
    }
    let Some(budget) = budgets.pop() else { return Ok(Pinned::No) };
    if !is_ready(pod) && unready_may_go(&budget) {
        return Ok(Pinned::Yes);
    }
    charge(call, &budget, dry_run).await?;
    *charged = true;
    Ok(Pinned::No)
}

async fn budgets(call: &Call<'_>, pod: &Pod) -> Result<Vec<PodDisruptionBudget>, ApiError> {
    let Some(row) = call.server.table().get("policy", "v1", "poddisruptionbudgets") else {
        return Ok(Vec::new());
    };
    let query = ListQuery { namespace: Some(call.path.namespace.clone()), ..ListQuery::default() };
    let page = call.server.storage().list(row, &query).await;
    let page = page.map_err(|error| storage_error(row, "", error))?;
    let mut found = Vec::new();
    for stored in &page.items {
        let budget: PodDisruptionBudget = stored.object()?.decode()?;
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if selector.is_some_and(|selector| selects(selector, pod.metadata.labels.as_ref())) {
            found.push(budget);
        }
    }
    Ok(found)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a Pod that is not ready may go uncharged.
fn unready_may_go(budget: &PodDisruptionBudget) -> bool {
    let policy =
        budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let status = budget.status.clone().unwrap_or_default();
    policy == Some("AlwaysAllow")
        || status.current_healthy >= status.desired_healthy && status.desired_healthy > Some(0)
}

/// Takes one disruption from the budget.
async fn charge(
    call: &Call<'_>,
    budget: &PodDisruptionBudget,
    dry_run: bool,
) -> Result<(), ApiError> {
    let name = budget.metadata.name.clone().unwrap_or_default();
    let row = call.server.table().get("policy", "v1", "poddisruptionbudgets");
    let row = row.ok_or(ApiError::NoSuchPath)?.clone();
    let path = ResourcePath {
        group: "policy".into(),
        version: "v1".into(),
        namespace: call.path.namespace.clone(),
        resource: "poddisruptionbudgets".into(),
        name,
        subresource: "status".into(),
        tail: String::new(),
    };
    let mut on_budget = Call {
        server: call.server,
        row: &row,
        user: call.user,
        path: &path,
        query: call.query,
        headers: call.headers,
        warnings: Vec::new(),
    };
    let (pod, now) = (call.path.name.as_str(), call.server.now());
    let options = WriteOptions { dry_run, ..WriteOptions::default() };
    let charged = write::update(&mut on_budget, Part::Unchecked, &options, |old| {
        let budget: PodDisruptionBudget = old.decode()?;
        let status = charged(&budget, pod, now)?;
        let mut new: Object = old.clone();
        new.metadata.resource_version = None;
        new.body.insert("status".into(), json!(status));
        Ok(new.into())
    });
    match charged.await {
        Ok(_) => Ok(()),
        Err(ApiError::Conflict { .. }) => Err(ApiError::Timeout(format!(
            "couldn't update PodDisruptionBudget {:?} due to conflicts",
            path.name
        ))),
        Err(error) => Err(error),
    }
}

/// The status of a budget after one more disruption, or why there may be none.
fn charged(
    budget: &PodDisruptionBudget,
    pod: &str,
    now: Timestamp,
) -> Result<PodDisruptionBudgetStatus, ApiError> {
    let name = budget.metadata.name.as_deref().unwrap_or_default();
    let mut status = budget.status.clone().unwrap_or_default();
    let refuse = |retry_after, why: String| ApiError::TooManyRequests {
        message: VIOLATED.into(),
        retry_after,
        cause: Some(("DisruptionBudget", why)),
    };
    let forbid = |why: &str| {
        let resource =
            GroupResource { group: "policy".into(), resource: "poddisruptionbudget".into() };
        let message = format!("{resource} {name:?} is forbidden: {why}");
        ApiError::Forbidden { resource, name: name.to_owned(), message }
    };
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refuse(UNPROCESSED, why));
    }
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if allowed < 0 {
        return Err(forbid("pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return Err(forbid(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(refuse(0, no_disruption(name, &status)));
    }
    status.disrupted_pods.get_or_insert_default().insert(pod.to_owned(), Time(now));
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        exhausted(&mut status, now);
    }
    Ok(status)
}

fn no_disruption(name: &str, status: &PodDisruptionBudgetStatus) -> String {
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionAllowed");
    match condition.filter(|c| c.status == "False" && c.reason == "SyncFailed") {
        Some(failed) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            failed.message
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy.unwrap_or(0),
            status.current_healthy.unwrap_or(0)
        ),
    }
}

fn exhausted(status: &mut PodDisruptionBudgetStatus, now: Timestamp) {
    let observed = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: "False".into(),
        reason: "InsufficientPods".into(),
        message: String::new(),
        observed_generation: observed,
        last_transition_time: Time(whole_seconds(now)),
    };
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) if old.status == new.status => old.reason = new.reason,
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// The options, for the Pod as it was looked at alone.
fn pinned(pod: &Pod, options: &DeleteOptions) -> DeleteOptions {
    let preconditions = Preconditions {
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
    };
    DeleteOptions { preconditions: Some(preconditions), ..options.clone() }
}

/// Says in the Pod's status why it goes, then deletes it.
async fn delete(
    call: &mut Call<'_>,
    pod: &Pod,
    mut wish: DeleteOptions,
    dry_run: bool,
) -> Result<(), ApiError> {
    let options = WriteOptions { dry_run, ..WriteOptions::default() };
    if !dry_run && pod.metadata.deletion_timestamp.is_none() {
        let pinned = wish.preconditions.as_ref().and_then(|p| p.resource_version.clone());
        let (uid, now) = (pod.metadata.uid.clone(), call.server.now());
        let written = write::update(call, Part::Unchecked, &options, |old| {
            let mut new = with_target(old.clone(), now);
            new.metadata.resource_version.clone_from(&pinned);
            Ok(new.into())
        });
        let written: Served = written.await?;
        // The condition was our own write.
        let preconditions = wish.preconditions.get_or_insert_default();
        preconditions.uid = preconditions.uid.take().or(uid);
        if preconditions.resource_version.is_some() {
            preconditions.resource_version = written.object()?.metadata.resource_version;
        }
    }
    let key = ObjectKey::new(call.path.namespace.as_str(), call.path.name.as_str());
    verbs::delete_with(call, &key, wish).await
}

fn with_target(mut pod: Object, now: Timestamp) -> Object {
    let status = pod.body.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return pod };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return pod };
    let is = |condition: &Value| condition.get("type") == Some(&json!("DisruptionTarget"));
    if conditions.iter().any(|c| is(c) && c.get("status") == Some(&json!("True"))) {
        return pod;
    }
    conditions.retain(|condition| !is(condition));
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }));
    pod
}

fn success() -> Reply {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Reply::Status(StatusCode::CREATED, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> PodDisruptionBudget {
        let metadata = json!({"name": "web", "generation": 2});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T04:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn an_eviction_is_charged_until_nothing_is_left() {
        let left = budget(json!({
            "observedGeneration": 2, "disruptionsAllowed": 1, "currentHealthy": 3,
            "desiredHealthy": 2, "expectedPods": 3,
        }));
        let status = charged(&left, "web-1", now()).unwrap();
        assert_eq!(status.disruptions_allowed, Some(0));
        assert!(status.disrupted_pods.as_ref().unwrap().contains_key("web-1"));
        assert_eq!(status.conditions.as_ref().unwrap()[0].reason, "InsufficientPods");
        let empty = PodDisruptionBudget { status: Some(status), ..left };
        let refused = charged(&empty, "web-2", now()).unwrap_err().to_status();
        assert_eq!(refused["code"], 429);
        assert_eq!(
            refused["details"]["causes"][0],
            json!({
                "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 2 healthy pods and has 3 currently",
            })
        );
    }

    #[test]
    fn a_budget_that_was_not_looked_at_yet_allows_nothing() {
        let unseen = budget(json!({"observedGeneration": 1, "disruptionsAllowed": 5,
            "currentHealthy": 5, "desiredHealthy": 0, "expectedPods": 5}));
        let refused = charged(&unseen, "web-1", now()).unwrap_err();
        assert_eq!(refused.retry_after(), Some(10));
        assert_eq!(refused.to_string(), VIOLATED);
    }

    #[test]
    fn pods_that_do_not_run_ask_no_budget() {
        let pod =
            |phase: &str| serde_json::from_value(json!({"status": {"phase": phase}})).unwrap();
        assert!(ignores_budget(&pod("Pending")) && ignores_budget(&pod("Failed")));
        assert!(!ignores_budget(&pod("Running")));
    }
}
