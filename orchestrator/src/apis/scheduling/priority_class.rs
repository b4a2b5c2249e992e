//! `priorityclasses.scheduling.k8s.io`
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::json;

use crate::api::{Column, ColumnType, FieldErrors, FieldPath, Operation, Strategy, age};
use crate::apis::checks::{forbidden, immutable, required_one_of};

/// The highest value a class of a user may have; upstream's.
const HIGHEST_OF_USERS: i32 = 1_000_000_000;
/// What the names of the cluster's own classes begin with.
const SYSTEM_PREFIX: &str = "system-";
/// What a Pod of a class may do to others.
const PREEMPTION_POLICIES: [&str; 2] = ["PreemptLowerPriority", "Never"];

/// The cluster's own classes: name, value, description; upstream's.
pub const SYSTEM_CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// The `priorityclasses.scheduling.k8s.io` resource.
#[derive(Debug)]
pub struct PriorityClasses;

impl Strategy for PriorityClasses {
    type Kind = PriorityClass;

    const SHORT_NAMES: &'static [&'static str] = &["pc"];
    // Its table has the policy after the age.
    const AGE_COLUMN: bool = false;
    const COLUMNS: &'static [Column<PriorityClass>] = &[
        Column::new("Value", "The priority of its Pods", |c: &PriorityClass, _| {
            json!(c.value.unwrap_or_default())
        })
        .integer(),
        Column {
            kind: ColumnType::Boolean,
            ..Column::new("Global-Default", "Whether Pods without a class have it", |c, _| {
                json!(c.global_default == Some(true))
            })
        },
        Column::new("Age", "How long ago it was created", |c, now| {
            json!(age(c.metadata.creation_timestamp.as_ref().map(|time| time.0), now))
        }),
        Column::new("PreemptionPolicy", "Whether its Pods may displace others", |c, _| {
            json!(c.preemption_policy.as_deref().unwrap_or_default())
        }),
    ];

    fn default(&self, class: &mut PriorityClass) {
        class.value.get_or_insert(0);
        class.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
        // Kubernetes stores no `false` here.
        class.global_default = class.global_default.filter(|default| *default);
    }

    fn validate(
        &self,
        new: &PriorityClass,
        operation: Operation<'_, PriorityClass>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let value = FieldPath::new("value");
        let policy = FieldPath::new("preemptionPolicy");
        if let Some(old) = operation.old() {
            errors.check(new.value == old.value, || {
                forbidden(&value, "may not be changed in an update.")
            });
            immutable(&mut errors, &policy, &new.preemption_policy, &old.preemption_policy);
            return errors;
        }
        let name = new.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with(SYSTEM_PREFIX) {
            if let Err(why) = known_system_class(name, new) {
                let path = FieldPath::new("metadata").child("name");
                let why = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.push(forbidden(&path, &why));
            }
        } else if new.value.unwrap_or_default() > HIGHEST_OF_USERS {
            let why =
                format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
            errors.push(forbidden(&value, &why));
        }
        required_one_of(
            &mut errors,
            &policy,
            new.preemption_policy.as_deref(),
            &PREEMPTION_POLICIES,
        );
        errors
    }
}

fn known_system_class(name: &str, class: &PriorityClass) -> Result<(), String> {
    let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|known| known.0 == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if class.value != Some(*value) {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if class.global_default == Some(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Object;
    use crate::apis::testing::{cells, create, create_errors, headers, object, update, with};

    fn class(name: &str, rest: Value) -> Object {
        let mut class = rest;
        class["metadata"] = json!({"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
        object("scheduling.k8s.io/v1", "PriorityClass", class)
    }

    #[test]
    fn its_row_has_the_policy_after_the_age() {
        let created = create(&class("high", json!({"value": 7, "globalDefault": false}))).unwrap();
        assert_eq!(headers(&created), ["Value", "Global-Default", "Age", "PreemptionPolicy"]);
        assert_eq!(cells(&created), ["7", "false", "60m", "PreemptLowerPriority"]);
        assert_eq!(created.body.get("globalDefault"), None);
        let bare = create(&class("bare", json!({}))).unwrap();
        assert_eq!(bare.body["value"], 0);
    }

    #[test]
    fn values_of_users_end_where_those_of_the_system_begin() {
        assert_eq!(create_errors(&class("a", json!({"value": 1_000_000_000}))), [""; 0]);
        assert_eq!(
            create_errors(&class("a", json!({"value": 1_000_000_001}))),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
        assert_eq!(
            create_errors(&class("system-mine", json!({"value": 1}))),
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class"
            ]
        );
        let known = |value| class("system-node-critical", json!({"value": value}));
        assert_eq!(create_errors(&known(2_000_001_000)), [""; 0]);
        assert!(
            create_errors(&known(5))[0]
                .ends_with("value of system-node-critical PriorityClass must be 2000001000")
        );
    }

    #[test]
    fn only_its_default_and_description_change() {
        let old = create(&class("a", json!({"value": 1}))).unwrap();
        let new = with(&with(&old, "/value", json!(2)), "/preemptionPolicy", json!("Never"));
        assert_eq!(
            update(&old, &new).unwrap_err(),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"Never\": field is immutable",
            ]
        );
        assert!(update(&old, &with(&old, "/globalDefault", json!(true))).is_ok());
        assert_eq!(
            create_errors(&with(&old, "/preemptionPolicy", json!("Maybe"))),
            [
                "preemptionPolicy: Unsupported value: \"Maybe\": supported values: \"PreemptLowerPriority\", \"Never\""
            ]
        );
    }
}
