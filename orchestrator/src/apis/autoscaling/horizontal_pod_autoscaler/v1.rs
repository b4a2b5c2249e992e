//! `autoscaling/v1`: the stored objects as they were before v2.
//!
//! v1 knows CPU utilization alone. As in Kubernetes, everything else of v2
//! travels in annotations, so that an object that is read and written back
//! through v1 loses nothing.
use k8s_openapi::api::autoscaling::{v1, v2};
use serde_json::{Map, Value, json};

use super::{HorizontalPodAutoscalers, columns, cpu, default, validate};
use crate::api::{Column, DecodeError, FieldErrors, Object, Operation, Strategy, Subresource};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// The fields of v1 that v2 does not have.
const CPU_TARGET: &str = "targetCPUUtilizationPercentage";
const CPU_CURRENT: &str = "currentCPUUtilizationPercentage";

/// The `horizontalpodautoscalers.autoscaling` resource in version v1.
#[derive(Debug)]
pub struct HorizontalPodAutoscalersV1;

impl Strategy for HorizontalPodAutoscalersV1 {
    type Kind = v1::HorizontalPodAutoscaler;

    const SHORT_NAMES: &'static [&'static str] = HorizontalPodAutoscalers::SHORT_NAMES;
    const CATEGORIES: &'static [&'static str] = HorizontalPodAutoscalers::CATEGORIES;
    const SUBRESOURCES: &'static [Subresource] = HorizontalPodAutoscalers::SUBRESOURCES;
    const CONVERTED: bool = true;
    const COLUMNS: &'static [Column<v1::HorizontalPodAutoscaler>] = &[
        Column::new("Reference", "What is scaled", |a, _| {
            cell(a, |a| json!(columns::reference(a)))
        }),
        Column::new("Targets", "What is measured, and what it should be", |a, _| {
            cell(a, |a| json!(columns::targets(a)))
        }),
        Column::new("MinPods", "The fewest Pods", |a, _| cell(a, |a| json!(columns::least(a)))),
        Column::new("MaxPods", "The most Pods", |a, _| cell(a, |a| json!(a.spec.max_replicas)))
            .integer(),
        Column::new("Replicas", "Pods there are", |a, _| cell(a, |a| json!(columns::replicas(a))))
            .integer(),
    ];

    fn empty_status(&self) -> Value {
        json!({"currentReplicas": 0, "desiredReplicas": 0})
    }

    fn default(&self, autoscaler: &mut v1::HorizontalPodAutoscaler) {
        autoscaler.spec.min_replicas.get_or_insert(1);
    }

    fn validate(
        &self,
        new: &v1::HorizontalPodAutoscaler,
        operation: Operation<'_, v1::HorizontalPodAutoscaler>,
    ) -> FieldErrors {
        let Some(new) = current(new) else { return FieldErrors::default() };
        match operation {
            Operation::UpdateStatus(_) => validate::status(&new),
            _ => validate::spec(&new.spec),
        }
    }

    fn to_stored(&self, object: Object) -> Result<Object, DecodeError> {
        let mut object = upgraded(object);
        let mut typed: v2::HorizontalPodAutoscaler = object.decode()?;
        default(&mut typed);
        object.encode(&typed)?;
        Ok(object)
    }

    fn to_served(&self, object: Object) -> Result<Object, DecodeError> {
        Ok(downgraded(object))
    }
}

fn cell(old: &v1::HorizontalPodAutoscaler, of: fn(&v2::HorizontalPodAutoscaler) -> Value) -> Value {
    current(old).map_or_else(|| json!("<unknown>"), |new| of(&new))
}

/// The stored form; none if its annotations are not of this form.
fn current(old: &v1::HorizontalPodAutoscaler) -> Option<v2::HorizontalPodAutoscaler> {
    let mut object = Object::default();
    object.encode(old).ok()?;
    upgraded(object).decode().ok()
}

