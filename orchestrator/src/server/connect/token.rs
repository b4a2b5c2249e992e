//! `serviceaccounts/token`: a token by which a service account is known.
use axum::body::Body;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use serde_json::json;

use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, Object};
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
    let bound = Bound {
        namespace: call.path.namespace.clone(),
        serviceaccount: BoundObject {
            name: call.path.name.clone(),
            uid: account.metadata.uid.unwrap_or_default(),
        },
        pod: bound_pod(&spec),
    };
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

fn bound_pod(spec: &TokenRequestSpec) -> Option<BoundObject> {
    let reference = spec.bound_object_ref.as_ref()?;
    if reference.kind.as_deref() != Some("Pod") {
        return None;
    }
    Some(BoundObject { name: reference.name.clone()?, uid: reference.uid.clone()? })
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
