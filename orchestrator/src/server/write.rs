//! What every write goes through, whatever its verb.
//!
//! The order is Kubernetes': decode, default, mutating admission, validate,
//! validating admission, allocate, store.
use serde_json::Value;

use super::body::Document;
use super::call::Call;
use super::errors::storage_error;
use super::metadata;
use super::output::Served;
use super::query::{FieldValidation, WriteOptions};
use super::{allocate, errors, ownership};
use crate::admission::{self, Action};
use crate::api::{ApiError, DecodeError, Object, Operation, Resource, Subresource, managed_fields};
use crate::storage::{StorageError, Stored};

/// How often a write that may be retried is tried again after somebody else was first.
const ATTEMPTS: usize = 10;

/// How often a name is generated before giving up, as in Kubernetes.
const NAME_ATTEMPTS: usize = 8;

/// What of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Object,
    /// The status, labels, annotations and finalizers.
    Status,
    /// Whatever the caller changed; its own code has made sure that it may.
    Unchecked,
}

/// The object of a request's body; it must be one of this resource.
pub fn object(call: &Call<'_>, value: Value) -> Result<Object, ApiError> {
    decoded(call, Document { value, duplicates: Vec::new() }).map(|(object, _)| object)
}

/// The object of a request's body, and what is wrong with the body's fields.
pub fn decoded(call: &Call<'_>, document: Document) -> Result<(Object, Oddities), ApiError> {
    let gvk = &call.row.gvk;
    let mut unknown = Vec::new();
    let mut object = Object::from_value_reporting(document.value, &mut |path| unknown.push(path))
        .map_err(|error| undecodable(call.row, error))?;
    let expected = gvk.api_version();
    if object.api_version.is_empty() {
        object.api_version.clone_from(&expected);
    }
    if object.kind.is_empty() {
        object.kind = gvk.kind.to_string();
    }
    if object.api_version != expected {
        return Err(ApiError::BadRequest(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            object.api_version
        )));
    }
    if object.kind != gvk.kind {
        return Err(ApiError::BadRequest(format!(
            "{} in version {:?} cannot be handled as a {}: the kinds do not match",
            object.kind, gvk.version, gvk.kind
        )));
    }
    let namespace = call.path.namespace.as_str();
    match object.metadata.namespace.as_deref() {
        None | Some("") if !namespace.is_empty() => {
            object.metadata.namespace = Some(namespace.to_owned());
        }
        Some(other) if other != namespace && call.row.namespaced() => {
            return Err(ApiError::BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request".into(),
            ));
        }
        Some("") => object.metadata.namespace = None,
        _ => {}
    }
    Ok((object, Oddities { duplicates: document.duplicates, unknown }))
}

/// What a body says that is not understood.
#[derive(Debug, Clone, Default)]
pub struct Oddities {
    /// Paths of fields that stand twice.
    pub duplicates: Vec<String>,
    /// Paths of fields that the kind lacks.
    pub unknown: Vec<String>,
}

/// The refusal of a document that does not fit its kind.
pub fn undecodable(row: &Resource, error: DecodeError) -> ApiError {
    let (kind, version) = (&row.gvk.kind, &row.gvk.version);
    let DecodeError { path, source, .. } = error;
    let place = if path == "." { String::new() } else { format!("{path}: ") };
    let why = source.to_string();
    let why = base64_words(&why).unwrap_or(why);
    ApiError::BadRequest(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {place}{why}"
    ))
}

/// Kubernetes' words where the decoder of base64 does not say what it decodes.
fn base64_words(why: &str) -> Option<String> {
    let place = if let Some(length) = why.strip_prefix("Invalid input length: ") {
        length.parse::<usize>().ok()?.checked_sub(1)?
    } else if why.starts_with("Invalid symbol ") || why.starts_with("Invalid last symbol ") {
        let (_, offset) = why.split_once(", offset ")?;
        offset.trim_end_matches('.').parse().ok()?
    } else if why == "Invalid padding" {
        return Some("illegal base64 data: it is not padded with = to a multiple of 4".into());
    } else {
        return None;
    };
    Some(format!("illegal base64 data at input byte {place}"))
}

