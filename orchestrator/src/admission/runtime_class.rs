//! A Pod has the overhead, the node labels and the tolerations of its runtime class.
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::spec::{name_of, spec_of, text};
use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object, ObjectKey};

/// The rule.
pub struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.action == Action::Create && request.is_for("", "pods")
    }

    async fn mutate(
        &self,
        request: &Request<'_>,
        pod: &mut Object,
        others: &Others,
    ) -> Result<(), ApiError> {
        let name = name_of(pod);
        let Some(spec) = spec_of(pod) else { return Ok(()) };
        let Some(class) = text(spec, "runtimeClassName") else {
            return no_overhead(spec).map_err(|why| request.forbidden(&name, why));
        };
        let key = ObjectKey::cluster(class);
        let Some(found) = others.get("node.k8s.io", "v1", "runtimeclasses", &key).await? else {
            let why = format!("pod rejected: RuntimeClass {class:?} not found");
            return Err(request.forbidden(&name, why));
        };
        take_after(spec, &found.body).map_err(|why| request.forbidden(&name, why))
    }
}

fn no_overhead(spec: &Map<String, Value>) -> Result<(), String> {
    match spec.get("overhead").and_then(Value::as_object) {
        Some(overhead) if !overhead.is_empty() => Err(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                .into(),
        ),
        _ => Ok(()),
    }
}

/// Gives the Pod what its class says.
fn take_after(spec: &mut Map<String, Value>, class: &Map<String, Value>) -> Result<(), String> {
    match class.get("overhead").and_then(|overhead| overhead.get("podFixed")) {
        None => no_overhead(spec)?,
        Some(overhead) => match spec.get("overhead").filter(|own| own.is_object()) {
            Some(own) if own != overhead => {
                return Err(
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                        .into(),
                );
            }
            _ => {
                spec.insert("overhead".into(), overhead.clone());
            }
        },
    }
    let Some(scheduling) = class.get("scheduling") else { return Ok(()) };
    if let Some(labels) = scheduling.get("nodeSelector").and_then(Value::as_object) {
        let selector = spec.entry("nodeSelector").or_insert_with(|| json!({}));
        let selector = selector.as_object_mut().ok_or("nodeSelector is no map")?;
        for (key, value) in labels {
            let own = selector.entry(key).or_insert_with(|| value.clone());
            if own != value {
                let (own, value) = (own.as_str().unwrap_or_default(), value.as_str());
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {own}",
                    value.unwrap_or_default()
                ));
            }
        }
    }
    if let Some(more) = scheduling.get("tolerations").and_then(Value::as_array) {
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        let tolerations = tolerations.as_array_mut().ok_or("tolerations are no list")?;
        for toleration in more {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_pod_takes_after_its_runtime_class() {
        let class = map(json!({
            "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu"}]},
        }));
        let mut spec = map(json!({"nodeSelector": {"zone": "a"}}));
        take_after(&mut spec, &class).unwrap();
        assert_eq!(spec["overhead"], json!({"cpu": "10m"}));
        assert_eq!(spec["nodeSelector"], json!({"zone": "a", "gpu": "yes"}));
        assert_eq!(spec["tolerations"], json!([{"key": "gpu"}]));
        let mut other = map(json!({"nodeSelector": {"gpu": "no"}}));
        assert_eq!(
            take_after(&mut other, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[gpu] = yes; pod.spec.nodeSelector[gpu] = no"
        );
    }

    #[test]
    fn overhead_comes_from_a_class_alone() {
        let mut spec = map(json!({"overhead": {"cpu": "1"}}));
        assert!(no_overhead(&spec).is_err());
        assert!(take_after(&mut spec, &map(json!({}))).is_err());
        let class = map(json!({"overhead": {"podFixed": {"cpu": "2"}}}));
        assert!(take_after(&mut spec, &class).unwrap_err().contains("doesn't match"));
    }
}
