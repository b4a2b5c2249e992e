//! `selfsubjectreviews.authentication.k8s.io`: who the server takes the caller for.
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus, UserInfo};

use crate::api::{ApiError, Authorizer, Computed, Object, Strategy, User};

/// The `selfsubjectreviews.authentication.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct SelfSubjectReviews;

impl Strategy for SelfSubjectReviews {
    type Kind = SelfSubjectReview;
}

impl Computed for SelfSubjectReviews {
    fn create(
        &self,
        mut object: Object,
        user: &User,
        _: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        let mut review: SelfSubjectReview = object.decode()?;
        let user_info = UserInfo {
            username: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups.clone()),
            extra: None,
        };
        review.status = Some(SelfSubjectReviewStatus { user_info: Some(user_info) });
        object.encode(&review)?;
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{Attributes, Authorizer, Decision, User};
    use crate::apis::testing::{object, row};

    struct Nobody;
    impl Authorizer for Nobody {
        fn authorize(&self, _: &User, _: &Attributes) -> Decision {
            Decision::Deny(String::new())
        }
    }

    #[test]
    fn callers_learn_who_they_are() {
        let review =
            object("authentication.k8s.io/v1", "SelfSubjectReview", json!({"metadata": {}}));
        let computed = row(&review).computed.clone().unwrap();
        let user = User { name: "jane".into(), uid: String::new(), groups: vec!["dev".into()] };
        let answer = computed.create(review, &user, &Nobody).unwrap();
        assert_eq!(
            answer.body["status"],
            json!({"userInfo": {"username": "jane", "groups": ["dev"]}})
        );
    }
}
