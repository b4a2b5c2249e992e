//! `selfsubjectaccessreviews.authorization.k8s.io`: whether the caller may do something.
use k8s_openapi::api::authorization::v1::{
    SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use serde_json::json;

use crate::api::{
    ApiError, Attributes, Authorizer, Computed, Decision, FieldErrors, FieldPath, Object,
    Operation, Strategy, User,
};
use crate::apis::checks::invalid;

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
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        match (&new.spec.resource_attributes, &new.spec.non_resource_attributes) {
            (Some(_), Some(attributes)) => {
                let why = "cannot be specified in combination with resourceAttributes";
                let path = path.child("nonResourceAttributes");
                errors.push(invalid(&path, json!(attributes), why));
            }
            (None, None) => {
                let why =
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                let path = path.child("resourceAttributes");
                errors.push(invalid(&path, serde_json::Value::Null, why));
            }
            _ => {}
        }
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
        let mut review: SelfSubjectAccessReview = object.decode()?;
        let errors = Strategy::validate(self, &review, Operation::Create);
        if !errors.is_empty() {
            return Err(ApiError::Invalid {
                group: "authorization.k8s.io".into(),
                kind: object.kind,
                name: object.metadata.name.unwrap_or_default(),
                errors,
            });
        }
        let (allowed, reason) = match authorizer.authorize(user, &attributes(&review.spec)) {
            Decision::Allow => (true, String::new()),
            Decision::Deny(reason) => (false, reason),
        };
        review.status = Some(SubjectAccessReviewStatus {
            allowed,
            reason: Some(reason).filter(|reason| !reason.is_empty()),
            ..SubjectAccessReviewStatus::default()
        });
        object.encode(&review)?;
        Ok(object)
    }
}

fn attributes(spec: &SelfSubjectAccessReviewSpec) -> Attributes {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(of) = &spec.resource_attributes {
        return Attributes {
            verb: text(&of.verb),
            group: text(&of.group),
            version: text(&of.version),
            resource: text(&of.resource),
            subresource: text(&of.subresource),
            namespace: text(&of.namespace),
            name: text(&of.name),
            path: String::new(),
        };
    }
    let of = spec.non_resource_attributes.clone().unwrap_or_default();
    Attributes { verb: text(&of.verb), path: text(&of.path), ..Attributes::default() }
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
