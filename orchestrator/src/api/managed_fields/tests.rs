use serde_json::{Value, json};

use super::*;

fn author(manager: &str) -> Author {
    Author {
        manager: manager.into(),
        gvk: GroupVersionKind {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
        },
        subresource: String::new(),
        ignored: Ignored::Status,
        now: "2026-11-21T04:00:00Z".parse().unwrap(),
    }
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn object(applied: Applied) -> Object {
    let mut object = Object::from_value(applied.document).unwrap();
    object.metadata.managed_fields = applied.managed_fields;
    object
}

fn fields(object: &Object, manager: &str) -> Value {
    let entries = object.metadata.managed_fields.iter().flatten();
    let mut found = entries.filter(|entry| entry.manager.as_deref() == Some(manager));
    found.next().map_or(Value::Null, |entry| entry.fields_v1.clone().unwrap().0)
}

fn containers(containers: Value) -> Value {
    json!({"template": {"spec": {"containers": containers}}})
}

#[test]
fn a_new_object_belongs_to_who_made_it() {
    let mut new = Object::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "uid": "1", "labels": {"app": "d"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "a", "image": "a:1", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        ]}}},
        "status": {"replicas": 1},
    }))
    .unwrap();
    track(&author("curl"), None, &mut new);
    assert_eq!(
        fields(&new, "curl"),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                ".": {},
                "k:{\"name\":\"a\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                        ".": {}, "f:containerPort": {}, "f:protocol": {},
                    }},
                },
            }}}},
        })
    );
    let entry = &new.metadata.managed_fields.unwrap()[0];
    assert_eq!(entry.operation.as_deref(), Some("Update"));
    assert_eq!(entry.api_version.as_deref(), Some("apps/v1"));
    assert_eq!(entry.subresource, None);
}

#[test]
fn an_update_takes_what_it_changes_and_frees_what_it_removes() {
    let mut old = Object::from_value(config(json!({"replicas": 1, "paused": true}))).unwrap();
    track(&author("one"), None, &mut old);
    let mut new = Object::from_value(config(json!({"replicas": 2, "minReadySeconds": 5}))).unwrap();
    track(&author("two"), Some(&old), &mut new);
    assert_eq!(fields(&new, "one"), Value::Null);
    assert_eq!(fields(&new, "two"), json!({"f:spec": {"f:replicas": {}, "f:minReadySeconds": {}}}));
    let mut same = new.clone();
    same.metadata.managed_fields = None;
    track(&author("three"), Some(&new), &mut same);
    assert_eq!(same, new);
}

