//! `selfsubjectaccessreviews.authorization.k8s.io`: tells callers what they may do.
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use serde_json::json;

use crate::api::{
    ApiError, Attributes, Authorizer, Computed, Decision, FieldErrors, FieldPath, Object,
    Operation, Strategy, User,
};
use crate::apis::checks::invalid;

/// The `selfsubjectaccessreviews` resource.
#[derive(Debug, Clone, Copy)]
pub struct SelfSubjectAccessReviews;

impl Strategy for SelfSubjectAccessReviews {
    type Kind = SelfSubjectAccessReview;

    fn validate(
        &self,
        new: &SelfSubjectAccessReview,
        _: Operation<'_, SelfSubjectAccessReview>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let spec = &new.spec;
        let one = spec.resource_attributes.is_some() != spec.non_resource_attributes.is_some();
        errors.check(one, || {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            invalid(
                &FieldPath::new("spec").child("resourceAttributes"),
                json!(spec.resource_attributes),
                why,
            )
        });
        errors
    }
}

impl Computed for SelfSubjectAccessReviews {
    fn create(
        &self,
        mut object: Object,
        user: &User,
        authorizer: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        let review: SelfSubjectAccessReview = object.decode()?;
        let text = |value: Option<String>| value.unwrap_or_default();
        let attributes =
            match (review.spec.resource_attributes, review.spec.non_resource_attributes) {
                (Some(of), _) => Attributes {
                    verb: text(of.verb),
                    group: text(of.group),
                    version: text(of.version),
                    resource: text(of.resource),
                    subresource: text(of.subresource),
                    namespace: text(of.namespace),
                    name: text(of.name),
                    path: String::new(),
                },
                (None, of) => Attributes {
                    verb: text(of.as_ref().and_then(|of| of.verb.clone())),
                    path: text(of.and_then(|of| of.path)),
                    ..Attributes::default()
                },
            };
        let (allowed, reason) = match authorizer.authorize(user, &attributes) {
            Decision::Allow => (true, String::new()),
            Decision::Deny(reason) => (false, reason),
        };
        let mut status = json!({"allowed": allowed});
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        object.body.insert("status".into(), status);
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::testing::{create_errors, object};

    struct OnlyPods;

    impl Authorizer for OnlyPods {
        fn authorize(&self, _: &User, attributes: &Attributes) -> Decision {
            if attributes.resource == "pods" {
                Decision::Allow
            } else {
                Decision::Deny("no".into())
            }
        }
    }

    #[test]
    fn the_authorizer_decides() {
        let review = |resource: &str| {
            let spec = json!({"resourceAttributes": {"verb": "get", "resource": resource}});
            let asked = object(
                "authorization.k8s.io/v1",
                "SelfSubjectAccessReview",
                json!({"spec": spec, "metadata": {}}),
            );
            SelfSubjectAccessReviews.create(asked, &User::anonymous(), &OnlyPods).unwrap().body["status"].clone()
        };
        assert_eq!(review("pods"), json!({"allowed": true}));
        assert_eq!(review("nodes"), json!({"allowed": false, "reason": "no"}));
    }

    #[test]
    fn a_review_of_nothing_is_refused() {
        let nothing =
            object("authorization.k8s.io/v1", "SelfSubjectAccessReview", json!({"spec": {}}));
        assert!(create_errors(&nothing)[0].contains("exactly one of"));
    }
}
