//! `deployments.apps`
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::template;
use crate::api::int_or_string::{percentage, to_value};
use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, Subresource};
use crate::apis::checks::{
    forbidden, immutable, int_or_percent, invalid, not_more_than_all, not_negative, one_of,
    required, selector_text,
};
use crate::apis::core::pod_template;

/// The strategies; `kubectl` knows them by these names.
const STRATEGIES: [&str; 2] = ["Recreate", "RollingUpdate"];

/// The `deployments.apps` resource.
#[derive(Debug)]
pub struct Deployments;

impl Strategy for Deployments {
    type Kind = Deployment;

    const SHORT_NAMES: &'static [&'static str] = &["deploy"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Scale {
            spec_replicas: "/spec/replicas",
            status_replicas: "/status/replicas",
            label_selector: "/spec/selector",
        },
    ];
    const COLUMNS: &'static [Column<Deployment>] = &[
        Column::new("Ready", "Pods that are ready, of those wanted", |d, _| {
            let wanted = spec(d).and_then(|spec| spec.replicas).unwrap_or_default();
            json!(format!("{}/{wanted}", seen(d, |s| s.ready_replicas)))
        }),
        Column::new("Up-to-date", "Pods of the present template", |d, _| {
            json!(seen(d, |s| s.updated_replicas))
        })
        .integer(),
        Column::new("Available", "Pods that have been ready for long enough", |d, _| {
            json!(seen(d, |s| s.available_replicas))
        })
        .integer(),
        Column::new("Containers", "Names of each container in the template.", |d, _| {
            json!(template::container_names(spec(d).map(|spec| &spec.template)))
        })
        .wide(),
        Column::new("Images", "Images referenced by each container in the template.", |d, _| {
            json!(template::images(spec(d).map(|spec| &spec.template)))
        })
        .wide(),
        Column::new("Selector", "Label selector for its Pods", |d, _| {
            json!(spec(d).map_or_else(String::new, |spec| selector_text(&spec.selector)))
        })
        .wide(),
    ];
    const HAS_GENERATION: bool = true;

    fn default(&self, deployment: &mut Deployment) {
        let Some(spec) = &mut deployment.spec else { return };
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        let kind = strategy.type_.get_or_insert_default();
        if kind.is_empty() {
            *kind = "RollingUpdate".into();
        }
        if kind == "RollingUpdate" {
            let quarter = || IntOrString::String("25%".into());
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_surge.get_or_insert_with(quarter);
            rolling.max_unavailable.get_or_insert_with(quarter);
        }
        template::defaults(&mut spec.template);
    }

    fn validate(&self, new: &Deployment, operation: Operation<'_, Deployment>) -> FieldErrors {
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
        template::validate(&mut errors, &path, &spec.selector, &spec.template);
        let numbers = [
            ("replicas", spec.replicas),
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
            ("progressDeadlineSeconds", spec.progress_deadline_seconds),
        ];
        for (field, number) in numbers {
            not_negative(&mut errors, &path.child(field), number.map(i64::from));
        }
        if let Some(deadline) = spec.progress_deadline_seconds {
            let path = path.child("progressDeadlineSeconds");
            errors.check(deadline > spec.min_ready_seconds.unwrap_or_default(), || {
                invalid(&path, deadline, "must be greater than minReadySeconds")
            });
        }
        if let Some(strategy) = &spec.strategy {
            validate_strategy(&mut errors, &path.child("strategy"), strategy);
        }
        if let Some(old) = operation.old().and_then(|old| old.spec.as_ref()) {
            immutable(&mut errors, &path.child("selector"), &spec.selector, &old.selector);
        }
        errors
    }

    fn warnings(&self, deployment: &Deployment) -> Vec<String> {
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        template.map(pod_template::template_warnings).unwrap_or_default()
    }
}

fn validate_strategy(errors: &mut FieldErrors, path: &FieldPath, strategy: &DeploymentStrategy) {
    let kind = strategy.type_.as_deref().unwrap_or_default();
    one_of(errors, &path.child("type"), kind, &STRATEGIES);
    let path = path.child("rollingUpdate");
    match &strategy.rolling_update {
        Some(_) if kind == "Recreate" => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(forbidden(&path, why));
        }
        Some(rolling) if kind == "RollingUpdate" => validate_rolling(errors, &path, rolling),
        _ => {}
    }
}

fn validate_rolling(errors: &mut FieldErrors, path: &FieldPath, rolling: &RollingUpdateDeployment) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    int_or_percent(errors, &path.child("maxUnavailable"), unavailable);
    int_or_percent(errors, &path.child("maxSurge"), surge);
    let is_zero = |value: &IntOrString| match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => percentage(text) == Some(0),
    };
    let path = path.child("maxUnavailable");
    errors.check(!is_zero(unavailable) || !is_zero(surge), || {
        invalid(&path, to_value(unavailable), "may not be 0 when `maxSurge` is 0")
    });
    not_more_than_all(errors, &path, unavailable);
}