#[test]
fn managers_are_cleared_by_an_empty_one_and_stay_away() {
    let mut old = Object::from_value(config(json!({"replicas": 1}))).unwrap();
    track(&author("one"), None, &mut old);
    let mut new = old.clone();
    new.metadata.managed_fields = Some(vec![Default::default()]);
    track(&author("two"), Some(&old), &mut new);
    assert_eq!(new.metadata.managed_fields, None);
    let mut later = new.clone();
    later.body["spec"]["replicas"] = json!(3);
    track(&author("two"), Some(&new), &mut later);
    assert_eq!(later.metadata.managed_fields, None);

    // Whoever applies first finds what was there before.
    let applied = apply(&author("three"), Some(&later), &config(json!({"replicas": 3})), false);
    let applied = object(applied.unwrap());
    assert_eq!(fields(&applied, "before-first-apply"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&applied, "three"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn a_conflict_names_who_set_the_field() {
    let first = config(json!({"replicas": 1, "paused": true}));
    let live = object(apply(&author("one"), None, &first, false).unwrap());
    let second = config(json!({"replicas": 2}));
    let error = apply(&author("two"), Some(&live), &second, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.replicas"#
    );
    let forced = object(apply(&author("two"), Some(&live), &second, true).unwrap());
    assert_eq!(forced.body["spec"], json!({"replicas": 2, "paused": true}));
    assert_eq!(fields(&forced, "one"), json!({"f:spec": {"f:paused": {}}}));
    let both = config(json!({"replicas": 3, "paused": false}));
    let error = apply(&author("three"), Some(&forced), &both, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.paused\nconflicts with \"two\":\n- .spec.replicas"
    );
}

#[test]
fn updates_are_told_from_applies_in_a_conflict() {
    let mut live = Object::from_value(config(json!({"replicas": 1}))).unwrap();
    track(&author("kubectl-edit"), None, &mut live);
    let error = apply(&author("x"), Some(&live), &config(json!({"replicas": 2})), false);
    assert_eq!(
        error.unwrap_err().to_string(),
        r#"Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas"#
    );
}

#[test]
fn what_only_this_manager_wanted_goes_with_its_wish() {
    let first = config(json!({"replicas": 1, "strategy": {"type": "Recreate"}}));
    let live = object(apply(&author("one"), None, &first, false).unwrap());
    let shared = config(json!({"replicas": 1}));
    let live = object(apply(&author("two"), Some(&live), &shared, false).unwrap());
    let less = object(apply(&author("one"), Some(&live), &config(json!({})), false).unwrap());
    assert_eq!(less.body["spec"], json!({"replicas": 1}));
    assert_eq!(fields(&less, "one"), json!({"f:spec": {}}));
    assert_eq!(fields(&less, "two"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn list_items_are_merged_by_their_keys_and_removed_by_them() {
    let two = containers(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]));
    let live = object(apply(&author("one"), None, &config(two), false).unwrap());
    let side = containers(json!([{"name": "side", "image": "s:1"}]));
    let live = object(apply(&author("two"), Some(&live), &config(side), false).unwrap());
    let one = containers(json!([{"name": "b", "image": "b:2"}]));
    let live = object(apply(&author("one"), Some(&live), &config(one), false).unwrap());
    assert_eq!(
        live.body["spec"]["template"]["spec"]["containers"],
        json!([{"name": "b", "image": "b:2"}, {"name": "side", "image": "s:1"}])
    );
    assert_eq!(
        fields(&live, "two")["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"side\"}": {".": {}, "f:name": {}, "f:image": {}}})
    );
}

#[test]
fn the_configuration_says_the_order_of_what_it_names() {
    let order = |live: &[&str], config: &[&str]| -> Vec<String> {
        let list = |names: &[&str]| {
            let items: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"template": {"spec": {"containers": items}}}})
        };
        let root = author("x").root();
        let merged = typed::merge(root, &list(live), &list(config));
        let items = merged["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order(&["a", "b"], &["b", "a"]), ["b", "a"]);
    assert_eq!(order(&["a", "x", "b"], &["b", "a"]), ["x", "b", "a"]);
    assert_eq!(order(&["a", "x", "b"], &["a", "n", "b"]), ["a", "x", "n", "b"]);
    assert_eq!(order(&["x", "y"], &["n"]), ["x", "y", "n"]);
}

#[test]
fn a_configuration_whose_items_cannot_be_told_apart_is_refused() {
    let refused = |spec: Value| {
        apply(&author("one"), None, &config(containers(spec)), false).unwrap_err().to_string()
    };
    assert_eq!(
        refused(json!([{"name": "a"}, {"name": "a"}])),
        r#".spec.template.spec.containers: duplicate entries for key [name="a"]"#
    );
    assert!(refused(json!([{"image": "a"}])).contains(r#"omits key field "name""#));
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let wish = config(json!({"replicas": 1}));
    let live = object(apply(&author("one"), None, &wish, false).unwrap());
    let mut later = author("one");
    later.now = "2026-11-21T05:00:00Z".parse().unwrap();
    assert_eq!(object(apply(&later, Some(&live), &wish, false).unwrap()), live);
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let last = config(json!({"replicas": 1, "paused": true})).to_string();
    let mut live = Object::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}},
        "spec": {"replicas": 1, "paused": false},
    }))
    .unwrap();
    track(&author("kubectl-client-side-apply"), None, &mut live);
    let wish = config(json!({"replicas": 2}));
    let error = apply(&author("helm"), Some(&live), &wish, false).unwrap_err();
    assert!(matches!(error, ApplyError::Conflicts(_)));
    let applied = object(apply(&author("kubectl"), Some(&live), &wish, false).unwrap());
    assert_eq!(applied.body["spec"], json!({"replicas": 2, "paused": false}));
    let annotations = applied.metadata.annotations.unwrap();
    let last = &annotations["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(serde_json::from_str::<Value>(last).unwrap(), wish);
    // What somebody else changed since is still theirs.
    let other = config(json!({"paused": true}));
    assert!(apply(&author("kubectl"), Some(&live), &other, false).is_err());
}

#[test]
fn an_object_keeps_ten_managers_that_update() {
    let mut object = Object::from_value(config(json!({"replicas": 0}))).unwrap();
    track(&author("m0"), None, &mut object);
    for n in 1..=12 {
        let mut by = author(&format!("m{n}"));
        by.now = jiff::Timestamp::from_second(1_800_000_000 + n).unwrap();
        let mut new = object.clone();
        new.metadata.annotations.get_or_insert_default().insert(format!("k{n}"), "v".into());
        track(&by, Some(&object), &mut new);
        object = new;
    }
    let entries = object.metadata.managed_fields.iter().flatten();
    let names: Vec<&str> = entries.filter_map(|entry| entry.manager.as_deref()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(names[0], "ancient-changes");
    let ancient = fields(&object, "ancient-changes");
    assert!(ancient["f:spec"].get("f:replicas").is_some() && names.contains(&"m12"), "{ancient}");
}

#[test]
fn what_keeps_a_part_of_a_map_keeps_the_map() {
    // After client-side apply kubectl owns the maps themselves.
    let mut live = Object::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "1", "b": "1"}, "annotations": {"x": "1"}},
    }))
    .unwrap();
    track(&author("kubectl"), None, &mut live);
    for entry in live.metadata.managed_fields.iter_mut().flatten() {
        entry.operation = Some("Apply".into());
    }
    let mut wish = config(json!({}));
    wish["metadata"]["labels"] = json!({"a": "1"});
    let applied = object(apply(&author("kubectl"), Some(&live), &wish, false).unwrap());
    assert_eq!(
        applied.metadata.labels.unwrap().into_iter().collect::<Vec<_>>(),
        [("a".into(), "1".into())]
    );
    assert_eq!(applied.metadata.annotations, None);
}
