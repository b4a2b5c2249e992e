use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Plan, status};
use super::*;

fn replica_set(spec: Value) -> ReplicaSet {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "1", "generation": 3},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(set).unwrap()
}

/// A Pod on `node` ("" for none) that has been ready since `ready` ("" for not at all).
fn pod(name: &str, node: &str, phase: &str, ready: &str) -> Arc<Pod> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web", "tier": "front"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": []}, "status": {"phase": phase},
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    if !ready.is_empty() {
        pod["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": ready}]);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn changed(pod: &Pod, change: impl Fn(&mut Value)) -> Arc<Pod> {
    let mut value = serde_json::to_value(pod).unwrap();
    change(&mut value);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn decide(replicas: i32, pods: &[Arc<Pod>]) -> Plan {
    plan(&replica_set(json!({"replicas": replicas})), pods, &HashMap::new(), now())
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|p| p.metadata.name.as_deref()).collect()
}

#[test]
fn a_replica_set_that_is_satisfied_is_left_alone() {
    assert_eq!(decide(1, &[pod("a", "n1", "Running", "")]), Plan::default());
}

#[test]
fn failed_and_terminating_pods_are_replaced() {
    let terminating = changed(&pod("c", "n1", "Running", ""), |pod| {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:30:00Z".into();
    });
    let pods = [pod("a", "n1", "Running", ""), pod("b", "n1", "Failed", ""), terminating];
    assert_eq!(decide(3, &pods), Plan { create: 2, delete: vec![] });
}

#[test]
fn a_pass_creates_no_more_than_a_burst() {
    assert_eq!(decide(2000, &[]).create, 500);
}

#[test]
fn a_dying_replica_set_leaves_its_pods_to_the_garbage_collector() {
    let mut set = replica_set(json!({"replicas": 3}));
    set.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(plan(&set, &[], &HashMap::new(), now()), Plan::default());
}

#[test]
fn scaling_down_deletes_what_is_missed_least() {
    let long = "2026-01-01T00:00:01Z";
    let steady = pod("steady", "n1", "Running", long);
    let annotate = |cost: &str| {
        let cost = cost.to_owned();
        move |pod: &mut Value| {
            pod["metadata"]["annotations"] =
                json!({"controller.kubernetes.io/pod-deletion-cost": cost});
        }
    };
    let restarted = |pod: &mut Value| {
        pod["status"]["containerStatuses"] = json!([{
            "name": "web", "ready": true, "restartCount": 3, "image": "", "imageID": "",
        }]);
    };
    let cases = [
        ("unscheduled", pod("other", "", "Pending", "")),
        ("pending", pod("other", "n1", "Pending", "")),
        ("not ready", pod("other", "n1", "Running", "")),
        ("cheap", changed(&pod("other", "n1", "Running", long), annotate("-5"))),
        ("ready lately", pod("other", "n1", "Running", "2026-01-01T00:59:59Z")),
        ("restarted", changed(&pod("other", "n1", "Running", long), restarted)),
        ("crowded", pod("other", "n2", "Running", long)),
    ];
    let crowd = HashMap::from([("n1".to_owned(), 1), ("n2".to_owned(), 2)]);
    for (what, other) in cases {
        let set = replica_set(json!({"replicas": 1}));
        for pods in [[steady.clone(), other.clone()], [other.clone(), steady.clone()]] {
            assert_eq!(names(&plan(&set, &pods, &crowd, now()).delete), ["other"], "{what}");
        }
    }
}

#[test]
fn status_counts_pods_and_says_when_to_look_again() {
    let set = replica_set(json!({"replicas": 4, "minReadySeconds": 60}));
    let unlabeled = changed(&pod("d", "n1", "Running", ""), |pod| {
        pod["metadata"]["labels"] = json!({"app": "web"});
    });
    let terminating = changed(&pod("e", "n1", "Running", ""), |pod| {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:30:00Z".into();
    });
    let pods = [
        pod("a", "n1", "Running", "2026-01-01T00:00:00Z"),
        pod("b", "n1", "Running", "2026-01-01T00:59:30Z"),
        pod("c", "n1", "Running", "2026-01-01T00:59:50Z"),
        unlabeled,
        terminating,
    ];

    let (status, recheck) = status(&set, &pods, None, now());

    let wanted = json!({
        "replicas": 4, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 1,
        "terminatingReplicas": 1, "observedGeneration": 3,
    });
    assert_eq!(serde_json::to_value(&status).unwrap(), wanted);
    assert_eq!(recheck, Some(Duration::from_secs(30)));
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let mut set = replica_set(json!({"replicas": 1}));
    let failure = Failure { reason: "FailedCreate", message: "exceeded quota".into() };
    let (failed, _) = status(&set, &[], Some(&failure), now());
    let condition = failed.conditions.as_ref().unwrap()[0].clone();
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_deref(), condition.message.as_deref()),
        ("ReplicaFailure", Some("FailedCreate"), Some("exceeded quota"))
    );
    set.status = Some(failed.clone());
    let (again, _) = status(&set, &[], Some(&failure), now() + Duration::from_secs(5));
    assert!(plan::same_status(&failed, &again));
    let (over, _) = status(&set, &[], None, now());
    assert_eq!(over.conditions, None);
}

#[test]
fn a_new_pod_is_the_template_under_its_owner() {
    let set = replica_set(json!({}));
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let body = pods::encode_new(&set, template, "web-".into()).unwrap();
    let pod: Pod = serde_json::from_slice(&body).unwrap();
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["tier"], "front");
    assert_eq!(pod.spec.as_ref().unwrap().containers[0].image.as_deref(), Some("web:1"));
    let owner = owner::controller_of(&pod.metadata).unwrap();
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("ReplicaSet", "1"));
    assert_eq!(owner.block_owner_deletion, Some(true));
}
