//! What the access reviews have in common: one question, one answer.
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use serde_json::{Value, json};

use crate::api::{
    ApiError, Attributes, Authorizer, Decision, FieldErrors, FieldPath, Object, Operation,
    Strategy, User,
};
use crate::apis::checks::invalid;

/// Refuses none and two questions at once.
pub fn validate(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let spec = FieldPath::new("spec");
    match (resource, path) {
        (Some(_), Some(attributes)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(invalid(&spec.child("nonResourceAttributes"), json!(attributes), why));
        }
        (None, None) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(invalid(&spec.child("resourceAttributes"), Value::Null, why));
        }
        _ => {}
    }
    errors
}

/// Refuses a question about somebody that names nobody.
pub fn validate_subject(spec: &SubjectAccessReviewSpec) -> FieldErrors {
    let mut errors =
        validate(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    let user = spec.user.as_deref().unwrap_or_default();
    if user.is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let why = "at least one of user or group must be specified";
        errors.push(invalid(&FieldPath::new("spec").child("user"), json!(user), why));
    }
    errors
}

/// The review with its answer, unless something is wrong with it.
pub fn answered<S: Strategy>(
    strategy: &S,
    mut object: Object,
    answer: impl FnOnce(&mut S::Kind),
) -> Result<Object, ApiError> {
    let mut review: S::Kind = object.decode()?;
    let errors = strategy.validate(&review, Operation::Create);
    if !errors.is_empty() {
        return Err(ApiError::Invalid {
            group: "authorization.k8s.io".into(),
            kind: object.kind.clone(),
            name: object.metadata.name.clone().unwrap_or_default(),
            errors,
        });
    }
    answer(&mut review);
    object.encode(&review)?;
    Ok(object)
}

/// What is asked.
pub fn attributes(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> Attributes {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match (resource, path) {
        (Some(of), _) => Attributes {
            verb: text(&of.verb),
            group: text(&of.group),
            version: text(&of.version),
            resource: text(&of.resource),
            subresource: text(&of.subresource),
            namespace: text(&of.namespace),
            name: text(&of.name),
            path: String::new(),
        },
        (None, Some(of)) => {
            Attributes { verb: text(&of.verb), path: text(&of.path), ..Attributes::default() }
        }
        (None, None) => Attributes::default(),
    }
}

/// What the authorizer says to it.
pub fn answer(
    authorizer: &dyn Authorizer,
    user: &User,
    asked: &Attributes,
) -> SubjectAccessReviewStatus {
    let (allowed, reason) = match authorizer.authorize(user, asked) {
        Decision::Allow => (true, String::new()),
        Decision::Deny(reason) => (false, reason),
    };
    SubjectAccessReviewStatus {
        allowed,
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        ..SubjectAccessReviewStatus::default()
    }
}

/// What the authorizer says about the subject of a review.
pub fn answer_about(
    authorizer: &dyn Authorizer,
    spec: &SubjectAccessReviewSpec,
) -> SubjectAccessReviewStatus {
    let user = User {
        name: spec.user.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
    };
    let asked =
        attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    answer(authorizer, &user, &asked)
}
