//! Who sends a request.
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Server;
use crate::api::{ApiError, ObjectKey, Owner, User};
use crate::auth::Claims;
use crate::auth::token::{BoundObject, ISSUER, TokenError};

/// Headers by which a caller would act as another, which nobody may yet.
const IMPERSONATION: &[&str] = &["impersonate-user", "impersonate-group", "impersonate-uid"];

/// The caller: whom the TLS layer or the in-process handle says, or a bearer token.
///
/// The first two say it in a typed extension, which no header can forge.
pub async fn user(server: &Server, parts: &mut Parts) -> Result<User, ApiError> {
    if IMPERSONATION.iter().any(|header| parts.headers.contains_key(*header)) {
        // Ignoring it would do as the caller what was meant to be tried as another.
        return Err(ApiError::BadRequest("impersonation is not supported".into()));
    }
    if let Some(user) = parts.extensions.remove::<User>() {
        return Ok(user);
    }
    let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(User::anonymous()) };
    let token = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let token = token.ok_or(ApiError::Unauthorized)?;
    let owner = bearer(server, token, &[ISSUER]).await.map_err(|_| ApiError::Unauthorized)?;
    Ok(owner.user)
}

/// Whose a bearer token is, if it is good for one of `audiences`; otherwise why it is not.
pub async fn bearer(server: &Server, token: &str, audiences: &[&str]) -> Result<Owner, String> {
    let claims = server.tokens().verify_for(audiences, token, server.now());
    let claims = claims.map_err(|error| match error {
        TokenError::Audience(..) => error.to_string(),
        _ => "invalid bearer token".to_owned(),
    })?;
    if !is_alive(server, &claims).await {
        return Err("service account token has been invalidated".into());
    }
    Ok(Owner { user: claims.user(), audiences: claims.meant_for(audiences) })
}

/// Whether the objects a token is bound to are still the same.
async fn is_alive(server: &Server, claims: &Claims) -> bool {
    let Some(bound) = &claims.bound else { return true };
    let objects = [
        ("serviceaccounts", Some(&bound.serviceaccount)),
        ("pods", bound.pod.as_ref()),
        ("secrets", bound.secret.as_ref()),
        ("nodes", bound.node.as_ref()),
    ];
    for (plural, object) in objects {
        if let Some(object) = object
            && !is_same(server, plural, &bound.namespace, object).await
        {
            return false;
        }
    }
    true
}

async fn is_same(server: &Server, plural: &str, namespace: &str, object: &BoundObject) -> bool {
    let Some(row) = server.table().get("", "v1", plural) else { return false };
    let namespace = if row.namespaced() { namespace } else { "" };
    let stored = server.storage().get(row, &ObjectKey::new(namespace, object.name.as_str())).await;
    let found = stored.ok().and_then(|stored| stored.object().ok());
    found.is_some_and(|found| found.metadata.uid.as_deref() == Some(object.uid.as_str()))
}
