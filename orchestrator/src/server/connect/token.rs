//! `serviceaccounts/token`: a token by which a service account is known.
use axum::body::Body;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest};
use serde_json::{Value, json};

use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, GroupResource, Object, ObjectKey};
use crate::auth::Claims;
use crate::auth::token::{Bound, BoundObject, ISSUER};
use crate::server::body;
use crate::server::call::Call;
use crate::server::errors::storage_error;
use crate::server::output::{Reply, Served};

/// How long a token is good if the request does not say, in seconds.
const DEFAULT_SECONDS: i64 = 3_600;

/// The least and most that may be asked for, in seconds, as in Kubernetes.
const SECONDS: std::ops::RangeInclusive<i64> = 600..=(1 << 32);

/// Issues a token.
pub async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let document = body::decode(body::media_type(call.headers), &body::read(body).await?)?;
    let mut request: TokenRequest = serde_json::from_value(document.value).map_err(|error| {
        ApiError::BadRequest(format!("TokenRequest cannot be decoded: {error}"))
    })?;
    let stored = call
        .server
        .storage()
        .get(call.row, &call.key())
        .await
        .map_err(|error| storage_error(call.row, &call.path.name, error))?;
    let account = stored.object()?;
    let mut spec = request.spec.take().unwrap_or_default();
    let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    if !SECONDS.contains(&seconds) {
        return Err(too_short(seconds));
    }
    let now = call.server.now();
    let uid = account.metadata.uid.unwrap_or_default();
    let account = BoundObject { name: call.path.name.clone(), uid };
    let mut bound = Bound::to_account(call.path.namespace.clone(), account);
    if let Some(reference) = &spec.bound_object_ref {
        bind(call, reference, &mut bound).await?;
    }
    let mut claims = Claims::for_service_account(bound, now, SignedDuration::from_secs(seconds));
    let audiences = spec.audiences.take().filter(|audiences| !audiences.is_empty());
    let audiences = audiences.unwrap_or_else(|| vec![ISSUER.to_owned()]);
    claims.aud.clone_from(&audiences);
    spec.audiences = Some(audiences);
    spec.expiration_seconds = Some(seconds);
    request.spec = Some(spec);
    let token = call.server.tokens().issue(&claims);
    let expires = Timestamp::from_second(claims.exp).unwrap_or(now);
    let mut answer = Object::default();
    answer.encode(&request)?;
    answer.metadata.name = Some(call.path.name.clone());
    answer.metadata.namespace = Some(call.path.namespace.clone());
    let status = json!({"token": token, "expirationTimestamp": expires.to_string()});
    answer.body.insert("status".into(), status);
    Ok(Reply::Object(StatusCode::CREATED, Served::from(answer)))
}

/// Binds a token to the object that the request names, which must be there.
async fn bind(
    call: &Call<'_>,
    reference: &BoundObjectReference,
    bound: &mut Bound,
) -> Result<(), ApiError> {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (plural, place) = match (group, kind) {
        ("", "Pod") => ("pods", &mut bound.pod),
        ("", "Secret") => ("secrets", &mut bound.secret),
        ("", "Node") => ("nodes", &mut bound.node),
        _ => {
            return Err(ApiError::BadRequest(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let name = reference.name.clone().unwrap_or_default();
    let object = bound_object(call, plural, &name).await?;
    if kind == "Pod" {
        check_account(&object, &call.path.name)?;
    }
    let uid = object.metadata.uid.unwrap_or_default();
    if let Some(wanted) =
        reference.uid.as_deref().filter(|wanted| !wanted.is_empty() && *wanted != uid)
    {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        let resource = GroupResource { group: "".into(), resource: kind.to_owned().into() };
        return Err(ApiError::Conflict { resource, name, why });
    }
    *place = Some(BoundObject { name, uid });
    Ok(())
}

async fn bound_object(call: &Call<'_>, plural: &str, name: &str) -> Result<Object, ApiError> {
    let row = call.server.table().get("", "v1", plural).ok_or(ApiError::NoSuchPath)?;
    let namespace = if row.namespaced() { call.path.namespace.as_str() } else { "" };
    let stored = call.server.storage().get(row, &ObjectKey::new(namespace, name)).await;
    Ok(stored.map_err(|error| storage_error(row, name, error))?.object()?)
}

/// Refuses to bind a token to a Pod that runs as somebody else.
fn check_account(pod: &Object, account: &str) -> Result<(), ApiError> {
    let runs_as = pod.body.get("spec").and_then(|spec| spec.get("serviceAccountName"));
    if runs_as.and_then(Value::as_str) == Some(account) {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
    )))
}

fn too_short(seconds: i64) -> ApiError {
    let why = if seconds < *SECONDS.start() {
        "may not specify a duration less than 10 minutes"
    } else {
        "may not specify a duration larger than 2^32 seconds"
    };
    let path = FieldPath::new("spec").child("expirationSeconds");
    ApiError::Invalid {
        group: "authentication.k8s.io".into(),
        kind: "TokenRequest".into(),
        name: String::new(),
        errors: FieldErrors(vec![FieldError::Invalid(path, json!(seconds), why.into())]),
    }
}
