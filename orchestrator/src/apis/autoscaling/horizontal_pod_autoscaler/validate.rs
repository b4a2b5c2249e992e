//! What is wrong with an autoscaler, in Kubernetes' words.
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use serde_json::json;

use crate::api::{FieldErrors, FieldPath, Quantity, names};
use crate::apis::checks::{
    forbidden, form, invalid, label_selector, not_negative, one_of, required,
};

/// The longest stabilization window, in seconds.
const WINDOW_MAX: i32 = 3600;
/// The longest period of a policy, in seconds.
const PERIOD_MAX: i32 = 1800;

const SOURCES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(super) fn status(autoscaler: &HorizontalPodAutoscaler) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let Some(status) = &autoscaler.status else { return errors };
    let path = FieldPath::new("status");
    let current = status.current_replicas.map(i64::from);
    not_negative(&mut errors, &path.child("currentReplicas"), current);
    let desired = Some(i64::from(status.desired_replicas));
    not_negative(&mut errors, &path.child("desiredReplicas"), desired);
    errors
}

pub(super) fn spec(spec: &HorizontalPodAutoscalerSpec) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("spec");
    let (least, most) = (spec.min_replicas, spec.max_replicas);
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.push(invalid(
            &path.child("minReplicas"),
            least,
            "must be greater than or equal to 1",
        ));
    }
    let at = path.child("maxReplicas");
    errors.check(most >= 1, || invalid(&at, most, "must be greater than 0"));
    errors.check(least.is_none_or(|least| most >= least), || {
        invalid(&at, most, "must be greater than or equal to `minReplicas`")
    });
    reference(&mut errors, &path.child("scaleTargetRef"), &spec.scale_target_ref);
    for (i, one) in spec.metrics.iter().flatten().enumerate() {
        metric(&mut errors, &path.child("metrics").index(i), one);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        rules(&mut errors, &path.child("scaleUp"), behavior.scale_up.as_ref());
        rules(&mut errors, &path.child("scaleDown"), behavior.scale_down.as_ref());
    }
    errors
}

fn reference(errors: &mut FieldErrors, path: &FieldPath, to: &CrossVersionObjectReference) {
    for (field, text) in [("kind", &to.kind), ("name", &to.name)] {
        segment(errors, &path.child(field), text, "");
    }
    if let Some(version) = to.api_version.as_deref().filter(|v| v.matches('/').count() > 1) {
        let why = format!("unexpected GroupVersion string: {version}");
        errors.push(invalid(&path.child("apiVersion"), version, why));
    }
}

/// A name that can stand in a path.
fn segment(errors: &mut FieldErrors, path: &FieldPath, text: &str, missing: &str) {
    if text.is_empty() {
        return errors.push(required(path, missing));
    }
    if matches!(text, "." | "..") {
        return errors.push(invalid(path, text, format!("may not be '{text}'")));
    }
    for letter in ["/", "%"] {
        errors.check(!text.contains(letter), || {
            invalid(path, text, format!("may not contain '{letter}'"))
        });
    }
}

fn metric(errors: &mut FieldErrors, path: &FieldPath, metric: &MetricSpec) {
    let at = path.child("type");
    if metric.type_.is_empty() {
        errors.push(required(&at, "must specify a metric source type"));
    }
    one_of(errors, &at, &metric.type_, &SOURCES);
    let present = [
        ("object", metric.object.is_some()),
        ("external", metric.external.is_some()),
        ("pods", metric.pods.is_some()),
        ("resource", metric.resource.is_some()),
        ("containerResource", metric.container_resource.is_some()),
    ];
    let present: Vec<&str> = present.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if let Some(first) = present.first() {
        source(errors, &path.child(first), first, metric);
    }
    let mut expected = metric.type_.clone();
    if let Some(first) = expected.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    if SOURCES.contains(&metric.type_.as_str()) && !present.contains(&expected.as_str()) {
        let why = "must populate information for the given metric source";
        errors.push(required(&path.child(&expected), why));
    }
    if present.len() != 1 {
        for other in present.iter().filter(|name| **name != expected) {
            let why = "must populate the given metric source only";
            errors.push(forbidden(&path.child(other), why));
        }
    }
}

