//! A Pod's priority is that of its class; at most one class is the default, and the
//! cluster's own classes stay.
use async_trait::async_trait;
use serde_json::{Value, json};

use super::spec::{name_of, spec_of, text};
use super::{Action, Others, Plugin, Request};
use crate::api::{ApiError, Object, ObjectKey};

/// What the priority of a Pod is without any class.
const PRIORITY: i64 = 0;
/// What a class does that does not say.
const PREEMPT: &str = "PreemptLowerPriority";

/// What the names of the cluster's own classes begin with; nobody else can make such.
const SYSTEM_PREFIX: &str = "system-";

/// The rule.
pub struct Priority;

/// A class, as far as Pods take after it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    name: String,
    value: i64,
    policy: String,
}

impl Class {
    fn of(object: &Object) -> Self {
        let policy = object.body.get("preemptionPolicy").and_then(Value::as_str);
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            value: object.body.get("value").and_then(Value::as_i64).unwrap_or(PRIORITY),
            policy: policy.unwrap_or(PREEMPT).to_owned(),
        }
    }
}

#[async_trait]
impl Plugin for Priority {
    fn handles(&self, request: &Request<'_>) -> bool {
        let pods = request.is_for("", "pods");
        let classes = request.is_for("scheduling.k8s.io", "priorityclasses");
        classes || (pods && request.action != Action::Delete)
    }

    async fn mutate(
        &self,
        request: &Request<'_>,
        pod: &mut Object,
        others: &Others,
    ) -> Result<(), ApiError> {
        if !request.is_for("", "pods") {
            return Ok(());
        }
        if let Some(old) = request.old {
            keep(pod, old);
            return Ok(());
        }
        let named = spec_of(pod).and_then(|spec| text(spec, "priorityClassName"));
        let class = match named.map(str::to_owned) {
            Some(name) => {
                let key = ObjectKey::cluster(name.as_str());
                let found = others.get("scheduling.k8s.io", "v1", "priorityclasses", &key).await?;
                let Some(found) = found else {
                    let why = format!("no PriorityClass with name {name} was found");
                    return Err(request.forbidden(&name_of(pod), why));
                };
                Some(Class::of(&found))
            }
            None => default_class(others).await?,
        };
        let name = name_of(pod);
        set(pod, class.as_ref()).map_err(|why| request.forbidden(&name, why))
    }

    async fn validate(
        &self,
        request: &Request<'_>,
        class: Option<&Object>,
        others: &Others,
    ) -> Result<(), ApiError> {
        if request.action == Action::Delete && request.name.starts_with(SYSTEM_PREFIX) {
            let why = "this is a system priority class and cannot be deleted";
            return Err(request.forbidden(request.name, why));
        }
        let Some(class) = class.filter(|_| !request.is_for("", "pods")) else { return Ok(()) };
        if class.body.get("globalDefault") != Some(&json!(true)) {
            return Ok(());
        }
        match default_class(others).await? {
            Some(other) if Some(&other.name) != class.metadata.name.as_ref() => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name
                );
                Err(request.forbidden(&name_of(class), why))
            }
            _ => Ok(()),
        }
    }
}

/// The class of Pods that name none; of several, which only a race can make, the least.
async fn default_class(others: &Others) -> Result<Option<Class>, ApiError> {
    let all = others.list("scheduling.k8s.io", "v1", "priorityclasses", None).await?;
    let defaults = all.iter().filter(|c| c.body.get("globalDefault") == Some(&json!(true)));
    Ok(defaults.map(Class::of).min_by_key(|class| class.value))
}

/// A change that leaves the priority out does not take it away.
fn keep(pod: &mut Object, old: &Object) {
    let Some(spec) = spec_of(pod) else { return };
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.body.get("spec").and_then(|spec| spec.get(field))
            && spec.get(field).is_none_or(Value::is_null)
        {
            spec.insert(field.into(), value.clone());
        }
    }
}

/// Gives a Pod the priority of its class, or says what it may not say itself.
fn set(pod: &mut Object, class: Option<&Class>) -> Result<(), String> {
    let Some(spec) = spec_of(pod) else { return Ok(()) };
    let (value, policy) = class.map_or((PRIORITY, PREEMPT), |c| (c.value, c.policy.as_str()));
    if let Some(given) = spec.get("priority").and_then(Value::as_i64).filter(|g| *g != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    if let Some(given) =
        spec.get("preemptionPolicy").and_then(Value::as_str).filter(|g| *g != policy)
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec.insert("priority".into(), json!(value));
    spec.insert("preemptionPolicy".into(), json!(policy));
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), json!(class.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
    }

    fn class() -> Class {
        Class::of(
            &Object::from_value(json!({"metadata": {"name": "high"}, "value": 1000})).unwrap(),
        )
    }

    #[test]
    fn a_pod_takes_after_its_class() {
        let mut one = pod(json!({"priorityClassName": "high"}));
        set(&mut one, Some(&class())).unwrap();
        assert_eq!(
            one.body["spec"],
            json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": PREEMPT})
        );
        let mut none = pod(json!({}));
        set(&mut none, None).unwrap();
        assert_eq!(none.body["spec"], json!({"priority": 0, "preemptionPolicy": PREEMPT}));
    }

    #[test]
    fn a_pod_does_not_choose_its_own_priority() {
        let why = set(&mut pod(json!({"priority": 5})), Some(&class())).unwrap_err();
        assert!(why.starts_with("the integer value of priority (5) must not be provided"), "{why}");
        let never = json!({"preemptionPolicy": "Never"});
        let why = set(&mut pod(never), Some(&class())).unwrap_err();
        assert!(why.contains("computed PreemptLowerPriority from"), "{why}");
    }

    #[test]
    fn an_update_that_leaves_it_out_keeps_it() {
        let old = pod(json!({"priority": 7, "preemptionPolicy": "Never"}));
        let mut new = pod(json!({}));
        keep(&mut new, &old);
        assert_eq!(new.body["spec"], old.body["spec"]);
    }
}
