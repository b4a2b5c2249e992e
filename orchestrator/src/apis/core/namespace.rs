//! `namespaces`
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

use crate::api::{
    Column, FieldErrors, FieldPath, Operation, SelectableField, Strategy, Subresource, Verb, names,
};
use crate::apis::checks::{form, invalid};

/// The label that carries a namespace's own name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer that keeps a namespace until its objects are gone.
const FINALIZER: &str = "kubernetes";

/// The `namespaces` resource.
#[derive(Debug)]
pub struct Namespaces;

impl Strategy for Namespaces {
    type Kind = Namespace;

    const SHORT_NAMES: &'static [&'static str] = &["ns"];
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Connect { name: "finalize", kind: "Namespace", verbs: &[Verb::Update] },
    ];
    const COLUMNS: &'static [Column<Namespace>] =
        &[Column::new("Status", "The status of the namespace", |n, _| json!(phase(n)))];
    const SELECTABLE_FIELDS: &'static [SelectableField<Namespace>] =
        &[SelectableField { path: "status.phase", value: phase }];

    fn default(&self, namespace: &mut Namespace) {
        if let Some(name) = namespace.metadata.name.clone().filter(|name| !name.is_empty()) {
            namespace.metadata.labels.get_or_insert_default().insert(NAME_LABEL.into(), name);
        }
        namespace.status.get_or_insert_default().phase.get_or_insert_with(|| "Active".into());
    }

    fn prepare(&self, namespace: &mut Namespace, operation: Operation<'_, Namespace>) {
        match operation {
            Operation::Create => {
                let spec = namespace.spec.get_or_insert_default();
                let finalizers = spec.finalizers.get_or_insert_default();
                if !finalizers.iter().any(|name| name == FINALIZER) {
                    finalizers.push(FINALIZER.into());
                }
            }
            // Only the subresource `finalize` changes them.
            Operation::Update(old) | Operation::UpdateStatus(old) => {
                namespace.spec.clone_from(&old.spec);
            }
        }
    }

    fn validate(&self, new: &Namespace, operation: Operation<'_, Namespace>) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match operation {
            Operation::Create => {
                let path = FieldPath::new("spec").child("finalizers");
                let finalizers = new.spec.iter().filter_map(|spec| spec.finalizers.as_ref());
                for name in finalizers.flatten() {
                    form(&mut errors, &path, name, names::qualified);
                }
            }
            Operation::Update(_) => {}
            Operation::UpdateStatus(_) => {
                let (wanted, empty) = match new.metadata.deletion_timestamp {
                    None => ("Active", "empty"),
                    Some(_) => ("Terminating", "not empty"),
                };
                let path = FieldPath::new("status").child("phase");
                errors.check(phase(new) == wanted, || {
                    let why = format!("may only be '{wanted}' if `deletionTimestamp` is {empty}");
                    invalid(&path, phase(new), why)
                });
            }
        }
        errors
    }

    fn validate_name(&self, name: &str) -> Result<(), String> {
        names::dns_label(name)
    }
}

fn phase(namespace: &Namespace) -> String {
    namespace.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{Operation, Strategy};
    use crate::apis::testing::{cells, create, fields, object, row, update, with};

    fn namespace() -> crate::api::Object {
        object("v1", "Namespace", json!({"metadata": {"name": "shop"}}))
    }

    #[test]
    fn a_new_namespace_is_active_and_labelled_and_finalized_by_kubernetes() {
        let created = create(&namespace()).unwrap();
        assert_eq!(created.body["spec"], json!({"finalizers": ["kubernetes"]}));
        assert_eq!(created.body["status"], json!({"phase": "Active"}));
        assert_eq!(json!(created.metadata.labels), json!({"kubernetes.io/metadata.name": "shop"}));
        assert_eq!(cells(&created), ["Active"]);
        assert_eq!(fields(&created), ["status.phase=Active"]);
    }

    #[test]
    fn finalizers_are_left_alone_by_updates() {
        let created = create(&namespace()).unwrap();
        let updated = update(&created, &with(&created, "/spec/finalizers", json!([]))).unwrap();
        assert_eq!(updated.body["spec"], created.body["spec"]);
    }

    #[test]
    fn the_phase_follows_the_deletion() {
        let created = create(&namespace()).unwrap();
        let new = with(&created, "/status/phase", json!("Terminating"));
        let operation = Operation::UpdateStatus(&created);
        let (errors, _) = row(&new).behaviour.validate(&new, operation).unwrap();
        assert_eq!(
            errors.to_string(),
            "status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }

    #[test]
    fn names_are_labels() {
        assert!(super::Namespaces.validate_name("shop").is_ok());
        assert!(Strategy::validate_name(&super::Namespaces, "a.b").is_err());
    }
}
