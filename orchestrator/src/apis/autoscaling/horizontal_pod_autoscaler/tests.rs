//! Of autoscalers as users write them.
use serde_json::{Value, json};

use crate::api::Object;
use crate::apis::testing::{cells, create, create_errors, headers, object, row, with};

fn autoscaler(rest: Value) -> Object {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 5,
    });
    for (name, value) in rest.as_object().unwrap() {
        spec[name] = value.clone();
    }
    object("autoscaling/v2", "HorizontalPodAutoscaler", json!({"spec": spec}))
}

fn resource(name: &str, target: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": name, "target": target}})
}

#[test]
fn cpu_is_kept_at_80_percent_where_nothing_is_said() {
    let created = create(&autoscaler(json!({}))).unwrap();
    let spec = &created.body["spec"];
    assert_eq!(spec["minReplicas"], 1);
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    assert_eq!(spec["metrics"], json!([resource("cpu", target)]));
    assert_eq!(spec.get("behavior"), None);
}

#[test]
fn a_behavior_is_filled_in() {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 5}});
    let created = create(&autoscaler(json!({"behavior": behavior}))).unwrap();
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    assert_eq!(
        created.body["spec"]["behavior"],
        json!({
            "scaleUp": {
                "selectPolicy": "Max", "stabilizationWindowSeconds": 0,
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
            },
            "scaleDown": {
                "selectPolicy": "Max", "stabilizationWindowSeconds": 5, "policies": [percent],
            },
        })
    );
}

#[test]
fn mistakes_are_named_in_kubernetes_words() {
    let bad = autoscaler(json!({
        "minReplicas": 0, "maxReplicas": -1,
        "scaleTargetRef": {"kind": "", "name": "a/b"},
        "metrics": [
            {"type": "Resource"},
            resource("cpu", json!({"type": "Utilization"})),
            resource("cpu", json!({"type": "", "averageUtilization": 0, "averageValue": "0"})),
            {"type": "Nonsense"},
            {"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue"}}},
        ],
        "behavior": {"scaleUp": {
            "stabilizationWindowSeconds": 3601, "selectPolicy": "Often", "tolerance": "-1",
            "policies": [{"type": "Some", "value": 0, "periodSeconds": 1801}],
        }},
    }));
    let errors = create_errors(&bad);
    let sources = r#""ContainerResource", "External", "Object", "Pods", "Resource""#;
    let expected = [
        "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1".to_owned(),
        "spec.maxReplicas: Invalid value: -1: must be greater than 0".into(),
        "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`".into(),
        "spec.scaleTargetRef.kind: Required value".into(),
        "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'".into(),
        "spec.metrics[0].resource: Required value: must populate information for the given metric source".into(),
        "spec.metrics[1].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization".into(),
        "spec.metrics[2].resource.target.type: Required value: must specify a metric target type".into(),
        "spec.metrics[2].resource.target.type: Invalid value: \"\": must be either Utilization, Value, or AverageValue".into(),
        "spec.metrics[2].resource.target.averageValue: Invalid value: \"0\": must be positive".into(),
        "spec.metrics[2].resource.target.averageUtilization: Invalid value: 0: must be greater than 0".into(),
        "spec.metrics[2].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization".into(),
        format!("spec.metrics[3].type: Unsupported value: \"Nonsense\": supported values: {sources}"),
        "spec.metrics[4].pods.metric.name: Required value: must specify a metric name".into(),
        "spec.metrics[4].pods.target.averageValue: Required value: must specify a positive target averageValue".into(),
        "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600".into(),
        "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Often\": supported values: \"Disabled\", \"Max\", \"Min\"".into(),
        "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to zero".into(),
        "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"Some\": supported values: \"Percent\", \"Pods\"".into(),
        "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero".into(),
        "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800".into(),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn its_row_shows_what_is_measured_beside_what_it_should_be() {
    let metrics = json!([
        resource("cpu", json!({"type": "Utilization", "averageUtilization": 50})),
        resource("memory", json!({"type": "AverageValue", "averageValue": "64Mi"})),
        {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
    ]);
    let created = create(&autoscaler(json!({"metrics": metrics}))).unwrap();
    assert_eq!(headers(&created), ["Reference", "Targets", "MinPods", "MaxPods", "Replicas"]);
    let unknown = "cpu: <unknown>/50%, memory: <unknown>/64Mi + 1 more...";
    assert_eq!(cells(&created), ["Deployment/web", unknown, "1", "5", "0"]);
    let current = json!({"averageUtilization": 12, "averageValue": "120m"});
    let status = json!({
        "currentReplicas": 3, "desiredReplicas": 3,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": current}}],
    });
    let row = cells(&with(&created, "/status", status));
    assert_eq!(row[1], "cpu: 12%/50%, memory: <unknown>/64Mi + 1 more...");
    assert_eq!(row[4], "3");
}

#[test]
fn the_first_version_is_another_form_of_the_same() {
    let old = object(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "maxReplicas": 5, "targetCPUUtilizationPercentage": 30,
        }}),
    );
    let row = row(&old);
    let stored = row.behaviour.to_stored(create(&old).unwrap()).unwrap();
    assert_eq!(stored.api_version, "autoscaling/v2");
    let target = json!({"type": "Utilization", "averageUtilization": 30});
    assert_eq!(stored.body["spec"]["metrics"], json!([resource("cpu", target)]));
    let served = row.behaviour.to_served(stored).unwrap();
    assert_eq!(served.body["spec"]["targetCPUUtilizationPercentage"], 30);
    assert_eq!(served.body["spec"].get("metrics"), None);
    assert_eq!(cells(&served)[1], "cpu: <unknown>/30%");
    let wrong = with(&old, "/spec/maxReplicas", json!(0));
    assert_eq!(
        create_errors(&wrong)[0],
        "spec.maxReplicas: Invalid value: 0: must be greater than 0"
    );
}

#[test]
fn what_the_first_version_does_not_know_goes_through_it_unharmed() {
    let metrics = json!([
        resource("cpu", json!({"type": "Utilization", "averageUtilization": 50})),
        resource("memory", json!({"type": "AverageValue", "averageValue": "64Mi"})),
        {"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 70}}},
        {"type": "Object", "object": {
            "describedObject": {"kind": "Ingress", "name": "i"},
            "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "Value", "value": "2"}}},
        {"type": "External", "external": {
            "metric": {"name": "e"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
    ]);
    let behavior = json!({"scaleDown": {"selectPolicy": "Disabled"}});
    let created = create(&autoscaler(json!({"metrics": metrics, "behavior": behavior}))).unwrap();
    let status = json!({
        "currentReplicas": 3, "desiredReplicas": 4,
        "currentMetrics": [{"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": 12, "averageValue": "120m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}],
    });
    let stored = with(&created, "/status", status);
    let v1 = row(&object("autoscaling/v1", "HorizontalPodAutoscaler", json!({"spec": {}})));

    let served = v1.behaviour.to_served(stored.clone()).unwrap();
    assert_eq!(served.body["status"]["currentCPUUtilizationPercentage"], 12);
    let annotations = served.metadata.annotations.clone().unwrap();
    let memory: Value =
        serde_json::from_str(&annotations["autoscaling.alpha.kubernetes.io/metrics"]).unwrap();
    assert_eq!(memory[0]["resource"], json!({"name": "memory", "targetAverageValue": "64Mi"}));

    assert_eq!(v1.behaviour.to_stored(served).unwrap(), stored);
}