/// Refuses fields that the kind lacks or that stand twice, or warns of them.
pub fn check_fields(
    call: &mut Call<'_>,
    validation: FieldValidation,
    oddities: Oddities,
) -> Result<(), ApiError> {
    let unknown = oddities.unknown.iter().map(|path| format!("unknown field {path:?}"));
    let duplicates = oddities.duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let complaints: Vec<String> = duplicates.chain(unknown).collect();
    match validation {
        _ if complaints.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            call.warnings.extend(complaints);
            Ok(())
        }
        FieldValidation::Strict => {
            let (kind, version) = (&call.row.gvk.kind, &call.row.gvk.version);
            Err(ApiError::BadRequest(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                complaints.join(", ")
            )))
        }
    }
}

/// Stores a new object.
pub async fn create(
    call: &mut Call<'_>,
    wanted: Changed,
    options: &WriteOptions,
) -> Result<Served, ApiError> {
    let (server, row) = (call.server, call.row.clone());
    let Changed { object: mut new, mut oddities, applied, .. } = wanted;
    if has_status(&row) {
        new.body.remove("status");
    }
    let named = new.metadata.name.as_ref().is_some_and(|name| !name.is_empty());
    let prefix = new.metadata.generate_name.clone().filter(|prefix| !named && !prefix.is_empty());
    metadata::created(&mut new.metadata, server.now(), server.entropy(), row.has_generation);
    let given = std::mem::take(&mut new.metadata.name);
    new.metadata.name = match &prefix {
        Some(prefix) => Some(metadata::generate_name(prefix, server.entropy())),
        None => given,
    };
    let unknown = row
        .behaviour
        .prepare(&mut new, Operation::Create)
        .map_err(|error| undecodable(&row, error))?;
    oddities.unknown.extend(unknown);
    if applied {
        ownership::refuse_unknown(call, &new, &oddities)?;
    }
    check_fields(call, options.field_validation, oddities)?;
    if !applied {
        ownership::note(call, Part::Object, options, None, &mut new)?;
    }
    let action = Action::Create;
    server.admission().mutate(&request(call, action, None, options), &mut new).await?;
    let mut errors = metadata::validate(&new.metadata, &row);
    let (more, warnings) = row.behaviour.validate(&new, Operation::Create)?;
    errors.extend(more);
    call.refuse_invalid(&new, errors)?;
    call.warnings.extend(metadata::warnings(&new.metadata));
    call.warnings.extend(warnings);
    server.admission().validate(&request(call, action, None, options), Some(&new)).await?;
    if options.dry_run {
        return dry_create(call, new).await;
    }
    let reserved = allocate::allocate(server, &row, &mut new, None).await?;
    let outcome = store(call, new, prefix.as_deref()).await;
    if outcome.is_err() {
        reserved.release(server).await;
    }
    outcome
}

/// What a create would answer; the name must be free, nothing is reserved.
async fn dry_create(call: &Call<'_>, mut new: Object) -> Result<Served, ApiError> {
    let name = new.metadata.name.clone().unwrap_or_default();
    match call.server.storage().get(call.row, &new.key()).await {
        Err(StorageError::NotFound(_)) => {}
        Err(error) => return Err(storage_error(call.row, &name, error)),
        Ok(_) => {
            let resource = call.row.group_resource();
            return Err(ApiError::AlreadyExists { resource, name });
        }
    }
    new.metadata.resource_version = None;
    Ok(Served::from(new))
}

async fn store(call: &Call<'_>, mut new: Object, prefix: Option<&str>) -> Result<Served, ApiError> {
    let (server, row) = (call.server, call.row);
    for attempt in 1.. {
        match server.storage().create(row, &new).await {
            Ok(stored) => return Ok(Served::Stored(stored)),
            Err(StorageError::AlreadyExists(_)) if attempt < NAME_ATTEMPTS => {
                let Some(prefix) = prefix else { break };
                new.metadata.name = Some(metadata::generate_name(prefix, server.entropy()));
            }
            Err(error) => {
                let name = new.metadata.name.as_deref().unwrap_or_default();
                return Err(storage_error(row, name, error));
            }
        }
    }
    let (resource, name) = (row.group_resource(), new.metadata.name.unwrap_or_default());
    Err(ApiError::AlreadyExists { resource, name })
}

/// What a change makes of an object.
pub struct Changed {
    /// The new version.
    pub object: Object,
    /// What in the request is not understood.
    pub oddities: Oddities,
    /// What a refusal under strict validation shows of the patch, if it was one.
    pub patch: Option<String>,
    /// Whether it is an applied configuration, which has said already who owns what.
    pub applied: bool,
}

