//! `subjectaccessreviews.authorization.k8s.io`: whether somebody may do something.
use k8s_openapi::api::authorization::v1::SubjectAccessReview;

use super::question;
use crate::api::{ApiError, Authorizer, Computed, FieldErrors, Object, Operation, Strategy, User};

/// The `subjectaccessreviews.authorization.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct SubjectAccessReviews;

impl Strategy for SubjectAccessReviews {
    type Kind = SubjectAccessReview;

    fn validate(
        &self,
        new: &SubjectAccessReview,
        _: Operation<'_, SubjectAccessReview>,
    ) -> FieldErrors {
        question::validate_subject(&new.spec)
    }
}

impl Computed for SubjectAccessReviews {
    fn create(
        &self,
        object: Object,
        _: &User,
        authorizer: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        question::answered(self, object, |review| {
            review.status = Some(question::answer_about(authorizer, &review.spec));
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{Attributes, Authorizer, Decision, User};
    use crate::apis::testing::{object, row};

    struct OnlyEve;
    impl Authorizer for OnlyEve {
        fn authorize(&self, user: &User, _: &Attributes) -> Decision {
            if user.name == "eve" { Decision::Allow } else { Decision::Deny("not eve".into()) }
        }
    }

    #[test]
    fn it_is_the_subject_that_is_asked_about() {
        let ask = |spec: serde_json::Value| {
            let review =
                object("authorization.k8s.io/v1", "SubjectAccessReview", json!({"spec": spec}));
            let computed = row(&review).computed.clone().unwrap();
            let answer = computed.create(review, &User::component("eve"), &OnlyEve);
            answer.map(|object| object.body["status"].clone()).map_err(|error| error.to_string())
        };
        let pods = json!({"verb": "get", "resource": "pods"});
        let about = |user: &str| ask(json!({"user": user, "resourceAttributes": pods}));
        assert_eq!(about("eve").unwrap(), json!({"allowed": true}));
        assert_eq!(about("bob").unwrap(), json!({"allowed": false, "reason": "not eve"}));
        let error = ask(json!({"resourceAttributes": pods})).unwrap_err();
        assert!(error.contains("at least one of user or group must be specified"), "{error}");
    }
}
