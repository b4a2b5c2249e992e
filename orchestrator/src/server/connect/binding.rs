//! `pods/binding`: the scheduler says on which node a Pod runs.
use axum::body::Body;
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Binding;
use serde_json::{Value, json};

use crate::api::{ApiError, GroupResource, Object, whole_seconds};
use crate::server::body;
use crate::server::call::Call;
use crate::server::output::Reply;
use crate::server::query::WriteOptions;
use crate::server::write::{self, Part};

/// Binds a Pod to a node, once.
pub async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let binding: Binding = serde_json::from_value(document.value)
        .map_err(|error| ApiError::BadRequest(format!("Binding cannot be decoded: {error}")))?;
    let node = binding.target.name.clone().unwrap_or_default();
    if node.is_empty() || binding.target.kind.as_deref().is_some_and(|kind| kind != "Node") {
        return Err(ApiError::BadRequest(
            "target: Required value: a Pod is bound to a Node by its name".into(),
        ));
    }
    let now = call.server.now();
    let name = call.path.name.clone();
    let resource = call.row.group_resource();
    // As in Kubernetes, what the Pod itself forbids is a conflict of the subresource.
    let taken = GroupResource { resource: "pods/binding".into(), ..resource.clone() };
    write::update(call, Part::Unchecked, &options, |old| {
        let expected = binding.metadata.uid.as_ref();
        if expected.is_some_and(|uid| Some(uid) != old.metadata.uid.as_ref()) {
            let why = "Precondition failed: the UIDs differ".into();
            return Err(ApiError::Conflict { resource: resource.clone(), name: name.clone(), why });
        }
        if let Some(why) = refusal(&name, old) {
            return Err(ApiError::Conflict { resource: taken.clone(), name: name.clone(), why });
        }
        let mut new = bind(old.clone(), &node, now);
        new.metadata.resource_version.clone_from(&binding.metadata.resource_version);
        if let Some(annotations) = &binding.metadata.annotations {
            new.metadata.annotations.get_or_insert_default().extend(annotations.clone());
        }
        Ok(new.into())
    })
    .await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(Reply::Status(StatusCode::CREATED, status))
}

/// Why a Pod is not bound, if it may not be.
fn refusal(name: &str, pod: &Object) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let spec = pod.body.get("spec")?;
    let bound = spec.get("nodeName").and_then(Value::as_str).unwrap_or_default();
    if !bound.is_empty() {
        return Some(format!("pod {name} is already assigned to node {bound:?}"));
    }
    let gates = spec.get("schedulingGates").and_then(Value::as_array);
    let gated = gates.is_some_and(|gates| !gates.is_empty());
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
}

fn bind(mut pod: Object, node: &str, now: Timestamp) -> Object {
    let spec = pod.body.entry("spec").or_insert_with(|| json!({}));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("nodeName".into(), json!(node));
    }
    let status = pod.body.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return pod };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return pod };
    conditions.retain(|condition| condition.get("type") != Some(&json!("PodScheduled")));
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": whole_seconds(now).to_string(),
    }));
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binding_replaces_the_condition_that_says_why_it_was_not_scheduled() {
        let pod = json!({"spec": {}, "status": {"conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
        ]}});
        let now = "2026-11-21T04:00:00.5Z".parse().unwrap();
        let bound = bind(Object::from_value(pod).unwrap(), "n1", now);
        assert_eq!(bound.body["spec"]["nodeName"], "n1");
        let conditions = bound.body["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["status"], "True");
        assert_eq!(conditions[1]["lastTransitionTime"], "2026-11-21T04:00:00Z");
    }
}