fn validate_status(errors: &mut FieldErrors, status: Option<&DeploymentStatus>) {
    let Some(status) = status else { return };
    let path = FieldPath::new("status");
    let total = status.replicas.unwrap_or_default();
    let counts = [
        ("replicas", status.replicas),
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("unavailableReplicas", status.unavailable_replicas),
        ("collisionCount", status.collision_count),
    ];
    for (field, count) in counts {
        not_negative(errors, &path.child(field), count.map(i64::from));
    }
    not_negative(errors, &path.child("observedGeneration"), status.observed_generation);
    for (field, count) in &counts[1..4] {
        let count = count.unwrap_or_default();
        errors.check(count <= total, || {
            invalid(&path.child(field), count, "cannot be greater than status.replicas")
        });
    }
    let (ready, available) = (status.ready_replicas, status.available_replicas.unwrap_or_default());
    errors.check(available <= ready.unwrap_or_default(), || {
        let why = "cannot be greater than readyReplicas";
        invalid(&path.child("availableReplicas"), available, why)
    });
}

fn spec(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.spec.as_ref()
}

fn seen(deployment: &Deployment, field: fn(&DeploymentStatus) -> Option<i32>) -> i32 {
    deployment.status.as_ref().and_then(field).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::{Object, Operation};
    use crate::apis::testing::{cells, create, create_errors, headers, object, row, update, with};

    fn deployment() -> Object {
        object(
            "apps/v1",
            "Deployment",
            json!({"spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1", "resources": {"limits": {"cpu": "1000m"}}}]},
                },
            }}),
        )
    }

    fn strategy(strategy: Value) -> Vec<String> {
        create_errors(&with(&deployment(), "/spec/strategy", strategy))
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let spec = create(&deployment()).unwrap().body["spec"].clone();
        assert_eq!(spec["replicas"], 1);
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        let template = &spec["template"]["spec"];
        assert_eq!(template["restartPolicy"], "Always");
        // A template keeps its requests as written, and has no service links.
        assert_eq!(template["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(template.get("enableServiceLinks"), None);
    }

    #[test]
    fn its_row_counts_pods() {
        let created = create(&deployment()).unwrap();
        assert_eq!(
            headers(&created),
            ["Ready", "Up-to-date", "Available", "Containers", "Images", "Selector"]
        );
        assert_eq!(cells(&created), ["0/1", "0", "0", "web", "web:1", "app=web"]);
        let status = json!({"replicas": 4, "readyReplicas": 3, "updatedReplicas": 2, "availableReplicas": 1});
        assert_eq!(cells(&with(&created, "/status", status))[..3], ["3/1", "2", "1"]);
    }

    #[test]
    fn the_selector_must_match_the_template_and_stay() {
        let old = create(&deployment()).unwrap();
        let selector = json!({"matchLabels": {"app": "api"}});
        let new = with(&old, "/spec/selector", selector);
        assert_eq!(
            update(&old, &new).unwrap_err(),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"api\"}}: field is immutable",
            ]
        );
        let mut missing = old.to_value().unwrap();
        missing["spec"].as_object_mut().unwrap().remove("selector");
        assert_eq!(
            create_errors(&Object::from_value(missing).unwrap()),
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ]
        );
    }

    #[test]
    fn rolling_updates_must_be_able_to_move() {
        let rolling = |surge: Value, unavailable: Value| {
            strategy(json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}))
        };
        assert!(rolling(json!(1), json!(0)).is_empty());
        assert!(rolling(json!("100%"), json!("0%")).is_empty());
        assert_eq!(
            rolling(json!("0%"), json!(0)),
            [
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
            ]
        );
        assert_eq!(
            rolling(json!(-1), json!("120%")),
            [
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"120%\": must not be greater than 100%",
            ]
        );
        assert!(rolling(json!("half"), json!(1))[0].contains("a valid percent string must be"));
        assert_eq!(
            strategy(json!({"type": "Recreate", "rollingUpdate": {}})),
            [
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
            ]
        );
        assert!(strategy(json!({"type": "Recreate"})).is_empty());
        assert_eq!(
            strategy(json!({"type": "BlueGreen"})),
            [
                "spec.strategy.type: Unsupported value: \"BlueGreen\": supported values: \"Recreate\", \"RollingUpdate\""
            ]
        );
    }

    #[test]
    fn numbers_are_not_negative() {
        let new = with(&deployment(), "/spec/replicas", json!(-1));
        let new = with(&new, "/spec/progressDeadlineSeconds", json!(5));
        assert_eq!(
            create_errors(&with(&new, "/spec/minReadySeconds", json!(5))),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
            ]
        );
    }

    #[test]
    fn its_pods_always_restart() {
        let spec = "/spec/template/spec/restartPolicy";
        assert_eq!(
            create_errors(&with(&deployment(), spec, json!("Never"))),
            [
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
            ]
        );
    }

    #[test]
    fn a_status_adds_up() {
        let old = create(&deployment()).unwrap();
        let new = with(&old, "/status", json!({"replicas": 1, "readyReplicas": 2}));
        let (errors, _) =
            row(&new).behaviour.validate(&new, Operation::UpdateStatus(&old)).unwrap();
        assert_eq!(
            errors.to_string(),
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
        );
    }
}
