//! What `kubectl get hpa` prints.
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// As many metrics as are shown.
const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(super) fn reference(autoscaler: &HorizontalPodAutoscaler) -> String {
    let target = &autoscaler.spec.scale_target_ref;
    format!("{}/{}", target.kind, target.name)
}

pub(super) fn least(autoscaler: &HorizontalPodAutoscaler) -> String {
    autoscaler.spec.min_replicas.map_or_else(|| "<unset>".into(), |least| least.to_string())
}

pub(super) fn replicas(autoscaler: &HorizontalPodAutoscaler) -> i32 {
    let status = autoscaler.status.as_ref();
    status.and_then(|status| status.current_replicas).unwrap_or_default()
}

/// Current and wished values, such as `cpu: 12%/80%`.
pub(super) fn targets(autoscaler: &HorizontalPodAutoscaler) -> String {
    let specs = autoscaler.spec.metrics.as_deref().unwrap_or_default();
    if specs.is_empty() {
        return "<none>".into();
    }
    let status = autoscaler.status.as_ref();
    let statuses = status.and_then(|status| status.current_metrics.as_deref()).unwrap_or_default();
    let shown = specs.iter().enumerate().take(SHOWN);
    let shown: Vec<String> = shown.map(|(i, spec)| target(spec, statuses.get(i))).collect();
    let shown = shown.join(", ");
    match specs.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn target(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    if let Some(source) = &spec.resource {
        let current = status.and_then(|s| s.resource.as_ref()).map(|s| &s.current);
        return format!("{}: {}", source.name, of_resource(&source.target, current));
    }
    if let Some(source) = &spec.container_resource {
        let current = status.and_then(|s| s.container_resource.as_ref()).map(|s| &s.current);
        return format!("{}: {}", source.name, of_resource(&source.target, current));
    }
    if let Some(source) = &spec.pods {
        let current = status.and_then(|s| s.pods.as_ref()).map(|s| &s.current);
        return pair(current.and_then(|c| c.average_value.as_ref()), &source.target.average_value);
    }
    if let Some(source) = &spec.object {
        let current = status.and_then(|s| s.object.as_ref()).map(|s| &s.current);
        return of_value(&source.target, current);
    }
    if let Some(source) = &spec.external {
        let current = status.and_then(|s| s.external.as_ref()).map(|s| &s.current);
        return of_value(&source.target, current);
    }
    "<unknown type>".into()
}

fn of_resource(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if target.average_value.is_some() {
        return pair(current.and_then(|c| c.average_value.as_ref()), &target.average_value);
    }
    let percent = |number: Option<i32>, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| format!("{number}%"))
    };
    let current = percent(current.and_then(|c| c.average_utilization), UNKNOWN);
    format!("{current}/{}", percent(target.average_utilization, "<auto>"))
}

fn of_value(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if target.average_value.is_some() {
        let average = current.and_then(|c| c.average_value.as_ref());
        return format!("{} (avg)", pair(average, &target.average_value));
    }
    pair(current.and_then(|c| c.value.as_ref()), &target.value)
}

fn pair(current: Option<&Quantity>, target: &Option<Quantity>) -> String {
    let text = |quantity: Option<&Quantity>| quantity.map_or(UNKNOWN, |q| q.0.as_str()).to_owned();
    format!("{}/{}", text(current), text(target.as_ref()))
}
