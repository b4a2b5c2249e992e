//! delete and deletecollection.
//!
//! A deletion removes the object at once only if nothing holds it: neither a
//! grace period nor a finalizer. Otherwise it marks the object, and whoever
//! takes away the last of these removes it.
use axum::body::Body;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Time};
use serde_json::{Value, json};

use super::options::list_query;
use crate::admission::Action;
use crate::api::{
    ApiError, FieldError, FieldErrors, FieldPath, Object, ObjectKey, Resource, whole_seconds,
};
use crate::server::call::Call;
use crate::server::errors::{MODIFIED, storage_error};
use crate::server::metadata::{FOREGROUND, ORPHAN};
use crate::server::output::{Reply, Served};
use crate::server::query::{Query, WriteOptions, dry_run, refuse};
use crate::server::{allocate, body, write};

/// How often a deletion is tried again after somebody else wrote first.
const ATTEMPTS: usize = 10;

/// Deletes the object that the path names.
pub async fn delete(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let wish = Wish::read(call, body).await?;
    let key = call.key();
    warn(call, &wish);
    Ok(match remove(call, &key, &wish).await? {
        Outcome::Gone(object) => Reply::Status(StatusCode::OK, success(call.row, &object)),
        // As in Kubernetes: clients of other deletions that take a while expect 200.
        Outcome::Marked(served) if wish.awaits_dependents => {
            Reply::Object(StatusCode::ACCEPTED, served)
        }
        Outcome::Marked(served) => Reply::ok(served),
    })
}

/// Warns of dependents that stay though nobody asked for that.
fn warn(call: &mut Call<'_>, wish: &Wish) {
    if let (None, Some(warning)) = (wish.propagation, call.row.orphans_by_default) {
        call.warnings.push(warning.to_owned());
    }
}

/// Deletes an object as `options` say, for a subresource that ends in a deletion.
pub async fn delete_with(
    call: &mut Call<'_>,
    key: &ObjectKey,
    options: DeleteOptions,
) -> Result<(), ApiError> {
    let wish = Wish::of(options)?;
    remove(call, key, &wish).await.map(drop)
}

/// Deletes every object that matches; answers them as they were.
pub async fn delete_collection(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let wish = Wish::read(call, body).await?;
    warn(call, &wish);
    let query = list_query(call)?;
    let storage = call.server.storage();
    let page =
        storage.list(call.row, &query).await.map_err(|error| storage_error(call.row, "", error))?;
    for stored in &page.items {
        match remove(call, &stored.key, &wish).await {
            Ok(_) | Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Reply::List(page))
}

/// What a client asks of a deletion.
#[derive(Debug, Default)]
struct Wish {
    grace: Option<u32>,
    uid: Option<String>,
    resource_version: Option<String>,
    propagation: Option<Propagation>,
    /// Whether it said that the dependents go, in a way that makes an unfinished deletion `Accepted`.
    awaits_dependents: bool,
    dry_run: bool,
}

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Propagation {
    /// They stay.
    Orphan,
    /// They go first.
    Foreground,
    /// They go afterwards.
    Background,
}

impl Wish {
    async fn read(call: &Call<'_>, body: Body) -> Result<Self, ApiError> {
        let bytes = body::read(body).await?;
        let options = if bytes.is_empty() {
            from_query(call.query)?
        } else {
            let value = body::decode(body::media_type(call.headers), &bytes)?.value;
            serde_json::from_value(value).map_err(|error| {
                ApiError::BadRequest(format!("DeleteOptions cannot be decoded: {error}"))
            })?
        };
        Self::of(options)
    }

    fn of(options: DeleteOptions) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::default();
        let path = || FieldPath::new("propagationPolicy");
        let named = options.propagation_policy.as_deref().filter(|policy| !policy.is_empty());
        errors.check(named.is_none() || options.orphan_dependents.is_none(), || {
            let why = "orphanDependents and deletionPropagation cannot be both set".to_owned();
            FieldError::Invalid(path(), json!(named), why)
        });
        let propagation = match (named, options.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (None, None) => None,
            (Some(other), _) => {
                let supported = ["Foreground", "Background", "Orphan"].map(str::to_owned).to_vec();
                errors.push(FieldError::NotSupported(path(), other.into(), supported));
                None
            }
        };
        let dry = options.dry_run.iter().flatten().map(String::as_str);
        let dry_run = dry_run(dry, &mut errors);
        refuse("DeleteOptions", errors)?;
        let preconditions = options.preconditions.unwrap_or_default();
        Ok(Self {
            // As in Kubernetes, less than nothing is the least there is.
            grace: options.grace_period_seconds.map(|s| u32::try_from(s).unwrap_or(1)),
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
            propagation,
            awaits_dependents: propagation == Some(Propagation::Foreground)
                || options.orphan_dependents == Some(false),
            dry_run,
        })
    }
}

fn from_query(query: &Query) -> Result<DeleteOptions, ApiError> {
    Ok(DeleteOptions {
        grace_period_seconds: query.number("gracePeriodSeconds")?,
        propagation_policy: query.text("propagationPolicy").map(str::to_owned),
        orphan_dependents: query.text("orphanDependents").map(|_| query.flag("orphanDependents")),
        dry_run: Some(query.all("dryRun").map(str::to_owned).collect()),
        ..DeleteOptions::default()
    })
}