impl Changed {
    /// What a body says.
    pub fn decoded((object, oddities): (Object, Oddities)) -> Self {
        Self { object, oddities, patch: None, applied: false }
    }
}

impl From<Object> for Changed {
    fn from(object: Object) -> Self {
        Self::decoded((object, Oddities::default()))
    }
}

/// Replaces the object that the path names by what `change` makes of it.
///
/// If the new version says which it is based on, somebody else's write in
/// between is a conflict; otherwise `change` is asked again.
pub async fn update(
    call: &mut Call<'_>,
    part: Part,
    options: &WriteOptions,
    mut change: impl FnMut(&Object) -> Result<Changed, ApiError> + Send,
) -> Result<Served, ApiError> {
    update_by(call, part, options, &mut change).await
}

async fn update_by(
    call: &mut Call<'_>,
    part: Part,
    options: &WriteOptions,
    change: &mut (dyn FnMut(&Object) -> Result<Changed, ApiError> + Send),
) -> Result<Served, ApiError> {
    let (server, row, key) = (call.server, call.row.clone(), call.key());
    let warned = call.warnings.len();
    for _ in 0..ATTEMPTS {
        call.warnings.truncate(warned);
        let stored = server
            .storage()
            .get(&row, &key)
            .await
            .map_err(|error| storage_error(&row, &key.name, error))?;
        let old = stored.object()?;
        let changed = change(&old)?;
        let based_on = changed.object.metadata.resource_version.clone();
        let based_on = based_on.filter(|version| !version.is_empty() && version != "0");
        let conditional = based_on.is_some();
        if conditional && based_on != old.metadata.resource_version {
            return Err(call.conflict(&key.name, errors::MODIFIED));
        }
        let mut new = admit(call, part, options, changed, &old).await?;
        managed_fields::settle(&mut new, &old);
        if new == old {
            return Ok(Served::Stored(stored));
        }
        match replace(call, options, new, &old, &stored).await {
            Err(ApiError::Conflict { .. }) if !conditional => {}
            outcome => return outcome,
        }
    }
    Err(call.conflict(&key.name, errors::MODIFIED))
}

/// Prepares, mutates and validates a new version of `old`.
async fn admit(
    call: &mut Call<'_>,
    part: Part,
    options: &WriteOptions,
    changed: Changed,
    old: &Object,
) -> Result<Object, ApiError> {
    let (server, row) = (call.server, call.row.clone());
    let Changed { object: mut new, mut oddities, patch, applied } = changed;
    new.metadata.resource_version.clone_from(&old.metadata.resource_version);
    if part == Part::Unchecked {
        return Ok(new);
    }
    if let Some(uid) = new.metadata.uid.as_deref().filter(|uid| !uid.is_empty())
        && old.metadata.uid.as_deref() != Some(uid)
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.metadata.uid.as_deref().unwrap_or_default()
        );
        return Err(call.conflict(&call.path.name, why));
    }
    keep(&mut new, old, part, &row);
    metadata::updated(&mut new, old, false);
    let operation = || match part {
        Part::Status => Operation::UpdateStatus(old),
        Part::Object | Part::Unchecked => Operation::Update(old),
    };
    let unknown =
        row.behaviour.prepare(&mut new, operation()).map_err(|error| undecodable(&row, error))?;
    oddities.unknown.extend(unknown);
    if applied {
        ownership::refuse_unknown(call, &new, &oddities)?;
    }
    match (&patch, options.field_validation) {
        (Some(patch), FieldValidation::Strict) if !oddities.unknown.is_empty() => {
            return Err(strict_patch(patch, &oddities.unknown));
        }
        _ => check_fields(call, options.field_validation, oddities)?,
    }
    if !applied {
        ownership::note(call, part, options, Some(old), &mut new)?;
    }
    let action = Action::Update;
    server.admission().mutate(&request(call, action, Some(old), options), &mut new).await?;
    metadata::updated(&mut new, old, row.has_generation);
    let mut errors = metadata::validate(&new.metadata, &row);
    errors.extend(metadata::validate_update(&new.metadata, &old.metadata));
    let (more, warnings) = row.behaviour.validate(&new, operation())?;
    errors.extend(more);
    call.refuse_invalid(&new, errors)?;
    call.warnings.extend(metadata::warnings(&new.metadata));
    call.warnings.extend(warnings);
    server.admission().validate(&request(call, action, Some(old), options), Some(&new)).await?;
    Ok(new)
}

