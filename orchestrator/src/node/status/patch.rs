//! The smallest strategic merge patch from one status of a Pod to the next.
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::conditions::PASSING;

/// Fields whose lists are merged by a key, so that a shorter one must say so.
const MERGED: [&str; 2] = ["podIPs", "hostIPs"];

/// What turns `published` into `wanted`; `None` if nothing does.
///
/// The uid makes the API refuse it for another Pod of the same name.
pub(in crate::node) fn patch(
    pod: &Pod,
    published: &PodStatus,
    wanted: &PodStatus,
) -> Option<Value> {
    if published == wanted {
        return None;
    }
    let (before, after) = (fields(published), fields(wanted));
    let mut status = Map::new();
    for (name, value) in &after {
        if name != "conditions" && before.get(name) != Some(value) {
            status.insert(name.clone(), replaced(name, value));
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        status.insert(name.clone(), Value::Null);
    }
    let mut conditions: Vec<Value> =
        changed(published, wanted).iter().map(|condition| whole(condition)).collect();
    let has = |status: &PodStatus, type_: &str| {
        status.conditions.iter().flatten().any(|condition| condition.type_ == type_)
    };
    let gone =
        PASSING.into_iter().filter(|passing| has(published, passing) && !has(wanted, passing));
    conditions.extend(gone.map(|passing| json!({"$patch": "delete", "type": passing})));
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), json!(conditions));
    }
    if status.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// `published`, with the conditions of others as the API has them now.
pub(in crate::node) fn apply(published: &mut PodStatus, seen: &PodStatus) {
    let mut own = published.conditions.take().unwrap_or_default();
    // Others say of the Pods of a silent node that they are not ready; it sets that right.
    for condition in &mut own {
        let said = seen.conditions.iter().flatten().find(|said| said.type_ == condition.type_);
        let newer = said.filter(|said| {
            let time = |c: &PodCondition| c.last_transition_time.as_ref().map(|time| time.0);
            said.status != condition.status && time(said) > time(condition)
        });
        if let Some(newer) = newer {
            condition.clone_from(newer);
        }
    }
    let mut all: Vec<_> = own
        .into_iter()
        .filter(|c| {
            is_own(&c.type_) || seen.conditions.iter().flatten().any(|s| s.type_ == c.type_)
        })
        .collect();
    for condition in seen.conditions.iter().flatten().filter(|c| !is_own(&c.type_)) {
        match all.iter_mut().find(|known| known.type_ == condition.type_) {
            Some(known) => *known = condition.clone(),
            None => all.push(condition.clone()),
        }
    }
    published.conditions = Some(all);
    published.qos_class = seen.qos_class.clone().or(published.qos_class.take());
    published.nominated_node_name.clone_from(&seen.nominated_node_name);
}

fn is_own(type_: &str) -> bool {
    let own =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    own.contains(&type_) || PASSING.contains(&type_)
}

fn changed<'a>(published: &PodStatus, wanted: &'a PodStatus) -> Vec<&'a PodCondition> {
    let before: Vec<_> = published.conditions.iter().flatten().collect();
    wanted.conditions.iter().flatten().filter(|condition| !before.contains(condition)).collect()
}

/// A condition that says what it has not: in a merge by type, what is left out would stay.
fn whole(condition: &PodCondition) -> Value {
    let mut whole = json!(condition);
    for field in ["reason", "message"] {
        if whole.get(field).is_none() {
            whole[field] = Value::Null;
        }
    }
    whole
}

fn fields(status: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(status).expect("a status is JSON") {
        Value::Object(fields) => fields,
        other => unreachable!("a status is an object, not {other}"),
    }
}

fn replaced(name: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if MERGED.contains(&name) => {
            std::iter::once(json!({"$patch": "replace"})).chain(items.iter().cloned()).collect()
        }
        other => other.clone(),
    }
}
