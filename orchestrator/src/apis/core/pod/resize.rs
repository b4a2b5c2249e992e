//! What of a Pod the subresource `resize` may change: CPU and memory of its containers.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quality;
use crate::api::{FieldErrors, FieldPath, is_sidecar};
use crate::apis::checks::{forbidden, invalid};
use crate::apis::core::pod_template::validate_spec;

/// The resources that can change under a running container.
const MUTABLE: [&str; 2] = ["cpu", "memory"];
/// What a client is told that changes anything else.
const REST: &str = "only cpu and memory resources are mutable";

type Amounts = BTreeMap<String, Quantity>;

/// All that is wrong with giving the containers of `old` what they have in `new`.
pub fn validate_resize(new: &Pod, old: &Pod) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("spec");
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return errors };
    validate_spec(&mut errors, &path, new);
    let (was, is) = (quality::class(old), quality::class(new));
    errors.check(was == is, || {
        invalid(&path, is, "Pod QOS Class may not change as a result of resizing")
    });
    for (field, new, old) in [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        (
            "initContainers",
            new.init_containers.as_deref().unwrap_or_default(),
            old.init_containers.as_deref().unwrap_or_default(),
        ),
    ] {
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            removed(&mut errors, &path.child(field).index(i).child("resources"), new, old);
        }
    }
    errors.check(rest(new, old) == *old, || forbidden(&path, REST));
    errors
}

/// What was limited or requested stays so, with another amount.
fn removed(errors: &mut FieldErrors, path: &FieldPath, new: &Container, old: &Container) {
    let (new, old) = (new.resources.as_ref(), old.resources.as_ref());
    let names = |amounts: Option<&Amounts>| -> Vec<String> {
        let known = amounts.into_iter().flatten().map(|(name, _)| name.clone());
        known.filter(|name| MUTABLE.contains(&name.as_str())).collect()
    };
    for (field, new, old) in [
        ("limits", new.and_then(|r| r.limits.as_ref()), old.and_then(|r| r.limits.as_ref())),
        ("requests", new.and_then(|r| r.requests.as_ref()), old.and_then(|r| r.requests.as_ref())),
    ] {
        let left = names(new);
        let all_left = names(old).iter().all(|name| left.contains(name));
        errors.check(all_left, || {
            forbidden(&path.child(field), &format!("resource {field} cannot be removed"))
        });
    }
}

/// `new` with all that may change as it is in `old`.
fn rest(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut rest = new.clone();
    for (new, old) in rest.containers.iter_mut().zip(&old.containers) {
        keep(new, old);
    }
    let inits = rest.init_containers.iter_mut().flatten();
    let sidecars = inits.zip(old.init_containers.iter().flatten());
    for (new, old) in sidecars.filter(|(_, old)| is_sidecar(old)) {
        keep(new, old);
    }
    rest
}

fn keep(new: &mut Container, old: &Container) {
    let Some(resources) = &mut new.resources else { return };
    let was = old.resources.clone().unwrap_or_default();
    let keep = |new: &mut Option<Amounts>, old: &Option<Amounts>| {
        let mut kept = new.take().unwrap_or_default();
        for name in MUTABLE {
            match old.as_ref().and_then(|old| old.get(name)) {
                Some(amount) => drop(kept.insert(name.to_owned(), amount.clone())),
                None => drop(kept.remove(name)),
            }
        }
        // Nothing set is written as nothing at all.
        *new = if kept.is_empty() && old.is_none() { None } else { Some(kept) };
    };
    keep(&mut resources.limits, &was.limits);
    keep(&mut resources.requests, &was.requests);
    new.resize_policy.clone_from(&old.resize_policy);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::apis::core::pod_template::spec_defaults;

    fn pod(resources: Value, image: &str) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "web", "image": image, "resources": resources}]},
        }))
        .unwrap();
        spec_defaults(pod.spec.as_mut().unwrap());
        pod
    }

    fn resized(old: Value, new: Value) -> Vec<String> {
        let errors = validate_resize(&pod(new, "web:1"), &pod(old, "web:1"));
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn amounts_of_cpu_and_memory_may_change() {
        let before = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        let after = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "2", "memory": "2Gi"}});
        assert_eq!(resized(before, after), [] as [&str; 0]);
        let errors = validate_resize(
            &pod(json!({"requests": {"cpu": "2"}}), "web:2"),
            &pod(json!({"requests": {"cpu": "1"}}), "web:1"),
        );
        assert_eq!(errors.0[0].to_string(), format!("spec: Forbidden: {REST}"));
    }

    #[test]
    fn nothing_is_removed_and_the_quality_stays() {
        let before = json!({"requests": {"cpu": "100m", "memory": "1Mi"}});
        assert_eq!(
            resized(before.clone(), json!({"requests": {"cpu": "100m"}})),
            [
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
            ]
        );
        let both = json!({"cpu": "100m", "memory": "1Mi"});
        assert_eq!(
            resized(before, json!({"requests": both, "limits": both})),
            [
                "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"
            ]
        );
    }
}
