//! Objects that hold a Pod template: where it is, and how it is changed.
use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::{Value, json};

use super::session::{Body, Session};
use super::targets::{self, path_of};
use crate::client::Served;

/// How often a change is tried again that somebody else's has overtaken.
const ATTEMPTS: usize = 5;

/// Where the Pod spec of a kind is; none if it has none.
fn spec_pointer(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("/spec"),
        "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController" => Some("/spec/template/spec"),
        _ => None,
    }
}

/// The Pod spec of an object.
pub(super) fn spec<'v>(served: &Served, object: &'v Value) -> Result<&'v Value> {
    let pointer = spec_pointer(&served.kind);
    pointer
        .and_then(|pointer| object.pointer(pointer))
        .with_context(|| format!("{} have no containers", served.qualified()))
}

/// Changes the Pod spec of an object; answers the object, or none if nothing was to be changed.
///
/// The change is made to what was read: if somebody else was faster, it is read again.
pub(super) async fn change(
    session: &Session,
    served: &Served,
    name: &str,
    mut how: impl FnMut(&mut Value) -> Result<()>,
) -> Result<Option<Value>> {
    for _ in 0..ATTEMPTS {
        let object = targets::get_one(session, served, name).await?;
        let pointer = spec_pointer(&served.kind)
            .with_context(|| format!("{} have no containers to set", served.qualified()))?;
        let mut changed = object.clone();
        let spec = changed.pointer_mut(pointer);
        how(spec.with_context(|| format!("{} has no Pod spec", served.slashed(name)))?)?;
        if changed == object {
            return Ok(None);
        }
        let after = changed.pointer(pointer).unwrap_or(&Value::Null);
        let mut patch = nested(
            pointer,
            &json!({
                "containers": after["containers"], "initContainers": after["initContainers"],
            }),
        );
        patch["metadata"] = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
        let body = Body::Patch("application/merge-patch+json", &patch);
        match session.send(Method::PATCH, &path_of(served, &object), body).await {
            Ok(after) => return Ok(Some(after)),
            Err(error) if error.code() == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{} changes all the time; try again", served.slashed(name))
}

/// An object that holds a value where a pointer leads.
fn nested(pointer: &str, value: &Value) -> Value {
    let fields = pointer.split('/').skip(1).collect::<Vec<_>>();
    fields.into_iter().rev().fold(value.clone(), |inner, field| json!({field: inner}))
}

/// The containers of a Pod spec, init containers last.
pub(super) fn containers(spec: &mut Value) -> Vec<&mut Value> {
    let Some(spec) = spec.as_object_mut() else { return Vec::new() };
    let (mut main, mut init) = (Vec::new(), Vec::new());
    for (field, value) in spec {
        match (field.as_str(), value.as_array_mut()) {
            ("containers", Some(list)) => main.extend(list),
            ("initContainers", Some(list)) => init.extend(list),
            _ => {}
        }
    }
    main.extend(init);
    main
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_where_the_containers_are() {
        let patch = nested("/spec/template/spec", &json!({"containers": []}));
        assert_eq!(patch, json!({"spec": {"template": {"spec": {"containers": []}}}}));
    }
}
