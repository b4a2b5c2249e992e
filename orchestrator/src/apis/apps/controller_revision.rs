//! `controllerrevisions.apps`
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::json;

use crate::api::{Column, FieldErrors, FieldPath, Operation, Strategy};
use crate::apis::checks::{immutable, invalid, not_negative, required};

/// The `controllerrevisions.apps` resource.
#[derive(Debug)]
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    type Kind = ControllerRevision;

    const COLUMNS: &'static [Column<ControllerRevision>] = &[
        Column::new("Controller", "What keeps it", |r, _| json!(controller(r))),
        Column::new("Revision", "Its number", |r, _| json!(r.revision)),
    ];

    fn validate(
        &self,
        new: &ControllerRevision,
        operation: Operation<'_, ControllerRevision>,
    ) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("data");
        match &new.data {
            None => errors.push(required(&path, "data is mandatory")),
            Some(data) => errors.check(data.0.is_object(), || {
                invalid(&path, data.0.clone(), "must be a JSON object")
            }),
        }
        not_negative(&mut errors, &FieldPath::new("revision"), Some(new.revision));
        if let Some(old) = operation.old() {
            immutable(&mut errors, &path, &new.data, &old.data);
        }
        errors
    }
}

/// The controlling owner, such as `statefulset.apps/web`.
fn controller(revision: &ControllerRevision) -> String {
    let owners = revision.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return "<none>".into();
    };
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::apis::testing::{cells, create, create_errors, object, update, with};

    #[test]
    fn it_is_data_that_stays_under_a_number_that_may_change() {
        let revision = object(
            "apps/v1",
            "ControllerRevision",
            json!({
                "metadata": {"name": "web-1", "namespace": "default", "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "1", "controller": true},
                ]},
                "data": {"spec": {"template": {}}}, "revision": 1,
            }),
        );
        let old = create(&revision).unwrap();
        assert_eq!(cells(&old), ["statefulset.apps/web", "1"]);
        assert!(update(&old, &with(&old, "/revision", json!(2))).is_ok());
        assert_eq!(
            update(&old, &with(&old, "/data", json!({}))).unwrap_err(),
            ["data: Invalid value: {}: field is immutable"]
        );
        let bare = object("apps/v1", "ControllerRevision", json!({"revision": -1}));
        assert_eq!(
            create_errors(&bare),
            [
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        assert_eq!(cells(&bare)[0], "<none>");
    }
}
