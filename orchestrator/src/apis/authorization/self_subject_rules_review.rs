//! `selfsubjectrulesreviews.authorization.k8s.io`: all that the caller may do in a namespace.
use k8s_openapi::api::authorization::v1::{
    NonResourceRule, ResourceRule, SelfSubjectRulesReview, SubjectRulesReviewStatus,
};
use serde_json::json;

use super::question;
use crate::api::{
    ApiError, Authorizer, Computed, FieldErrors, FieldPath, Object, Operation, Strategy, User,
};
use crate::apis::checks::required;

/// The `selfsubjectrulesreviews.authorization.k8s.io` resource.
#[derive(Debug, Clone)]
pub struct SelfSubjectRulesReviews;

impl Strategy for SelfSubjectRulesReviews {
    type Kind = SelfSubjectRulesReview;

    fn validate(
        &self,
        new: &SelfSubjectRulesReview,
        _: Operation<'_, SelfSubjectRulesReview>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let named = new.spec.namespace.as_ref().is_some_and(|namespace| !namespace.is_empty());
        errors.check(named, || required(&FieldPath::new("spec").child("namespace"), ""));
        errors
    }
}

impl Computed for SelfSubjectRulesReviews {
    fn create(
        &self,
        object: Object,
        user: &User,
        authorizer: &dyn Authorizer,
    ) -> Result<Object, ApiError> {
        let mut object = question::answered(self, object, |review| {
            let rules =
                authorizer.rules(user, review.spec.namespace.as_deref().unwrap_or_default());
            let resource_rules = rules.iter().filter(|rule| rule.paths.is_empty());
            let path_rules = rules.iter().filter(|rule| !rule.paths.is_empty());
            review.status = Some(SubjectRulesReviewStatus {
                resource_rules: resource_rules
                    .map(|rule| ResourceRule {
                        api_groups: Some(rule.groups.clone()),
                        resources: Some(rule.resources.clone()),
                        resource_names: None,
                        verbs: rule.verbs.clone(),
                    })
                    .collect(),
                non_resource_rules: path_rules
                    .map(|rule| NonResourceRule {
                        non_resource_urls: Some(rule.paths.clone()),
                        verbs: rule.verbs.clone(),
                    })
                    .collect(),
                ..SubjectRulesReviewStatus::default()
            });
        })?;
        if let Some(status) =
            object.body.get_mut("status").and_then(|status| status.as_object_mut())
        {
            // Required, and false as ours to say.
            status.entry("incomplete").or_insert(json!(false));
        }
        Ok(object)
    }
}
