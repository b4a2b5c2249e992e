//! What is wrong with a Pod's spec.
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};

use crate::api::{FieldErrors, FieldPath};
use crate::apis::checks::{annotations, labels, required};

/// Checks a template; `path` is where it stands.
pub fn validate_template(errors: &mut FieldErrors, path: &FieldPath, template: &PodTemplateSpec) {
    if let Some(metadata) = &template.metadata {
        labels(errors, &path.child("labels"), metadata.labels.as_ref());
        annotations(errors, &path.child("annotations"), metadata.annotations.as_ref());
    }
    validate_spec(errors, &path.child("spec"), &template.spec.clone().unwrap_or_default());
}

/// Checks a spec; `path` is where it stands.
pub fn validate_spec(errors: &mut FieldErrors, path: &FieldPath, spec: &PodSpec) {
    if spec.containers.is_empty() {
        errors.push(required(&path.child("containers"), ""));
    }
}
