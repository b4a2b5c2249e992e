//! `horizontalpodautoscalers.autoscaling`: v2, the stored form, and v1 over it.

mod columns;
mod v1;
mod validate;

pub use v1::HorizontalPodAutoscalersV1;

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use serde_json::{Value, json};

use crate::api::{Column, FieldErrors, Operation, Strategy, Subresource};

/// Percent of the requested CPU that Pods are kept at where nothing is said.
const DEFAULT_CPU_UTILIZATION: i32 = 80;

/// The `horizontalpodautoscalers.autoscaling` resource.
#[derive(Debug)]
pub struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    type Kind = HorizontalPodAutoscaler;

    const SHORT_NAMES: &'static [&'static str] = &["hpa"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<HorizontalPodAutoscaler>] = &[
        Column::new("Reference", "What is scaled", |a, _| json!(columns::reference(a))),
        Column::new("Targets", "What is measured, and what it should be", |a, _| {
            json!(columns::targets(a))
        }),
        Column::new("MinPods", "The fewest Pods", |a, _| json!(columns::least(a))),
        Column::new("MaxPods", "The most Pods", |a: &HorizontalPodAutoscaler, _| {
            json!(a.spec.max_replicas)
        })
        .integer(),
        Column::new("Replicas", "Pods there are", |a, _| json!(columns::replicas(a))).integer(),
    ];

    fn empty_status(&self) -> Value {
        json!({"desiredReplicas": 0})
    }

    fn default(&self, autoscaler: &mut HorizontalPodAutoscaler) {
        default(autoscaler);
    }

    fn validate(
        &self,
        new: &HorizontalPodAutoscaler,
        operation: Operation<'_, HorizontalPodAutoscaler>,
    ) -> FieldErrors {
        match operation {
            Operation::UpdateStatus(_) => validate::status(new),
            _ => validate::spec(&new.spec),
        }
    }
}

/// Fills in what the client left out.
fn default(autoscaler: &mut HorizontalPodAutoscaler) {
    let spec = &mut autoscaler.spec;
    spec.min_replicas.get_or_insert(1);
    if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
        spec.metrics = Some(vec![cpu(DEFAULT_CPU_UTILIZATION)]);
    }
    if let Some(behavior) = &mut spec.behavior {
        let up = behavior.scale_up.get_or_insert_default();
        fill(up, &[("Pods", 4), ("Percent", 100)]);
        up.stabilization_window_seconds.get_or_insert(0);
        // The window of scaling down is the controller's to say.
        fill(behavior.scale_down.get_or_insert_default(), &[("Percent", 100)]);
    }
}

fn fill(rules: &mut HPAScalingRules, policies: &[(&str, i32)]) {
    rules.select_policy.get_or_insert_with(|| "Max".into());
    let policy = |(type_, value): &(&str, i32)| HPAScalingPolicy {
        type_: (*type_).into(),
        value: *value,
        period_seconds: 15,
    };
    rules.policies.get_or_insert_with(|| policies.iter().map(policy).collect());
}

/// The metric that keeps Pods at so many percent of the CPU they request.
fn cpu(utilization: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: "cpu".into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(utilization),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

#[cfg(test)]
mod tests;
