//! `leases.coordination.k8s.io`
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy};
use crate::apis::checks::{forbidden, invalid, not_negative};

/// The `leases.coordination.k8s.io` resource.
#[derive(Debug)]
pub struct Leases;

impl Strategy for Leases {
    type Kind = Lease;

    const COLUMNS: &'static [Column<Lease>] =
        &[Column::new("Holder", "The identity of the holder of the lease", |lease, _| {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
            json!(holder.map_or("", String::as_str))
        })];
    const UNCONDITIONAL_UPDATE: bool = false;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, new: &Lease, _: Operation<'_, Lease>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec");
        let Some(spec) = &new.spec else { return errors };
        if let Some(seconds) = spec.lease_duration_seconds {
            let path = path.child("leaseDurationSeconds");
            errors.check(seconds > 0, || invalid(&path, seconds, "must be greater than 0"));
        }
        let transitions = spec.lease_transitions.map(i64::from);
        not_negative(&mut errors, &path.child("leaseTransitions"), transitions);
        if spec.preferred_holder.as_ref().is_some_and(|holder| !holder.is_empty()) {
            let why = "may only be specified when `strategy` is defined";
            let strategy = spec.strategy.as_ref().is_some_and(|strategy| !strategy.is_empty());
            errors.check(strategy, || forbidden(&path.child("preferredHolder"), why));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, object};

    #[test]
    fn durations_are_positive_and_transitions_not_negative() {
        let lease = |spec| object("coordination.k8s.io/v1", "Lease", json!({"spec": spec}));
        let spec = json!({"leaseDurationSeconds": 0, "leaseTransitions": -1});
        assert_eq!(
            create_errors(&lease(spec)),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        let held = lease(json!({"leaseDurationSeconds": 40, "holderIdentity": "node-1"}));
        assert_eq!(cells(&create(&held).unwrap()), ["node-1"]);
    }
}