fn source(errors: &mut FieldErrors, path: &FieldPath, name: &str, metric: &MetricSpec) {
    let at = path.child("target");
    let average = at.child("averageValue");
    match name {
        "object" => {
            let Some(source) = &metric.object else { return };
            reference(errors, &path.child("describedObject"), &source.described_object);
            identifier(errors, &path.child("metric"), &source.metric);
            target(errors, &at, &source.target);
            let set = source.target.value.is_some() || source.target.average_value.is_some();
            let why = "must set either a target value or averageValue";
            errors.check(set, || required(&average, why));
        }
        "external" => {
            let Some(source) = &metric.external else { return };
            identifier(errors, &path.child("metric"), &source.metric);
            target(errors, &at, &source.target);
            let (value, mean) = (&source.target.value, &source.target.average_value);
            errors.check(value.is_some() || mean.is_some(), || {
                required(&average, "must set either a target value for metric or a per-pod target")
            });
            errors.check(value.is_none() || mean.is_none(), || {
                let why = "may not set both a target value for metric and a per-pod target";
                forbidden(&at.child("value"), why)
            });
        }
        "pods" => {
            let Some(source) = &metric.pods else { return };
            identifier(errors, &path.child("metric"), &source.metric);
            target(errors, &at, &source.target);
            errors.check(source.target.average_value.is_some(), || {
                required(&average, "must specify a positive target averageValue")
            });
        }
        "resource" => {
            let Some(source) = &metric.resource else { return };
            resource_target(errors, path, &source.name, &source.target);
        }
        _ => {
            let Some(source) = &metric.container_resource else { return };
            let container = path.child("container");
            if source.container.is_empty() {
                errors.push(required(&container, "must specify a container"));
            } else {
                form(errors, &container, &source.container, names::dns_label);
            }
            resource_target(errors, path, &source.name, &source.target);
        }
    }
}

fn resource_target(errors: &mut FieldErrors, path: &FieldPath, name: &str, to: &MetricTarget) {
    if name.is_empty() {
        errors.push(required(&path.child("name"), "must specify a resource name"));
    }
    let path = path.child("target");
    target(errors, &path, to);
    let (utilization, value) = (to.average_utilization.is_some(), to.average_value.is_some());
    errors.check(utilization || value, || {
        let why = "must set either a target raw value or a target utilization";
        required(&path.child("averageUtilization"), why)
    });
    errors.check(!(utilization && value), || {
        let why = "may not set both a target raw value and a target utilization";
        forbidden(&path.child("averageValue"), why)
    });
}

fn target(errors: &mut FieldErrors, path: &FieldPath, target: &MetricTarget) {
    let at = path.child("type");
    if target.type_.is_empty() {
        errors.push(required(&at, "must specify a metric target type"));
    }
    let known = ["Utilization", "Value", "AverageValue"].contains(&target.type_.as_str());
    errors.check(known, || {
        let why = "must be either Utilization, Value, or AverageValue";
        invalid(&at, target.type_.as_str(), why)
    });
    positive(errors, &path.child("value"), target.value.as_ref());
    positive(errors, &path.child("averageValue"), target.average_value.as_ref());
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        errors.push(invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
}

fn positive(errors: &mut FieldErrors, path: &FieldPath, value: Option<&resource::Quantity>) {
    let Some(value) = value else { return };
    match Quantity::try_from(value) {
        Ok(amount) if !amount.is_negative() && !amount.is_zero() => {}
        Ok(_) => errors.push(invalid(path, value.0.as_str(), "must be positive")),
        Err(error) => errors.push(invalid(path, value.0.as_str(), error.to_string())),
    }
}

fn identifier(errors: &mut FieldErrors, path: &FieldPath, metric: &MetricIdentifier) {
    segment(errors, &path.child("name"), &metric.name, "must specify a metric name");
    if let Some(selector) = &metric.selector {
        label_selector(errors, &path.child("selector"), selector);
    }
}

fn rules(errors: &mut FieldErrors, path: &FieldPath, rules: Option<&HPAScalingRules>) {
    let Some(rules) = rules else { return };
    if let Some(window) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        errors
            .check(window >= 0, || invalid(&path, window, "must be greater than or equal to zero"));
        errors.check(window <= WINDOW_MAX, || {
            invalid(&path, window, format!("must be less than or equal to {WINDOW_MAX}"))
        });
    }
    if let Some(select) = &rules.select_policy {
        one_of(errors, &path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    if let Some(tolerance) = &rules.tolerance {
        let path = path.child("tolerance");
        let why = match Quantity::try_from(tolerance) {
            Ok(amount) if !amount.is_negative() => None,
            Ok(_) => Some("must be greater than or equal to zero".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        errors.0.extend(why.map(|why| invalid(&path, json!(tolerance.0), why)));
    }
    let at = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    errors.check(!policies.is_empty(), || required(&at, "must specify at least one Policy"));
    for (i, policy) in policies.iter().enumerate() {
        let path = at.index(i);
        one_of(errors, &path.child("type"), &policy.type_, &["Percent", "Pods"]);
        let above_zero = "must be greater than zero";
        errors.check(policy.value > 0, || invalid(&path.child("value"), policy.value, above_zero));
        let (path, period) = (path.child("periodSeconds"), policy.period_seconds);
        errors.check(period > 0, || invalid(&path, period, above_zero));
        errors.check(period <= PERIOD_MAX, || {
            invalid(&path, period, format!("must be less than or equal to {PERIOD_MAX}"))
        });
    }
}
