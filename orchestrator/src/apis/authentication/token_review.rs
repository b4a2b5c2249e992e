//! `tokenreviews.authentication.k8s.io`: whose a bearer token is.
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};

use crate::api::{ApiError, Authorizer, Computed, Object, Strategy, User};

/// Who our tokens are meant for.
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// The `tokenreviews.authentication.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct TokenReviews;

impl Strategy for TokenReviews {
    type Kind = TokenReview;
}

impl Computed for TokenReviews {
    fn create(
        &self,
        mut object: Object,
        user: &User,
        _: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        let mut review: TokenReview = object.decode()?;
        if review.spec.token.is_empty() {
            let why = "token is required for TokenReview in authentication";
            return Err(ApiError::BadRequest(why.into()));
        }
        review.status = Some(status(review.spec.audiences.as_deref().unwrap_or_default(), user));
        object.encode(&review)?;
        Ok(object)
    }

    fn token(&self, object: &Object) -> Option<String> {
        let token = object.body.get("spec")?.get("token")?.as_str()?;
        Some(token.to_owned())
    }
}

fn status(wanted: &[String], user: &User) -> TokenReviewStatus {
    let refused = |why: &str| TokenReviewStatus {
        error: Some(why.to_owned()),
        ..TokenReviewStatus::default()
    };
    if *user == User::anonymous() {
        return refused("invalid bearer token");
    }
    if !wanted.is_empty() && !wanted.iter().any(|audience| audience == AUDIENCE) {
        return refused(&format!(
            "token audiences [{AUDIENCE:?}] is invalid for the target audiences {wanted:?}"
        ));
    }
    TokenReviewStatus {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        authenticated: Some(true),
        error: None,
        user: Some(UserInfo {
            username: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups.clone()),
            extra: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_not_good_authenticates_nobody() {
        assert_eq!(status(&[], &User::anonymous()).authenticated, None);
        let known = status(&[], &User::component("alice"));
        assert_eq!(known.authenticated, Some(true));
        assert_eq!(known.user.unwrap().username.as_deref(), Some("alice"));
        let elsewhere = status(&["https://other".into()], &User::component("alice"));
        assert_eq!(elsewhere.authenticated, None);
        assert!(elsewhere.error.unwrap().contains("is invalid for the target audiences"));
    }
}