/// The refusal of a patch that sets fields the kind lacks; as in Kubernetes it names no kind.
fn strict_patch(patch: &str, unknown: &[String]) -> ApiError {
    use crate::api::{FieldError, FieldErrors, FieldPath};
    let complaints: Vec<String> =
        unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    let why = format!("strict decoding error: {}", complaints.join(", "));
    let error = FieldError::Invalid(FieldPath::new("patch"), patch.into(), why);
    ApiError::Invalid {
        group: String::new(),
        kind: String::new(),
        name: String::new(),
        errors: FieldErrors(vec![error]),
    }
}

/// Takes from `old` the part that this write may not change.
fn keep(new: &mut Object, old: &Object, part: Part, row: &Resource) {
    match part {
        Part::Object if has_status(row) => match old.body.get("status") {
            Some(status) => {
                new.body.insert("status".into(), status.clone());
            }
            None => {
                new.body.remove("status");
            }
        },
        Part::Status => {
            let status = new.body.remove("status");
            new.body.clone_from(&old.body);
            new.body.remove("status");
            if let Some(status) = status {
                new.body.insert("status".into(), status);
            }
            new.metadata.owner_references.clone_from(&old.metadata.owner_references);
        }
        Part::Object | Part::Unchecked => {}
    }
}

/// Stores the new version, or removes the object if it has waited for this write to go.
async fn replace(
    call: &Call<'_>,
    options: &WriteOptions,
    mut new: Object,
    old: &Object,
    stored: &Stored,
) -> Result<Served, ApiError> {
    let (server, row, key) = (call.server, call.row, call.key());
    let failed = |error| storage_error(row, &key.name, error);
    let gone = is_gone(row, &new);
    if options.dry_run {
        return Ok(Served::from(new));
    }
    if gone {
        server.storage().delete(row, &key, stored.revision).await.map_err(failed)?;
        allocate::release(server, row, old).await;
        return Ok(Served::from(new));
    }
    let reserved = allocate::allocate(server, row, &mut new, Some(old)).await?;
    match server.storage().update(row, &key, stored.revision, &new).await {
        Ok(stored) => {
            allocate::release_dropped(server, row, old, &new).await;
            Ok(Served::Stored(stored))
        }
        Err(error) => {
            reserved.release(server).await;
            Err(failed(error))
        }
    }
}

/// Whether an object has been deleted and nothing holds it any more.
pub fn is_gone(row: &Resource, object: &Object) -> bool {
    object.metadata.deletion_timestamp.is_some()
        && object.metadata.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !is_held(row, object)
}

/// Whether a finalizer holds an object.
pub fn is_held(row: &Resource, object: &Object) -> bool {
    let in_spec = || {
        let finalizers = object.body.get("spec").and_then(|spec| spec.get("finalizers"));
        finalizers.and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    };
    object.metadata.finalizers.as_ref().is_some_and(|list| !list.is_empty())
        || (finalizes(row) && in_spec())
}

/// Whether objects have finalizers in their `spec` too, as namespaces do.
pub fn finalizes(row: &Resource) -> bool {
    let is = |s: &Subresource| matches!(s, Subresource::Connect { name: "finalize", .. });
    row.subresources.iter().any(is)
}

/// The admission request of this call.
pub fn request<'a>(
    call: &'a Call<'_>,
    action: Action,
    old: Option<&'a Object>,
    options: &WriteOptions,
) -> admission::Request<'a> {
    admission::Request {
        action,
        row: call.row,
        namespace: &call.path.namespace,
        name: &call.path.name,
        subresource: &call.path.subresource,
        user: call.user,
        old,
        dry_run: options.dry_run,
    }
}

/// Whether the status is written through an endpoint of its own.
pub fn has_status(row: &Resource) -> bool {
    row.subresources.contains(&Subresource::Status)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn what_is_not_base64_is_said_to_be_none() {
        for (text, expected) in [
            ("nob64!", "illegal base64 data at input byte 5"),
            ("admin", "illegal base64 data at input byte 4"),
            ("YQ", "illegal base64 data: it is not padded with = to a multiple of 4"),
        ] {
            let error = serde_json::from_value::<ByteString>(text.into()).unwrap_err();
            assert_eq!(base64_words(&error.to_string()).as_deref(), Some(expected), "{error}");
        }
        assert_eq!(base64_words("invalid type: integer `1`"), None);
    }
}
