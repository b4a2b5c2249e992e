//! What the kinds share that make Pods of a template.
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

use crate::api::{FieldErrors, FieldPath};
use crate::apis::checks::{
    forbidden, invalid, label_selector, one_of, required, selects, selects_all,
};
use crate::apis::core::pod_template;

/// Fills in the template.
pub fn defaults(template: &mut PodTemplateSpec) {
    if let Some(spec) = &mut template.spec {
        pod_template::spec_defaults(spec);
    }
}

/// A selector that selects something, and the template's Pods, and a template whose Pods can be replaced; `path` is `spec`.
pub fn validate(
    errors: &mut FieldErrors,
    path: &FieldPath,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
) {
    let at = path.child("selector");
    label_selector(errors, &at, selector);
    // One that is empty is decoded as one that is missing, which is the likelier mistake.
    let missing = selects_all(selector);
    errors.check(!missing, || required(&at, ""));
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let path = path.child("template");
    if missing || !selects(selector, labels) {
        let at = path.child("metadata").child("labels");
        let why = "`selector` does not match template `labels`";
        errors.push(invalid(&at, json!(labels), why));
    }
    pod_template::validate_template(errors, &path, template);
    let Some(spec) = &template.spec else { return };
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    let at = path.child("spec");
    one_of(errors, &at.child("restartPolicy"), policy, &["Always"]);
    if spec.active_deadline_seconds.is_some() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(forbidden(&at.child("activeDeadlineSeconds"), why));
    }
}

/// The names of a template's containers.
pub fn container_names(template: Option<&PodTemplateSpec>) -> String {
    list(template, |container| &container.name)
}

/// The images of a template's containers.
pub fn images(template: Option<&PodTemplateSpec>) -> String {
    list(template, |container| container.image.as_deref().unwrap_or_default())
}

fn list(template: Option<&PodTemplateSpec>, text: fn(&Container) -> &str) -> String {
    let containers = template.and_then(|template| template.spec.as_ref()).map(|s| &s.containers);
    containers.into_iter().flatten().map(text).collect::<Vec<_>>().join(",")
}
