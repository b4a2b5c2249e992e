//! What the security context of a container forbids.
use k8s_openapi::api::core::v1::{Container, Pod};

/// A container that must not run as root, and would.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "container's runAsUser breaks non-root policy (pod: \"{pod}_{namespace}({uid})\", container: {container})"
)]
pub(super) struct RunsAsRoot {
    pod: String,
    namespace: String,
    uid: String,
    container: String,
}

/// Refuses user 0 where `runAsNonRoot` is set; the container's own words go before the Pod's.
pub(super) fn non_root(pod: &Pod, container: &Container) -> Result<(), RunsAsRoot> {
    let own = container.security_context.as_ref();
    let shared = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let non_root = own
        .and_then(|context| context.run_as_non_root)
        .or_else(|| shared.and_then(|context| context.run_as_non_root));
    let user = own
        .and_then(|context| context.run_as_user)
        .or_else(|| shared.and_then(|context| context.run_as_user));
    if non_root != Some(true) || user != Some(0) {
        return Ok(());
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Err(RunsAsRoot {
        pod: text(&pod.metadata.name),
        namespace: text(&pod.metadata.namespace),
        uid: text(&pod.metadata.uid),
        container: container.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(shared: Value, own: Value) -> Option<String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {
                "securityContext": shared,
                "containers": [{"name": "c", "securityContext": own}],
            },
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        non_root(&pod, container).err().map(|error| error.to_string())
    }

    #[test]
    fn root_is_refused_where_nobody_may_be_root() {
        let words =
            "container's runAsUser breaks non-root policy (pod: \"p_default(u)\", container: c)";
        let root = json!({"runAsNonRoot": true, "runAsUser": 0});
        assert_eq!(refused(root.clone(), json!({})).as_deref(), Some(words));
        assert_eq!(
            refused(json!({"runAsUser": 0}), json!({"runAsNonRoot": true})).as_deref(),
            Some(words)
        );
        assert_eq!(refused(root.clone(), json!({"runAsUser": 1000})), None);
        assert_eq!(refused(root, json!({"runAsNonRoot": false})), None);
        assert_eq!(refused(json!({"runAsNonRoot": true}), json!({})), None);
    }
}
