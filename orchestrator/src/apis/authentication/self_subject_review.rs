//! `selfsubjectreviews.authentication.k8s.io`: tells callers who they are.
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use serde_json::json;

use crate::api::{ApiError, Authorizer, Computed, Object, Strategy, User};

/// The `selfsubjectreviews` resource.
#[derive(Debug, Clone, Copy)]
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
        let mut info = json!({"username": user.name, "groups": user.groups});
        if !user.uid.is_empty() {
            info["uid"] = json!(user.uid);
        }
        object.body.insert("status".into(), json!({"userInfo": info}));
        Ok(object)
    }
}
