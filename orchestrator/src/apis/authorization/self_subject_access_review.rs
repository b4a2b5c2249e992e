//! `selfsubjectaccessreviews.authorization.k8s.io`: whether the caller may do something.
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;

use super::question;
use crate::api::{ApiError, Authorizer, Computed, FieldErrors, Object, Operation, Strategy, User};

/// The `selfsubjectaccessreviews.authorization.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct SelfSubjectAccessReviews;

impl Strategy for SelfSubjectAccessReviews {
    type Kind = SelfSubjectAccessReview;

    fn validate(
        &self,
        new: &SelfSubjectAccessReview,
        _: Operation<'_, SelfSubjectAccessReview>,
    ) -> FieldErrors {
        let (resource, path) = (&new.spec.resource_attributes, &new.spec.non_resource_attributes);
        question::validate(resource.as_ref(), path.as_ref())
    }
}

impl Computed for SelfSubjectAccessReviews {
    fn create(
        &self,
        object: Object,
        user: &User,
        authorizer: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        question::answered(self, object, |review| {
            let spec = &review.spec;
            let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
            let asked = question::attributes(resource.as_ref(), path.as_ref());
            review.status = Some(question::answer(authorizer, user, &asked));
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{Attributes, Authorizer, Decision, User};
    use crate::apis::testing::{object, row};

    struct Readers;
    impl Authorizer for Readers {
        fn authorize(&self, _: &User, attributes: &Attributes) -> Decision {
            match attributes.verb.as_str() {
                "get" => Decision::Allow,
                verb => Decision::Deny(format!("cannot {verb} {}", attributes.resource)),
            }
        }
    }

    fn ask(spec: serde_json::Value) -> Result<serde_json::Value, String> {
        let review = json!({"metadata": {}, "spec": spec});
        let review = object("authorization.k8s.io/v1", "SelfSubjectAccessReview", review);
        let computed = row(&review).computed.clone().unwrap();
        let answer = computed.create(review, &User::anonymous(), &Readers);
        answer.map(|object| object.body["status"].clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_authorizer_answers() {
        let ask_for = |verb| ask(json!({"resourceAttributes": {"verb": verb, "resource": "pods"}}));
        assert_eq!(ask_for("get").unwrap(), json!({"allowed": true}));
        assert_eq!(
            ask_for("delete").unwrap(),
            json!({"allowed": false, "reason": "cannot delete pods"})
        );
        assert_eq!(
            ask(json!({"nonResourceAttributes": {"verb": "get", "path": "/healthz"}})).unwrap(),
            json!({"allowed": true})
        );
    }

    #[test]
    fn one_question_at_a_time() {
        let error = ask(json!({})).unwrap_err();
        assert!(
            error.contains("exactly one of nonResourceAttributes or resourceAttributes"),
            "{error}"
        );
        assert!(ask(json!({"resourceAttributes": {}, "nonResourceAttributes": {}})).is_err());
    }
}
