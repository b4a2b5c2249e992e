//! `replicasets.apps`
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::template;
use crate::api::{
    Column, FieldErrors, FieldPath, Operation, SelectableField, Strategy, Subresource,
};
use crate::apis::checks::{immutable, invalid, not_negative, required, selector_text};
use crate::apis::core::pod_template;

/// The `replicasets.apps` resource.
#[derive(Debug)]
pub struct ReplicaSets;

impl Strategy for ReplicaSets {
    type Kind = ReplicaSet;

    const SHORT_NAMES: &'static [&'static str] = &["rs"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Scale {
            spec_replicas: "/spec/replicas",
            status_replicas: "/status/replicas",
            label_selector: "/spec/selector",
        },
    ];
    const COLUMNS: &'static [Column<ReplicaSet>] = &[
        Column::new("Desired", "Pods wanted", |r, _| {
            json!(spec(r).and_then(|spec| spec.replicas).unwrap_or_default())
        })
        .integer(),
        Column::new("Current", "Pods there are", |r, _| json!(seen(r, |s| s.replicas))).integer(),
        Column::new("Ready", "Pods that are ready", |r, _| {
            json!(seen(r, |s| s.ready_replicas.unwrap_or_default()))
        })
        .integer(),
        Column::new("Containers", "Names of each container in the template.", |r, _| {
            json!(template::container_names(template_of(r)))
        })
        .wide(),
        Column::new("Images", "Images referenced by each container in the template.", |r, _| {
            json!(template::images(template_of(r)))
        })
        .wide(),
        Column::new("Selector", "Label selector for its Pods", |r, _| {
            json!(spec(r).map_or_else(String::new, |spec| selector_text(&spec.selector)))
        })
        .wide(),
    ];
    const SELECTABLE_FIELDS: &'static [SelectableField<ReplicaSet>] = &[SelectableField {
        path: "status.replicas",
        value: |r| seen(r, |s| s.replicas).to_string(),
    }];
    const HAS_GENERATION: bool = true;

    fn empty_status(&self) -> Value {
        json!({"replicas": 0})
    }

    fn default(&self, set: &mut ReplicaSet) {
        let Some(spec) = &mut set.spec else { return };
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            template::defaults(template);
        }
    }

    fn validate(&self, new: &ReplicaSet, operation: Operation<'_, ReplicaSet>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Operation::UpdateStatus(_) = operation {
            validate_status(&mut errors, new.status.as_ref());
            return errors;
        }
        let path = FieldPath::new("spec");
        let Some(spec) = &new.spec else {
            errors.push(required(&path.child("selector"), ""));
            return errors;
        };
        for (field, number) in
            [("replicas", spec.replicas), ("minReadySeconds", spec.min_ready_seconds)]
        {
            not_negative(&mut errors, &path.child(field), number.map(i64::from));
        }
        match &spec.template {
            None => errors.push(required(&path.child("template"), "")),
            Some(template) => {
                template::validate(&mut errors, &path, &spec.selector, template);
            }
        }
        if let Some(old) = operation.old().and_then(|old| old.spec.as_ref()) {
            immutable(&mut errors, &path.child("selector"), &spec.selector, &old.selector);
        }
        errors
    }

    fn warnings(&self, set: &ReplicaSet) -> Vec<String> {
        template_of(set).map(pod_template::template_warnings).unwrap_or_default()
    }
}

fn validate_status(errors: &mut FieldErrors, status: Option<&ReplicaSetStatus>) {
    let Some(status) = status else { return };
    let path = FieldPath::new("status");
    let counts = [
        ("replicas", Some(status.replicas)),
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    for (field, count) in counts {
        not_negative(errors, &path.child(field), count.map(i64::from));
    }
    for (field, count) in &counts[1..] {
        let count = count.unwrap_or_default();
        errors.check(count <= status.replicas, || {
            invalid(&path.child(field), count, "cannot be greater than status.replicas")
        });
    }
    let (ready, available) = (counts[2].1.unwrap_or_default(), counts[3].1.unwrap_or_default());
    errors.check(available <= ready, || {
        let why = "cannot be greater than readyReplicas";
        invalid(&path.child("availableReplicas"), available, why)
    });
}

fn spec(set: &ReplicaSet) -> Option<&ReplicaSetSpec> {
    set.spec.as_ref()
}

fn template_of(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref()?.template.as_ref()
}

fn seen(set: &ReplicaSet, field: fn(&ReplicaSetStatus) -> i32) -> i32 {
    set.status.as_ref().map(field).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, fields, object, update, with};

    fn set() -> crate::api::Object {
        object(
            "apps/v1",
            "ReplicaSet",
            json!({"spec": {
                "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
                },
            }}),
        )
    }

    #[test]
    fn its_row_counts_pods() {
        let created = create(&set()).unwrap();
        assert_eq!(cells(&created), ["1", "0", "0", "a,b", "a:1,b:1", "app in (api,web)"]);
        assert_eq!(
            fields(&with(&created, "/status", json!({"replicas": 2}))),
            ["status.replicas=2"]
        );
    }

    #[test]
    fn a_template_is_required_and_the_selector_stays() {
        let old = create(&set()).unwrap();
        let new = object(
            "apps/v1",
            "ReplicaSet",
            json!({"spec": {"selector": old.body["spec"]["selector"]}}),
        );
        assert_eq!(create_errors(&new), ["spec.template: Required value"]);
        let new = with(&old, "/spec/selector", json!({"matchLabels": {"app": "web"}}));
        assert_eq!(update(&old, &new).unwrap_err().len(), 1);
    }
}