fn upgraded(mut object: Object) -> Object {
    object.api_version = "autoscaling/v2".into();
    let mut annotations = object.metadata.annotations.take().unwrap_or_default();
    let mut kept = |name: &str| -> Option<Value> {
        // What somebody wrote there by hand and is no JSON is dropped, as in Kubernetes.
        serde_json::from_str(&annotations.remove(name)?).ok()
    };
    let (metrics, behavior) = (kept(METRICS), kept(BEHAVIOR));
    let (current_metrics, conditions) = (kept(CURRENT_METRICS), kept(CONDITIONS));
    object.metadata.annotations = Some(annotations).filter(|all| !all.is_empty());
    if let Some(spec) = object.body.get_mut("spec").and_then(Value::as_object_mut) {
        let target = spec.remove(CPU_TARGET).and_then(|target| target.as_i64());
        let target = target.map(|target| json!(cpu(i32::try_from(target).unwrap_or(i32::MAX))));
        put(spec, "metrics", target, metrics.as_ref(), source_of_v2);
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = object.body.get_mut("status").and_then(Value::as_object_mut) {
        let seen = status.remove(CPU_CURRENT).map(|seen| {
            let current = json!({"averageUtilization": seen, "averageValue": "0"});
            json!({"type": "Resource", "resource": {"name": "cpu", "current": current}})
        });
        // The whole is among them, with its average value.
        let whole = current_metrics.as_ref().and_then(Value::as_array);
        let seen = seen.filter(|_| whole.is_none_or(|all| !all.iter().any(is_cpu)));
        put(status, "currentMetrics", seen, current_metrics.as_ref(), status_of_v2);
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
    object
}

fn put(
    into: &mut Map<String, Value>,
    field: &str,
    first: Option<Value>,
    others: Option<&Value>,
    convert: fn(&Value) -> Value,
) {
    let others = others.and_then(Value::as_array).into_iter().flatten();
    let all: Vec<Value> = first.into_iter().chain(others.map(convert)).collect();
    if !all.is_empty() {
        into.insert(field.into(), Value::Array(all));
    }
}

fn downgraded(mut object: Object) -> Object {
    object.api_version = "autoscaling/v1".into();
    let mut annotations = object.metadata.annotations.take().unwrap_or_default();
    let mut keep = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|v| v.as_array().is_none_or(|all| !all.is_empty())) {
            annotations.insert(name.to_owned(), value.to_string());
        }
    };
    if let Some(spec) = object.body.get_mut("spec").and_then(Value::as_object_mut) {
        let (cpu, others) = apart(spec.remove("metrics"), |metric| {
            let utilization = metric["resource"]["target"].get("averageUtilization")?;
            is_cpu(metric).then(|| utilization.clone())
        });
        if let Some(cpu) = cpu {
            spec.insert(CPU_TARGET.into(), cpu);
        }
        keep(METRICS, Some(others.iter().map(source_of_v1).collect()));
        keep(BEHAVIOR, spec.remove("behavior"));
    }
    if let Some(status) = object.body.get_mut("status").and_then(Value::as_object_mut) {
        let all = status.remove("currentMetrics");
        let (seen, _) = apart(all.clone(), |metric| {
            let utilization = metric["resource"]["current"].get("averageUtilization")?;
            is_cpu(metric).then(|| utilization.clone())
        });
        if let Some(seen) = seen {
            status.insert(CPU_CURRENT.into(), seen);
        }
        let all = all.as_ref().and_then(Value::as_array);
        keep(CURRENT_METRICS, all.map(|all| all.iter().map(status_of_v1).collect()));
        keep(CONDITIONS, status.remove("conditions"));
        status.entry("currentReplicas").or_insert(json!(0));
    }
    object.metadata.annotations = Some(annotations).filter(|all| !all.is_empty());
    object
}

