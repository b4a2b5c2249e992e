//! Who sends a request.
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Server;
use crate::api::{ApiError, ObjectKey, User};
use crate::auth::Claims;
use crate::auth::token::BoundObject;

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
    let user = match token {
        Some(token) => bearer(server, token).await,
        None => None,
    };
    user.ok_or(ApiError::Unauthorized)
}

/// Whose a bearer token is, if it is good.
pub async fn bearer(server: &Server, token: &str) -> Option<User> {
    let claims = server.tokens().verify(token, server.now()).ok()?;
    is_alive(server, &claims).await.then(|| claims.user())
}

/// Whether the objects a token is bound to are still the same.
async fn is_alive(server: &Server, claims: &Claims) -> bool {
    let Some(bound) = &claims.bound else { return true };
    let same = async |plural: &str, object: &BoundObject| {
        let Some(row) = server.table().get("", "v1", plural) else { return false };
        let key = ObjectKey::new(bound.namespace.as_str(), object.name.as_str());
        let stored = server.storage().get(row, &key).await;
        let found = stored.ok().and_then(|stored| stored.object().ok());
        found.is_some_and(|found| found.metadata.uid.as_deref() == Some(object.uid.as_str()))
    };
    if !same("serviceaccounts", &bound.serviceaccount).await {
        return false;
    }
    match &bound.pod {
        Some(pod) => same("pods", pod).await,
        None => true,
    }
}
