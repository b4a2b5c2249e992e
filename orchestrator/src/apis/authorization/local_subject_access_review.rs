//! `localsubjectaccessreviews.authorization.k8s.io`: whether somebody may do something in this namespace.
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use serde_json::json;

use super::question;
use crate::api::{
    ApiError, Authorizer, Computed, FieldErrors, FieldPath, Object, Operation, Strategy, User,
};
use crate::apis::checks::invalid;

/// The `localsubjectaccessreviews.authorization.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct LocalSubjectAccessReviews;

impl Strategy for LocalSubjectAccessReviews {
    type Kind = LocalSubjectAccessReview;

    fn validate(
        &self,
        new: &LocalSubjectAccessReview,
        _: Operation<'_, LocalSubjectAccessReview>,
    ) -> FieldErrors {
        let mut errors = question::validate_subject(&new.spec);
        let path = FieldPath::new("spec");
        if let Some(attributes) = &new.spec.non_resource_attributes {
            let why = "disallowed on this kind of request";
            let path = path.child("nonResourceAttributes");
            errors.push(invalid(&path, json!(attributes), why));
        }
        let asked = new.spec.resource_attributes.as_ref();
        let asked = asked.map(|of| of.namespace.as_deref().unwrap_or_default());
        let own = new.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(asked) = asked.filter(|asked| *asked != own) {
            let path = path.child("resourceAttributes").child("namespace");
            errors.push(invalid(&path, json!(asked), "must match metadata.namespace"));
        }
        errors
    }
}

impl Computed for LocalSubjectAccessReviews {
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
