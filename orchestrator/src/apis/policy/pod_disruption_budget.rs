//! `poddisruptionbudgets.policy`: how many Pods may be taken away on purpose at a time.
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy, Subresource};
use crate::apis::checks::{
    int_or_percent, invalid, label_selector, not_more_than_all, not_negative, one_of,
};

/// When a Pod that is not ready may be evicted.
const UNHEALTHY_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// The `poddisruptionbudgets.policy` resource.
#[derive(Debug)]
pub struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    type Kind = PodDisruptionBudget;

    const SHORT_NAMES: &'static [&'static str] = &["pdb"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column<PodDisruptionBudget>] = &[
        Column::new("Min Available", "Pods that must stay", |budget, _| {
            amount(budget, |spec| spec.min_available.as_ref())
        }),
        Column::new("Max Unavailable", "Pods that may be missing", |budget, _| {
            amount(budget, |spec| spec.max_unavailable.as_ref())
        }),
        Column::new(
            "Allowed Disruptions",
            "Pods that may be evicted now",
            |budget: &PodDisruptionBudget, _| {
                json!(
                    budget
                        .status
                        .as_ref()
                        .and_then(|status| status.disruptions_allowed)
                        .unwrap_or(0)
                )
            },
        )
        .integer(),
    ];
    const HAS_GENERATION: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare(&self, new: &mut PodDisruptionBudget, operation: Operation<'_, Self::Kind>) {
        if let Operation::Create = operation {
            // As upstream shows it before the controller has looked.
            new.status = Some(PodDisruptionBudgetStatus {
                disruptions_allowed: Some(0),
                current_healthy: Some(0),
                desired_healthy: Some(0),
                expected_pods: Some(0),
                ..PodDisruptionBudgetStatus::default()
            });
        }
    }

    fn validate(
        &self,
        new: &PodDisruptionBudget,
        operation: Operation<'_, PodDisruptionBudget>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Operation::UpdateStatus(_) = operation {
            validate_status(&mut errors, new.status.as_ref());
            return errors;
        }
        if let Some(spec) = &new.spec {
            validate_spec(&mut errors, &FieldPath::new("spec"), spec);
        }
        errors
    }
}

fn validate_spec(errors: &mut FieldErrors, path: &FieldPath, spec: &PodDisruptionBudgetSpec) {
    errors.check(spec.min_available.is_none() || spec.max_unavailable.is_none(), || {
        invalid(path, json!(spec), "minAvailable and maxUnavailable cannot be both set")
    });
    for (field, amount) in
        [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
    {
        if let Some(amount) = amount {
            int_or_percent(errors, &path.child(field), amount);
            not_more_than_all(errors, &path.child(field), amount);
        }
    }
    if let Some(selector) = &spec.selector {
        label_selector(errors, &path.child("selector"), selector);
    }
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
        let path = path.child("unhealthyPodEvictionPolicy");
        one_of(errors, &path, policy, &UNHEALTHY_POLICIES);
    }
}

fn validate_status(errors: &mut FieldErrors, status: Option<&PodDisruptionBudgetStatus>) {
    let Some(status) = status else { return };
    let path = FieldPath::new("status");
    for (field, number) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        not_negative(errors, &path.child(field), number.map(i64::from));
    }
}

fn amount(
    budget: &PodDisruptionBudget,
    field: fn(&PodDisruptionBudgetSpec) -> Option<&IntOrString>,
) -> Value {
    match budget.spec.as_ref().and_then(field) {
        None => json!("N/A"),
        Some(IntOrString::Int(number)) => json!(number.to_string()),
        Some(IntOrString::String(text)) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::apis::testing::{cells, create, create_errors, headers, object};

    fn budget(spec: Value) -> crate::api::Object {
        object("policy/v1", "PodDisruptionBudget", json!({"spec": spec}))
    }

    #[test]
    fn its_row_shows_the_budget() {
        let created = create(&budget(json!({"maxUnavailable": "25%"}))).unwrap();
        assert_eq!(headers(&created), ["Min Available", "Max Unavailable", "Allowed Disruptions"]);
        assert_eq!(cells(&created), ["N/A", "25%", "0"]);
        assert_eq!(cells(&create(&budget(json!({"minAvailable": 2}))).unwrap())[0], "2");
    }

    #[test]
    fn a_budget_is_one_of_two_amounts() {
        assert_eq!(
            create_errors(&budget(
                json!({"minAvailable": -1, "unhealthyPodEvictionPolicy": "Never"})
            )),
            [
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ]
        );
        let both = create_errors(&budget(json!({"minAvailable": 1, "maxUnavailable": 1})));
        assert!(
            both[0].ends_with("minAvailable and maxUnavailable cannot be both set"),
            "{both:?}"
        );
        assert_eq!(
            create_errors(&budget(json!({"maxUnavailable": "101%"}))),
            ["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
    }
}
