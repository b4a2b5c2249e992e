//! Who sets which fields: the books behind `metadata.managedFields`.
//!
//! The parts of the cluster itself start no books: what they create, Pods of
//! a ReplicaSet above all, is untracked until somebody applies to it, as
//! Kubernetes has it for objects without managers. Books would double the size of each.
use http::header::USER_AGENT;

use super::call::Call;
use super::query::WriteOptions;
use super::write::{Oddities, Part, has_status};
use crate::api::managed_fields::{self, ApplyError, Author, Ignored};
use crate::api::{ApiError, FieldPath, Object, whole_seconds};

/// Names of the users that are parts of the cluster begin so.
const COMPONENTS: &[&str] = &["system:apiserver", "system:kube-", "system:node:", "system:podium:"];

/// The author of a write of `part`.
pub fn author(call: &Call<'_>, part: Part, options: &WriteOptions) -> Author {
    let ignored = match part {
        Part::Status => Ignored::AllButStatus,
        Part::Object if has_status(call.row) => Ignored::Status,
        Part::Object | Part::Unchecked => Ignored::Nothing,
    };
    Author {
        manager: manager(call, options),
        gvk: call.row.gvk.clone(),
        subresource: call.path.subresource.clone(),
        ignored,
        now: whole_seconds(call.server.now()),
    }
}

/// Notes in `new` who made it what it is; refuses managers that a client garbled.
pub fn note(
    call: &Call<'_>,
    part: Part,
    options: &WriteOptions,
    old: Option<&Object>,
    new: &mut Object,
) -> Result<(), ApiError> {
    if old.is_none() && options.field_manager.is_empty() && is_component(&call.user.name) {
        new.metadata.managed_fields = None;
        return Ok(());
    }
    let given = new.metadata.managed_fields.as_deref().unwrap_or_default();
    let kept = old.and_then(|old| old.metadata.managed_fields.as_deref()).unwrap_or_default();
    if given != kept && given.first() != Some(&Default::default()) {
        let path = FieldPath::new("metadata").child("managedFields");
        call.refuse_invalid(new, managed_fields::validate(given, &path))?;
    }
    managed_fields::track(&author(call, part, options), old, new);
    Ok(())
}

/// Refuses a configuration that sets fields the kind lacks, whatever the validation asked for.
pub fn refuse_unknown(
    call: &Call<'_>,
    object: &Object,
    oddities: &Oddities,
) -> Result<(), ApiError> {
    let complaints: Vec<String> = oddities
        .unknown
        .iter()
        .map(|path| format!(".{path}: field not declared in schema"))
        .collect();
    match complaints.as_slice() {
        [] => Ok(()),
        [one] => Err(untyped(call, object, one)),
        many => Err(untyped(call, object, &format!("errors:\n  {}", many.join("\n  ")))),
    }
}

/// The refusal of a configuration.
pub fn refusal(call: &Call<'_>, object: &Object, error: ApplyError) -> ApiError {
    match error {
        ApplyError::Conflicts(ref conflicts) => {
            let message = error.to_string();
            let causes = conflicts.iter().map(|each| (each.manager.clone(), each.path.clone()));
            ApiError::ApplyConflict { message, causes: causes.collect() }
        }
        ApplyError::Typed(error) => untyped(call, object, &error.to_string()),
        ApplyError::Managers(error) => {
            ApiError::Internal(format!("failed to decode managed fields: {error}"))
        }
        ApplyError::Object(error) => error.into(),
    }
}

fn untyped(call: &Call<'_>, object: &Object, why: &str) -> ApiError {
    let gvk = &call.row.gvk;
    ApiError::Unsupported(format!(
        "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {why}",
        object.metadata.namespace.as_deref().unwrap_or_default(),
        object.metadata.name.as_deref().unwrap_or_default(),
        gvk.group,
        gvk.version,
        gvk.kind
    ))
}

/// The manager that the client names, or else the first word of its `User-Agent`.
fn manager(call: &Call<'_>, options: &WriteOptions) -> String {
    if !options.field_manager.is_empty() {
        return options.field_manager.clone();
    }
    let agent = call.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = managed_fields::of_user_agent(agent.unwrap_or_default());
    match call.user.name.strip_prefix("system:") {
        _ if !agent.is_empty() => agent,
        Some(name) if name.starts_with("node:") => "kubelet".into(),
        Some(name) if is_component(&call.user.name) => name.into(),
        _ => "unknown".into(),
    }
}

fn is_component(user: &str) -> bool {
    COMPONENTS.iter().any(|prefix| user.starts_with(prefix))
}
