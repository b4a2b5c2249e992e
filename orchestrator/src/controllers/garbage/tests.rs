use serde_json::Value;

use super::*;

/// An object in `namespace` owned by `owners`, each blocking or not.
fn node(namespace: &str, owners: &[(&str, bool)], rest: Value) -> Node {
    let owners: Vec<_> = owners
        .iter()
        .map(|(uid, blocks)| {
            json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": blocks})
        })
        .collect();
    let mut meta = json!({"ownerReferences": owners});
    meta.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let meta = serde_json::from_value(meta).unwrap();
    let resource = Arc::new(ApiResource::erase::<Pod>(&()));
    Node::new(&resource, &Arc::new(ObjectKey::new(namespace, "x")), &meta)
}

fn plain() -> Node {
    node("default", &[], json!({}))
}

fn owned(owners: &[(&str, bool)]) -> Node {
    node("default", owners, json!({}))
}

fn deleting(finalizer: &str, owners: &[(&str, bool)]) -> Node {
    let rest = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]});
    node("default", owners, rest)
}

fn plan(graph: &Graph, uid: &str) -> Step {
    graph.plan(uid, &HashSet::new())
}

#[test]
fn dependents_follow_an_owner_that_is_gone() {
    let mut graph = Graph::default();
    graph.put("owner", plain());
    assert!(graph.put("pod", owned(&[("owner", true)])).is_empty());
    assert_eq!(plan(&graph, "pod"), Step::Nothing);
    assert_eq!(graph.remove("owner"), ["pod"]);
    assert_eq!(plan(&graph, "pod"), Step::Delete(Propagation::Background));
}

#[test]
fn an_owner_that_was_never_seen_is_asked_for() {
    let mut graph = Graph::default();
    assert_eq!(graph.put("pod", owned(&[("owner", true)])), ["pod"]);
    let Step::Ask(owners) = plan(&graph, "pod") else { panic!("it may exist") };
    assert_eq!(owners[0].uid, "owner");
    assert_eq!(graph.plan("pod", &HashSet::from(["owner".to_owned()])), Step::Nothing);
    graph.note_gone("owner");
    assert_eq!(plan(&graph, "pod"), Step::Delete(Propagation::Background));
}

#[test]
fn one_owner_left_is_enough() {
    let mut graph = Graph::default();
    graph.put("a", plain());
    graph.put("b", plain());
    graph.put("pod", owned(&[("a", true), ("b", true)]));
    graph.remove("a");
    let Step::Keep(owners) = plan(&graph, "pod") else { panic!("b still owns it") };
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].uid, "b");
}

#[test]
fn an_owner_in_another_namespace_owns_nothing() {
    let mut graph = Graph::default();
    graph.put("owner", node("other", &[], json!({})));
    graph.put("pod", owned(&[("owner", true)]));
    assert_eq!(plan(&graph, "pod"), Step::Delete(Propagation::Background));
    graph.put("owner", node("", &[], json!({})));
    assert_eq!(plan(&graph, "pod"), Step::Nothing);
}

#[test]
fn a_cluster_scoped_object_is_left_whatever_owner_in_a_namespace_it_names() {
    let mut graph = Graph::default();
    graph.put("owner", plain());
    graph.put("role", node("", &[("owner", true)], json!({})));
    assert_eq!(plan(&graph, "role"), Step::Nothing);
    graph.put("owner", deleting(graph::FOREGROUND, &[]));
    assert_eq!(plan(&graph, "role"), Step::Nothing);
}