/// What became of an object.
enum Outcome {
    Gone(Box<Object>),
    Marked(Served),
}

async fn remove(call: &mut Call<'_>, key: &ObjectKey, wish: &Wish) -> Result<Outcome, ApiError> {
    let (server, row) = (call.server, call.row.clone());
    let storage = server.storage();
    let failed = |error| storage_error(&row, &key.name, error);
    for _ in 0..ATTEMPTS {
        let stored = storage.get(&row, key).await.map_err(failed)?;
        let old = stored.object()?;
        check_preconditions(call, &old, wish)?;
        let options = WriteOptions { dry_run: wish.dry_run, ..WriteOptions::default() };
        let mut request = write::request(call, Action::Delete, Some(&old), &options);
        request.name = &key.name;
        server.admission().validate(&request, None).await?;
        let written = match plan(&row, &old, wish, server.now())? {
            Plan::Nothing => return Ok(Outcome::Marked(Served::Stored(stored))),
            Plan::Remove if wish.dry_run => return Ok(Outcome::Gone(Box::new(old))),
            Plan::Mark(new) if wish.dry_run => {
                return Ok(Outcome::Marked(Served::Object(new)));
            }
            Plan::Remove => storage.delete(&row, key, stored.revision).await.map(|_| None),
            Plan::Mark(new) => storage.update(&row, key, stored.revision, &new).await.map(Some),
        };
        match written.map_err(failed) {
            Ok(Some(marked)) => return Ok(Outcome::Marked(Served::Stored(marked))),
            Ok(None) => {
                allocate::release(server, &row, &old).await;
                return Ok(Outcome::Gone(Box::new(old)));
            }
            Err(ApiError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(call.conflict(&key.name, MODIFIED))
}

fn check_preconditions(call: &Call<'_>, old: &Object, wish: &Wish) -> Result<(), ApiError> {
    let check = |what: &str, wanted: &Option<String>, actual: &Option<String>| match wanted {
        Some(wanted) if Some(wanted) != actual.as_ref() => {
            let actual = actual.as_deref().unwrap_or_default();
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
            );
            Err(call.conflict(old.metadata.name.as_deref().unwrap_or_default(), why))
        }
        _ => Ok(()),
    };
    check("UID", &wish.uid, &old.metadata.uid)?;
    check("ResourceVersion", &wish.resource_version, &old.metadata.resource_version)
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Remove it.
    Remove,
    /// Store it with these marks.
    Mark(Box<Object>),
    /// It is marked already.
    Nothing,
}

fn plan(row: &Resource, old: &Object, wish: &Wish, now: Timestamp) -> Result<Plan, ApiError> {
    let mut new = old.clone();
    apply_propagation(&mut new, wish.propagation.or_else(|| default_propagation(row, old)));
    let pending = old.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let left = old.metadata.deletion_grace_period_seconds.unwrap_or(0);
    let (grace, since) = match pending {
        None => (i64::from(row.behaviour.graceful_deletion(old, wish.grace)?), now),
        Some(until) => {
            // Only a shorter period than the one that is running counts.
            let grace = wish.grace.map_or(left, |wished| left.min(i64::from(wished)));
            (grace, until - SignedDuration::from_secs(left))
        }
    };
    if grace == 0 && !write::is_held(row, &new) {
        return Ok(Plan::Remove);
    }
    if pending.is_none() || grace < left {
        let until = whole_seconds(since + SignedDuration::from_secs(grace));
        new.metadata.deletion_timestamp = Some(Time(until));
        new.metadata.deletion_grace_period_seconds = Some(grace);
    }
    if pending.is_none() {
        if let Some(generation) = new.metadata.generation.as_mut() {
            *generation += 1;
        }
        if write::finalizes(row)
            && let Some(status) =
                new.body.entry("status").or_insert_with(|| json!({})).as_object_mut()
        {
            status.insert("phase".into(), "Terminating".into());
        }
    }
    if new == *old {
        return Ok(Plan::Nothing);
    }
    Ok(Plan::Mark(Box::new(new)))
}

/// What becomes of the dependents if the deletion does not say, nor a finalizer.
fn default_propagation(row: &Resource, object: &Object) -> Option<Propagation> {
    let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
    let decided = finalizers.iter().any(|name| name == ORPHAN || name == FOREGROUND);
    (row.orphans_by_default.is_some() && !decided).then_some(Propagation::Orphan)
}

fn apply_propagation(object: &mut Object, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers = object.metadata.finalizers.take().unwrap_or_default();
    finalizers.retain(|name| name != ORPHAN && name != FOREGROUND);
    match propagation {
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Background => {}
    }
    object.metadata.finalizers = Some(finalizers).filter(|list| !list.is_empty());
}

/// The `Status` of an object that is gone.
fn success(row: &Resource, object: &Object) -> Value {
    let mut details = json!({"name": object.metadata.name, "kind": row.plural});
    if !row.gvk.group.is_empty() {
        details["group"] = json!(row.gvk.group);
    }
    if let Some(uid) = &object.metadata.uid {
        details["uid"] = json!(uid);
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "details": details,
    })
}
