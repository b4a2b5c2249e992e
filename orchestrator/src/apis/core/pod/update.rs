//! What of a Pod may change once it is there.
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};

use crate::api::{FieldErrors, FieldPath};
use crate::apis::checks::{forbidden, invalid};

/// What a client is told that changes anything else.
const REST: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// All that is wrong with changing `old` into `new`.
pub fn validate(new: &Pod, old: &Pod) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("spec");
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return errors };
    let mut same_number = |field: &str, new: &[Container], old: &[Container]| {
        errors.check(new.len() == old.len(), || {
            forbidden(&path.child(field), "pod updates may not add or remove containers")
        });
    };
    same_number("containers", &new.containers, &old.containers);
    let (init, old_init) = (new.init_containers.as_deref(), old.init_containers.as_deref());
    same_number("initContainers", init.unwrap_or_default(), old_init.unwrap_or_default());
    if !errors.is_empty() {
        return errors;
    }
    deadline(&mut errors, &path, new, old);
    only_more_tolerations(&mut errors, &path, new, old);
    fewer_gates(&mut errors, &path, new, old);
    errors.check(rest(new, old) == *old, || forbidden(&path, REST));
    errors
}

/// `new` with all that may change as it is in `old`.
fn rest(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut rest = new.clone();
    let keep_images = |new: &mut [Container], old: &[Container]| {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    };
    keep_images(&mut rest.containers, &old.containers);
    if let (Some(new), Some(old)) = (&mut rest.init_containers, &old.init_containers) {
        keep_images(new, old);
    }
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.tolerations.clone_from(&old.tolerations);
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    let negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if negative && new.termination_grace_period_seconds == Some(1) {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    rest
}

fn deadline(errors: &mut FieldErrors, path: &FieldPath, new: &PodSpec, old: &PodSpec) {
    let path = path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), Some(old)) => errors.check(new <= old, || {
            invalid(&path, new, "must be less than or equal to previous value")
        }),
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(invalid(&path, serde_json::Value::Null, why));
        }
        (_, None) => {}
    }
}

fn only_more_tolerations(errors: &mut FieldErrors, path: &FieldPath, new: &PodSpec, old: &PodSpec) {
    let new = new.tolerations.as_deref().unwrap_or_default();
    let same = |a: &Toleration, b: &Toleration| {
        let timeless = |t: &Toleration| Toleration { toleration_seconds: None, ..t.clone() };
        timeless(a) == timeless(b)
    };
    let kept = old.tolerations.iter().flatten().all(|old| new.iter().any(|new| same(new, old)));
    errors.check(kept, || {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        forbidden(&path.child("tolerations"), why)
    });
}

fn fewer_gates(errors: &mut FieldErrors, path: &FieldPath, new: &PodSpec, old: &PodSpec) {
    let had = |name: &str| old.scheduling_gates.iter().flatten().any(|gate| gate.name == name);
    for (i, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        errors.check(had(&gate.name), || {
            let name = &gate.name;
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            forbidden(&path.child("schedulingGates").index(i), &why)
        });
    }
}
