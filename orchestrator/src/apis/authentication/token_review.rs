//! `tokenreviews.authentication.k8s.io`: whose a bearer token is.
use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};

use crate::api::{ApiError, Authorizer, Computed, Object, Owner, Presented, Strategy, User};

/// The `tokenreviews.authentication.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct TokenReviews;

impl Strategy for TokenReviews {
    type Kind = TokenReview;
}

impl Computed for TokenReviews {
    fn create(&self, _: Object, _: &User, _: &dyn Authorizer) -> Result<Object, ApiError> {
        let why = "token is required for TokenReview in authentication";
        Err(ApiError::BadRequest(why.into()))
    }

    fn token(&self, object: &Object) -> Result<Option<Presented>, ApiError> {
        let review: TokenReview = object.decode()?;
        let TokenReviewSpec { audiences, token } = review.spec;
        let presented = Presented { token, audiences: audiences.unwrap_or_default() };
        Ok(Some(presented).filter(|presented| !presented.token.is_empty()))
    }

    fn about_token(
        &self,
        mut object: Object,
        owner: Result<Owner, String>,
    ) -> Result<Object, ApiError> {
        let mut review: TokenReview = object.decode()?;
        review.status = Some(status(owner));
        object.encode(&review)?;
        Ok(object)
    }
}

fn status(owner: Result<Owner, String>) -> TokenReviewStatus {
    let Owner { user, audiences } = match owner {
        Ok(owner) => owner,
        Err(why) => return TokenReviewStatus { error: Some(why), ..TokenReviewStatus::default() },
    };
    TokenReviewStatus {
        audiences: Some(audiences),
        authenticated: Some(true),
        error: None,
        user: Some(UserInfo {
            username: Some(user.name),
            uid: Some(user.uid).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups),
            extra: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apis::testing::object;

    #[test]
    fn a_token_that_is_not_good_authenticates_nobody() {
        let refused = status(Err("invalid bearer token".into()));
        assert_eq!((refused.authenticated, refused.user), (None, None));
        assert_eq!(refused.error.as_deref(), Some("invalid bearer token"));
        let owner = Owner { user: User::component("alice"), audiences: vec!["vault".into()] };
        let known = status(Ok(owner));
        assert_eq!(known.authenticated, Some(true));
        assert_eq!(known.audiences.unwrap(), ["vault"]);
        assert_eq!(known.user.unwrap().username.as_deref(), Some("alice"));
    }

    #[test]
    fn a_review_says_who_the_token_was_shown_to() {
        let review =
            |spec| object("authentication.k8s.io/v1", "TokenReview", json!({"spec": spec}));
        let asked = review(json!({"token": "t", "audiences": ["vault"]}));
        let presented = Presented { token: "t".into(), audiences: vec!["vault".into()] };
        assert_eq!(TokenReviews.token(&asked).unwrap(), Some(presented));
        assert_eq!(TokenReviews.token(&review(json!({"token": ""}))).unwrap(), None);
    }
}