#[test]
fn a_circle_of_owners_that_block_each_other_is_broken() {
    let mut graph = Graph::default();
    for (uid, owner) in [("1", "3"), ("2", "1"), ("3", "2")] {
        graph.put(uid, owned(&[(owner, true)]));
    }
    graph.put("1", deleting(graph::FOREGROUND, &[("3", true)]));
    assert_eq!(plan(&graph, "1"), Step::Descend(vec!["2".into()]));
    assert_eq!(plan(&graph, "2"), Step::Delete(Propagation::Foreground));
    graph.put("2", deleting(graph::FOREGROUND, &[("1", true)]));
    assert_eq!(plan(&graph, "2"), Step::Descend(vec!["3".into()]));
    let Step::Keep(owners) = plan(&graph, "3") else { panic!("all would wait for each other") };
    assert_eq!((owners.len(), owners[0].block_owner_deletion), (1, Some(false)));
    assert!(graph.put("3", owned(&[("2", false)])).contains(&"3".to_owned()));
    assert_eq!(plan(&graph, "3"), Step::Delete(Propagation::Foreground));
    graph.put("3", deleting(graph::FOREGROUND, &[("2", false)]));
    assert_eq!(plan(&graph, "2"), Step::Release(graph::FOREGROUND));
    graph.remove("2");
    assert_eq!(plan(&graph, "1"), Step::Release(graph::FOREGROUND));
    graph.remove("1");
    assert_eq!(plan(&graph, "3"), Step::Release(graph::FOREGROUND));
}

#[test]
fn in_the_foreground_dependents_go_first_and_only_blocking_ones_are_waited_for() {
    let mut graph = Graph::default();
    graph.put("deployment", plain());
    graph.put("set", owned(&[("deployment", true)]));
    graph.put("pod", owned(&[("set", true)]));
    graph.put("loose", owned(&[("deployment", false)]));

    assert_eq!(graph.put("deployment", deleting(graph::FOREGROUND, &[])), ["deployment"]);
    let Step::Descend(mut dependents) = plan(&graph, "deployment") else { panic!("it waits") };
    dependents.sort();
    assert_eq!(dependents, ["loose", "set"]);
    assert_eq!(plan(&graph, "set"), Step::Delete(Propagation::Foreground));
    assert_eq!(plan(&graph, "loose"), Step::Delete(Propagation::Background));

    graph.put("set", deleting(graph::FOREGROUND, &[("deployment", true)]));
    assert_eq!(plan(&graph, "pod"), Step::Delete(Propagation::Background));
    assert_eq!(graph.remove("pod"), ["set"]);
    assert_eq!(plan(&graph, "set"), Step::Release(graph::FOREGROUND));
    assert_eq!(graph.remove("set"), ["deployment"]);
    assert_eq!(plan(&graph, "deployment"), Step::Release(graph::FOREGROUND));
}

#[test]
fn an_owner_that_orphans_lets_its_dependents_go_on() {
    let mut graph = Graph::default();
    graph.put("set", plain());
    graph.put("pod", owned(&[("set", true)]));
    assert_eq!(graph.put("set", deleting(ORPHAN, &[])), ["set"]);
    assert_eq!(plan(&graph, "set"), Step::Abandon(vec!["pod".into()]));
    assert_eq!(plan(&graph, "pod"), Step::Nothing);
    graph.put("pod", plain());
    assert_eq!(plan(&graph, "set"), Step::Abandon(vec![]));
    assert!(graph.remove("set").is_empty());
}

#[test]
fn an_object_that_takes_the_name_of_another_is_another() {
    let pod = |uid: &str| -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "x", "uid": uid}})).unwrap())
    };
    let mut graph = Graph::default();
    graph.put("child", owned(&[("first", true)]));
    let resource = Arc::new(ApiResource::erase::<Pod>(&()));
    let key = Arc::new(ObjectKey::new("default", "x"));
    let change = |old: Option<&str>, new: &str| Change {
        key: Arc::clone(&key),
        old: old.map(pod),
        new: Some(pod(new)),
    };
    observe(&mut graph, &resource, &change(None, "first"));
    assert_eq!(plan(&graph, "child"), Step::Nothing);
    let looks = observe(&mut graph, &resource, &change(Some("first"), "second"));
    assert_eq!(looks, ["child"]);
    assert_eq!(plan(&graph, "child"), Step::Delete(Propagation::Background));
}
