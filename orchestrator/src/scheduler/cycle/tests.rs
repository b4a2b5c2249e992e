use serde_json::{Value, json};

use super::super::Strategy;
use super::*;

fn snapshot(nodes: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(&serde_json::from_value(node.clone()).unwrap());
    }
    snapshot
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"zone": name, "kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}},
    })
}

/// Nodes `NAME` in zone `ZONE`, from `NAME/ZONE`.
fn zones(names: &[&str]) -> Snapshot {
    let nodes: Vec<Value> = names
        .iter()
        .map(|name| {
            let (name, zone) = name.split_once('/').unwrap();
            let mut node = node(name, "4");
            node["metadata"]["labels"]["zone"] = json!(zone);
            node
        })
        .collect();
    snapshot(&nodes)
}

fn pod(spec: Value) -> PodInfo {
    labelled(json!({}), spec)
}

fn labelled(labels: Value, spec: Value) -> PodInfo {
    let metadata = json!({"namespace": "default", "labels": labels});
    PodInfo::of(&serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn asking(cpu: &str, memory: &str) -> PodInfo {
    let requests = json!({"cpu": cpu, "memory": memory});
    pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn find(snapshot: &mut Snapshot, pod: &PodInfo, start: usize) -> Result<String, Unschedulable> {
    let mut start = start;
    schedule(snapshot, &key("new"), pod, &mut start, &Config::default())
}

fn refusal(snapshot: &mut Snapshot, pod: &PodInfo) -> String {
    find(snapshot, pod, 0).unwrap_err().to_string()
}

/// Places so many Pods one after another; their nodes, sorted.
fn spread(snapshot: &mut Snapshot, pod: &PodInfo, count: usize) -> Vec<String> {
    let mut placed = Vec::new();
    for n in 0..count {
        let node = find(snapshot, pod, n).unwrap();
        snapshot.place(&key(&format!("p{n}")), pod, &node);
        placed.push(node);
    }
    placed.sort();
    placed
}

#[test]
fn the_words_are_kube_schedulers() {
    assert_eq!(
        refusal(&mut snapshot(&[]), &asking("1", "1Mi")),
        "no nodes available to schedule pods"
    );
    let mut cordoned = node("c", "4");
    cordoned["spec"] = json!({"unschedulable": true});
    let mut tainted = node("d", "4");
    tainted["spec"] = json!({"taints": [{"key": "gpu", "value": "x", "effect": "NoSchedule"}]});
    let mut all = snapshot(&[node("a", "1"), node("b", "1"), cordoned, tainted]);
    assert_eq!(
        refusal(&mut all, &asking("2", "2Gi")),
        "0/4 nodes are available: 1 node(s) had untolerated taint(s), \
         1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory."
    );
    let selector = pod(json!({"containers": [], "nodeSelector": {"zone": "z"}}));
    assert_eq!(
        refusal(&mut snapshot(&[node("a", "1")]), &selector),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    );
    let gpu = json!({"requests": {"example.com/gpu": "1"}});
    let extended = pod(json!({"containers": [{"name": "c", "resources": gpu}]}));
    assert_eq!(
        refusal(&mut snapshot(&[node("a", "1")]), &extended),
        "0/1 nodes are available: 1 Insufficient example.com/gpu."
    );
}

#[test]
fn what_asks_for_more_than_can_be_counted_fits_nowhere() {
    let mut all = snapshot(&[node("a", "4")]);
    let huge = json!({"name": "c", "resources": {"requests": {"memory": "7Ei"}}});
    let two = pod(json!({"containers": [huge, huge]}));
    assert_eq!(refusal(&mut all, &two), "0/1 nodes are available: 1 Insufficient memory.");
    // Somebody bound them there all the same; what else is there counts afterwards.
    for name in ["x", "y"] {
        all.place(&key(name), &two, "a");
    }
    all.place(&key("small"), &asking("1", "512Mi"), "a");
    assert!(find(&mut all, &asking("1", "1Mi"), 0).is_err());
    for name in ["x", "y"] {
        all.remove_pod(&key(name));
    }
    assert!(find(&mut all, &asking("1", "512Mi"), 0).is_ok());
    assert!(find(&mut all, &asking("1", "513Mi"), 0).is_err());
}

#[test]
fn topologies_by_which_nobody_goes_any_more_are_forgotten() {
    let mut all = zones(&["a1/a", "b1/b"]);
    let by = |key: &str| {
        let term = affinity("podAntiAffinity", key, web(), json!({}));
        labelled(json!({"app": "web"}), json!({"containers": [], "affinity": term}))
    };
    all.place(&key("placed"), &by("zone"), "a1");
    for n in 0..1000 {
        find(&mut all, &by(&format!("label-{n}")), 0).unwrap();
    }
    let known = (0..1000).filter(|n| all.topology(&format!("label-{n}")).is_some());
    assert!(known.count() < 100);
    assert_eq!(find(&mut all, &by("zone"), 0).unwrap(), "b1", "the placed one wants it so");
    let owned = PodInfo { owner: Some("rs".into()), ..by("zone") };
    assert!(find(&mut all, &owned, 0).is_ok());
}

#[test]
fn selectors_affinity_and_tolerations_choose() {
    let mut tainted = node("b", "4");
    tainted["spec"] = json!({"taints": [{"key": "gpu", "value": "x", "effect": "NoExecute"}]});
    let mut all = snapshot(&[node("a", "4"), tainted]);
    let tolerations = json!([{"key": "gpu", "operator": "Equal", "value": "x"}]);
    let term = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]});
    let must = |operator: &str| {
        let terms = json!({"nodeSelectorTerms": [term(operator, json!(["b"]))]});
        let affinity =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        pod(json!({"containers": [], "tolerations": tolerations, "affinity": affinity}))
    };
    assert_eq!(find(&mut all, &must("In"), 0).unwrap(), "b");
    assert_eq!(find(&mut all, &must("NotIn"), 1).unwrap(), "a");
    let preferred = json!([{"weight": 5, "preference": term("In", json!(["b"]))}]);
    let may = pod(json!({"containers": [], "tolerations": tolerations, "affinity": {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}));
    assert_eq!(find(&mut all, &may, 0).unwrap(), "b");
}

#[test]
fn a_taint_that_only_prefers_is_the_last_choice() {
    let mut tainted = node("a", "4");
    let taint = json!({"key": "slow", "effect": "PreferNoSchedule"});
    tainted["spec"] = json!({"taints": [taint]});
    let mut all = snapshot(&[tainted, node("b", "1")]);
    assert_eq!(find(&mut all, &asking("500m", "1Mi"), 0).unwrap(), "b");
    assert_eq!(find(&mut all, &asking("2", "1Mi"), 0).unwrap(), "a");
}

#[test]
fn the_pods_of_one_owner_are_spread_and_freed_room_is_used_again() {
    let mut all = snapshot(&[node("a", "1"), node("b", "1")]);
    let one = PodInfo { owner: Some("rs".into()), ..asking("400m", "1Mi") };
    assert_eq!(spread(&mut all, &one, 4), ["a", "a", "b", "b"]);
    assert_eq!(refusal(&mut all, &one), "0/2 nodes are available: 2 Insufficient cpu.");
    assert!(all.remove_pod(&key("p0")).is_some());
    assert!(find(&mut all, &one, 0).is_ok());
}

#[test]
fn the_emptiest_or_the_fullest_node_is_taken_as_configured() {
    let mut all = snapshot(&[node("a", "4"), node("b", "4")]);
    all.place(&key("there"), &asking("1", "256Mi"), "b");
    let one = asking("100m", "1Mi");
    assert_eq!(find(&mut all, &one, 1).unwrap(), "a");
    let config = Config { strategy: Strategy::MostAllocated };
    assert_eq!(schedule(&mut all, &key("new"), &one, &mut 0, &config).unwrap(), "b");
}

#[test]
fn host_ports_are_taken_once_for_each_node() {
    let mut all = snapshot(&[node("a", "4")]);
    let ports = json!([{"containerPort": 80, "hostPort": 8080}]);
    let one = pod(json!({"containers": [{"name": "c", "ports": ports}]}));
    assert_eq!(spread(&mut all, &one, 1), ["a"]);
    assert_eq!(
        refusal(&mut all, &one),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
    all.remove_pod(&key("p0"));
    assert!(find(&mut all, &one, 0).is_ok());
}

#[test]
fn a_node_with_large_images_is_liked() {
    let with_image = |name: &str, size: i64| {
        let mut node = node(name, "4");
        node["status"]["images"] = json!([{"names": ["big:latest"], "sizeBytes": size}]);
        node
    };
    let mut all = snapshot(&[node("a", "4"), with_image("b", 900 << 20), node("c", "4")]);
    let one = pod(json!({"containers": [{"name": "c", "image": "big"}]}));
    assert_eq!(find(&mut all, &one, 0).unwrap(), "b");
}

#[test]
fn a_pod_for_which_room_is_made_is_kept_apart_from_those_it_does_not_bear() {
    let apart = |app: &str| {
        affinity("podAntiAffinity", "zone", json!({"matchLabels": {"app": app}}), json!({}))
    };
    let lonely = labelled(
        json!({"app": "lonely"}),
        json!({"containers": [], "priority": 100, "affinity": apart("web")}),
    );
    let plain = labelled(json!({"app": "web"}), json!({"containers": []}));
    let shy =
        labelled(json!({"app": "other"}), json!({"containers": [], "affinity": apart("lonely")}));
    let mut all = zones(&["a1/a"]);
    all.nominate(&key("lonely"), &lonely, "a1");
    assert_eq!(
        refusal(&mut all, &plain),
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    assert_eq!(
        refusal(&mut all, &shy),
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
    );
    let free = labelled(json!({"app": "free"}), json!({"containers": []}));
    assert_eq!(find(&mut all, &free, 0).unwrap(), "a1");
    let more_important =
        labelled(json!({"app": "web"}), json!({"containers": [], "priority": 200}));
    assert_eq!(find(&mut all, &more_important, 0).unwrap(), "a1");
}

#[test]
fn an_image_is_known_by_its_name_without_the_registry() {
    let mut with_image = node("b", "4");
    with_image["status"]["images"] =
        json!([{"names": ["localhost:5001/team/big:v1"], "sizeBytes": 900 << 20}]);
    let mut all = snapshot(&[node("a", "4"), with_image, node("c", "4")]);
    for image in ["localhost:5001/team/big:v1", "team/big:v1"] {
        let one = pod(json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(find(&mut all, &one, 0).unwrap(), "b", "{image}");
    }
}

fn affinity(kind: &str, topology: &str, selector: Value, more: Value) -> Value {
    let mut term = json!({"topologyKey": topology, "labelSelector": selector});
    term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

fn web() -> Value {
    json!({"matchLabels": {"app": "web"}})
}

#[test]
fn anti_affinity_keeps_pods_apart_from_both_sides() {
    let mut all = zones(&["a1/a", "a2/a", "b1/b"]);
    let apart = affinity("podAntiAffinity", "zone", web(), json!({}));
    let lonely = labelled(json!({"app": "web"}), json!({"containers": [], "affinity": apart}));
    let placed = spread(&mut all, &lonely, 2);
    assert!(placed[0].starts_with('a') && placed[1] == "b1", "{placed:?}");
    assert_eq!(
        refusal(&mut all, &lonely),
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    );
    let plain = labelled(json!({"app": "web"}), json!({"containers": []}));
    assert_eq!(
        refusal(&mut all, &plain),
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    let other = labelled(json!({"app": "db"}), json!({"containers": []}));
    assert!(find(&mut all, &other, 0).is_ok());
    all.remove_pod(&key("p0"));
    assert!(find(&mut all, &lonely, 0).is_ok());
}

#[test]
fn affinity_goes_where_the_others_are_and_the_first_anywhere() {
    let mut all = zones(&["a1/a", "a2/a", "b1/b"]);
    let together = affinity("podAffinity", "zone", web(), json!({}));
    let social = labelled(json!({"app": "web"}), json!({"containers": [], "affinity": together}));
    assert_eq!(find(&mut all, &social, 2).unwrap(), "b1");
    all.place(&key("first"), &social, "b1");
    for start in 0..3 {
        assert_eq!(find(&mut all, &social, start).unwrap(), "b1");
    }
    let stranger = labelled(json!({"app": "db"}), json!({"containers": [], "affinity": together}));
    assert_eq!(find(&mut all, &stranger, 0).unwrap(), "b1");
    all.remove_pod(&key("first"));
    assert_eq!(
        refusal(&mut all, &stranger),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
}

#[test]
fn affinity_means_the_own_namespace_unless_it_says_others() {
    let mut all = zones(&["a1/a", "b1/b"]);
    all.set_namespace("shop", Some(&[("team".to_owned(), "blue".to_owned())].into()));
    let there = PodInfo {
        namespace: "shop".into(),
        ..labelled(json!({"app": "web"}), json!({"containers": []}))
    };
    all.place(&ObjectKey::new("shop", "there"), &there, "b1");
    let near = |more: Value| {
        let affinity = affinity("podAffinity", "zone", web(), more);
        labelled(json!({"app": "db"}), json!({"containers": [], "affinity": affinity}))
    };
    assert!(find(&mut all, &near(json!({})), 0).is_err());
    assert_eq!(find(&mut all, &near(json!({"namespaces": ["shop"]})), 0).unwrap(), "b1");
    let selector = json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}});
    assert_eq!(find(&mut all, &near(selector), 0).unwrap(), "b1");
    assert_eq!(find(&mut all, &near(json!({"namespaceSelector": {}})), 0).unwrap(), "b1");
}

#[test]
fn match_label_keys_tell_the_versions_of_a_workload_apart() {
    let mut all = zones(&["a1/a", "b1/b"]);
    let more = json!({"matchLabelKeys": ["version"]});
    let version = |version: &str| {
        let apart = affinity("podAntiAffinity", "zone", web(), more.clone());
        let labels = json!({"app": "web", "version": version});
        labelled(labels, json!({"containers": [], "affinity": apart}))
    };
    spread(&mut all, &version("1"), 2);
    assert!(find(&mut all, &version("1"), 0).is_err());
    assert!(find(&mut all, &version("2"), 0).is_ok());
}

#[test]
fn preferred_affinity_attracts_and_repels() {
    let mut all = zones(&["a1/a", "b1/b"]);
    all.place(&key("there"), &labelled(json!({"app": "web"}), json!({"containers": []})), "b1");
    let preferring = |kind: &str| {
        let term = json!({"topologyKey": "zone", "labelSelector": web()});
        let terms = json!([{"weight": 100, "podAffinityTerm": term}]);
        pod(json!({"containers": [], "affinity": {
            kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}))
    };
    assert_eq!(find(&mut all, &preferring("podAffinity"), 0).unwrap(), "b1");
    assert_eq!(find(&mut all, &preferring("podAntiAffinity"), 1).unwrap(), "a1");
}

fn constrained(constraint: Value, more: Value) -> PodInfo {
    let mut one = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": web(),
    });
    one.as_object_mut().unwrap().extend(constraint.as_object().unwrap().clone());
    let mut spec = json!({"containers": [], "topologySpreadConstraints": [one]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    labelled(json!({"app": "web"}), spec)
}

#[test]
fn no_zone_gets_more_than_the_skew_ahead() {
    let mut all = zones(&["a1/a", "a2/a", "a3/a", "b1/b"]);
    let one = constrained(json!({}), json!({}));
    let placed = spread(&mut all, &one, 6);
    assert_eq!(placed.iter().filter(|node| node.starts_with('a')).count(), 3, "{placed:?}");
    all.set_node(
        &serde_json::from_value(json!({
            "metadata": {"name": "b1", "labels": {"zone": "b"}}, "spec": {"unschedulable": true},
            "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "10"}},
        }))
        .unwrap(),
    );
    all.place(&key("p6"), &one, "a1");
    assert_eq!(
        refusal(&mut all, &one),
        "0/4 nodes are available: 1 node(s) were unschedulable, \
         3 node(s) didn't match pod topology spread constraints."
    );
    let missing = constrained(json!({"topologyKey": "rack"}), json!({}));
    assert_eq!(
        refusal(&mut zones(&["a1/a"]), &missing),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    );
}

#[test]
fn domains_that_are_missing_count_as_empty() {
    let mut all = zones(&["a1/a", "b1/b"]);
    let one = constrained(json!({"minDomains": 3}), json!({}));
    assert_eq!(spread(&mut all, &one, 2), ["a1", "b1"]);
    assert!(find(&mut all, &one, 0).is_err(), "a third zone would be the emptiest");
}

#[test]
fn nodes_that_the_pod_cannot_use_do_not_count_unless_they_should() {
    let mut all = zones(&["a1/a", "b1/b"]);
    let only_a = json!({"nodeSelector": {"kubernetes.io/hostname": "a1"}});
    let honors = constrained(json!({}), only_a.clone());
    assert_eq!(spread(&mut all, &honors, 3), ["a1", "a1", "a1"]);
    let ignores = constrained(json!({"nodeAffinityPolicy": "Ignore"}), only_a);
    assert!(find(&mut all, &ignores, 0).is_err());
}

#[test]
fn a_constraint_that_may_be_broken_is_kept_while_it_can_be() {
    let mut all = zones(&["a1/a", "a2/a", "b1/b"]);
    let one = constrained(json!({"whenUnsatisfiable": "ScheduleAnyway"}), json!({}));
    let placed = spread(&mut all, &one, 4);
    assert_eq!(placed.iter().filter(|node| node.starts_with('b')).count(), 2, "{placed:?}");
}

#[test]
fn pods_on_their_way_out_do_not_count_for_the_spread() {
    let mut all = zones(&["a1/a", "b1/b"]);
    let one = constrained(json!({}), json!({}));
    all.place(&key("going"), &PodInfo { terminating: true, ..one.clone() }, "a1");
    all.place(&key("there"), &one, "b1");
    assert_eq!(find(&mut all, &one, 1).unwrap(), "a1");
}

#[test]
fn pods_may_be_known_before_their_node_and_after_it() {
    let mut all = snapshot(&[node("a", "1")]);
    all.place(&key("early"), &asking("1", "1Mi"), "b");
    assert_eq!(all.len(), 1);
    all.set_node(&serde_json::from_value(node("b", "1")).unwrap());
    all.place(&key("there"), &asking("1", "1Mi"), "a");
    let one = asking("1", "1Mi");
    assert_eq!(refusal(&mut all, &one), "0/2 nodes are available: 2 Insufficient cpu.");
    all.remove_node("b");
    assert_eq!(refusal(&mut all, &one), "0/1 nodes are available: 1 Insufficient cpu.");
    all.remove_pod(&key("early"));
    all.set_node(&serde_json::from_value(node("c", "1")).unwrap());
    assert_eq!(find(&mut all, &one, 0).unwrap(), "c");
}