/// What `pick` finds in the first metric that has it, and the other metrics.
fn apart(all: Option<Value>, pick: fn(&Value) -> Option<Value>) -> (Option<Value>, Vec<Value>) {
    let mut others = match all {
        Some(Value::Array(all)) => all,
        _ => Vec::new(),
    };
    let at = others.iter().position(|metric| pick(metric).is_some());
    (at.and_then(|at| pick(&others.remove(at))), others)
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

/// The sources of metrics, and what of them is called otherwise in v1.
const SOURCES: [&str; 5] = ["resource", "containerResource", "pods", "object", "external"];

/// The names of a target's fields in v1: value, average value, average utilization.
fn target_names(source: &str) -> [&'static str; 3] {
    match source {
        "object" => ["targetValue", "averageValue", ""],
        _ => ["targetValue", "targetAverageValue", "targetAverageUtilization"],
    }
}

fn current_names(source: &str) -> [&'static str; 3] {
    match source {
        "object" => ["currentValue", "averageValue", ""],
        _ => ["currentValue", "currentAverageValue", "currentAverageUtilization"],
    }
}

/// The names of the same fields in v2.
const VALUES: [&str; 3] = ["value", "averageValue", "averageUtilization"];

fn source_of_v1(metric: &Value) -> Value {
    flattened(metric, "target", target_names)
}

fn status_of_v1(metric: &Value) -> Value {
    flattened(metric, "current", current_names)
}

fn source_of_v2(metric: &Value) -> Value {
    nested(metric, "target", target_names)
}

fn status_of_v2(metric: &Value) -> Value {
    nested(metric, "current", current_names)
}

/// v2 → v1: the values stand in the source itself, and the metric is a name and a selector.
fn flattened(metric: &Value, part: &str, names: fn(&str) -> [&'static str; 3]) -> Value {
    let mut metric = metric.clone();
    for source in SOURCES {
        let Some(fields) = metric.get_mut(source).and_then(Value::as_object_mut) else { continue };
        let values = fields.remove(part).unwrap_or_default();
        for (new, old) in VALUES.iter().zip(names(source)) {
            if let Some(value) = values.get(new) {
                fields.insert(old.into(), value.clone());
            }
        }
        if let Some(identifier) = fields.remove("metric") {
            fields.insert("metricName".into(), identifier["name"].clone());
            let selector = if source == "external" { "metricSelector" } else { "selector" };
            if let Some(value) = identifier.get("selector") {
                fields.insert(selector.into(), value.clone());
            }
        }
        if let Some(described) = fields.remove("describedObject") {
            fields.insert("target".into(), described);
        }
    }
    metric
}

/// v1 → v2.
fn nested(metric: &Value, part: &str, names: fn(&str) -> [&'static str; 3]) -> Value {
    let mut metric = metric.clone();
    for source in SOURCES {
        let Some(fields) = metric.get_mut(source).and_then(Value::as_object_mut) else { continue };
        if source == "object"
            && let Some(described) = fields.remove("target")
        {
            fields.insert("describedObject".into(), described);
        }
        let mut values = Map::new();
        for (new, old) in VALUES.iter().zip(names(source)) {
            if let Some(value) = fields.remove(old) {
                values.insert((*new).into(), value);
            }
        }
        if part == "target" {
            let kind =
                match (values.contains_key("averageUtilization"), values.contains_key("value")) {
                    (true, _) => "Utilization",
                    (false, true) => "Value",
                    (false, false) => "AverageValue",
                };
            values.insert("type".into(), json!(kind));
        }
        fields.insert(part.into(), Value::Object(values));
        if let Some(name) = fields.remove("metricName") {
            let mut identifier = Map::from_iter([("name".to_owned(), name)]);
            let selector = if source == "external" { "metricSelector" } else { "selector" };
            if let Some(value) = fields.remove(selector) {
                identifier.insert("selector".into(), value);
            }
            fields.insert("metric".into(), Value::Object(identifier));
        }
    }
    metric
}
