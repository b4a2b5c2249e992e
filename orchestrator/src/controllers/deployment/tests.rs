use jiff::Timestamp;
use serde_json::Value;

use super::*;

fn deployment(spec: Value) -> Deployment {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "default", "uid": "d", "generation": 2,
            "annotations": {"team": "blue", "deployment.kubernetes.io/revision": "2"},
        },
        "spec": {
            "replicas": 10, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%", "maxUnavailable": 2}},
            "template": template("web:2"),
        },
    });
    deployment["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(deployment).unwrap()
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    })
}

/// A set of a revision: its size, how many of its Pods there are, and how many are available.
fn set(revision: i64, image: &str, size: i32, existing: i32, available: i32) -> Arc<ReplicaSet> {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = format!("hash{revision}").into();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("web-{revision}"), "namespace": "default", "uid": format!("{revision}"), "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
            "annotations": {
                "team": "blue",
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": "10",
                "deployment.kubernetes.io/max-replicas": "13",
            },
        },
        "spec": {"replicas": size, "selector": {}, "template": template},
        "status": {
            "replicas": existing, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1,
        },
    });
    Arc::new(serde_json::from_value(set).unwrap())
}

/// Names of sets with their sizes.
type Sizes = &'static [(&'static str, i32)];

/// The sets that a plan resizes.
fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    let mut sizes: Vec<_> = plan
        .write
        .iter()
        .map(|(set, _)| (set.metadata.name.clone().unwrap(), sets::size(set)))
        .collect();
    sizes.sort();
    sizes
}

fn told(sizes: &[(&str, i32)]) -> Vec<(String, i32)> {
    sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

#[test]
fn a_new_template_gets_a_set_as_large_as_the_surge_allows() {
    let plan = plan(&deployment(json!({})), &[set(1, "web:1", 10, 10, 10)], false);

    let created = plan.create.unwrap();
    assert_eq!(sets::size(&created), 3);
    assert_eq!(plan.write, []);
    let meta = &created.metadata;
    let hash = &meta.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(meta.name.as_deref(), Some(format!("web-{hash}").as_str()));
    let spec = created.spec.as_ref().unwrap();
    assert_eq!(&spec.selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);
    let annotations = meta.annotations.as_ref().unwrap();
    assert_eq!(annotations["team"], "blue");
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "2");
    assert_eq!(annotations["deployment.kubernetes.io/desired-replicas"], "10");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "13");
    assert_eq!(owner::controller_of(meta).unwrap().uid, "d");
}

#[test]
fn equal_templates_get_equal_names_and_a_collision_another() {
    let name = |deployment: &Deployment| sets::new_set(deployment, 1).unwrap().metadata.name;
    let mut collided = deployment(json!({}));
    collided.status = Some(serde_json::from_value(json!({"collisionCount": 1})).unwrap());
    assert_eq!(name(&deployment(json!({}))), name(&deployment(json!({"replicas": 3}))));
    assert_ne!(name(&deployment(json!({}))), name(&collided));
    assert_ne!(
        name(&deployment(json!({}))),
        name(&deployment(json!({"template": template("web:3")})))
    );
}

#[test]
fn a_rolling_update_stays_within_surge_and_unavailability() {
    let deployment = deployment(json!({}));
    // (old size, old available, new size, new available) and what changes.
    let cases: [([i32; 4], Sizes); 8] = [
        ([10, 10, 3, 0], &[("web-1", 8)]),
        ([8, 8, 3, 0], &[("web-2", 5)]),
        ([8, 8, 5, 0], &[]),
        ([8, 8, 5, 4], &[("web-1", 4)]),
        ([8, 3, 5, 5], &[("web-1", 3)]),
        ([1, 1, 10, 9], &[("web-1", 0)]),
        ([0, 0, 10, 10], &[]),
        ([0, 0, 12, 12], &[("web-2", 10)]),
    ];
    for ([old, old_available, new, new_available], wanted) in cases {
        let sets =
            [set(1, "web:1", old, old, old_available), set(2, "web:2", new, new, new_available)];
        let plan = plan(&deployment, &sets, false);
        assert_eq!(sizes(&plan), told(wanted), "{old} {old_available} {new} {new_available}");
        assert_eq!(plan.create, None);
    }
}

#[test]
fn pods_that_do_not_work_go_first() {
    let sets = [set(1, "web:0", 3, 3, 3), set(2, "web:1", 7, 7, 4), set(3, "web:2", 3, 3, 0)];
    let plan = plan(&deployment(json!({})), &sets, false);
    assert_eq!(sizes(&plan), told(&[("web-2", 5)]));
}

#[test]
fn recreate_waits_for_the_end_of_old_pods() {
    let deployment = deployment(json!({"strategy": {"type": "Recreate"}}));
    let first = plan(&deployment, &[set(1, "web:1", 10, 10, 10)], true);
    assert_eq!((sizes(&first), first.create), (told(&[("web-1", 0)]), None));
    let second = plan(&deployment, &[set(1, "web:1", 0, 0, 0)], true);
    assert_eq!((sizes(&second), second.create), (vec![], None));
    let third = plan(&deployment, &[set(1, "web:1", 0, 0, 0)], false);
    assert_eq!(sets::size(&third.create.unwrap()), 10);
}

#[test]
fn undoing_takes_the_old_set_and_gives_it_the_next_revision() {
    let deployment = deployment(json!({"template": template("web:1")}));
    let sets = [set(1, "web:1", 0, 0, 0), set(2, "web:2", 10, 10, 10)];
    let plan = plan(&deployment, &sets, false);
    assert_eq!(plan.create, None);
    assert_eq!(plan.revision.as_deref(), Some("3"));
    assert_eq!(sizes(&plan), told(&[("web-1", 3)]));
    let annotations = plan.write[0].0.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let paused = deployment(json!({"paused": true}));
    let unchanged = plan(&paused, &[set(1, "web:1", 10, 10, 10)], false);
    assert_eq!((sizes(&unchanged), &unchanged.create), (vec![], &None));
    assert!(!unchanged.rolls_out);
    let scaled = deployment(json!({"paused": true, "replicas": 4}));
    let plan = plan(&scaled, &[set(1, "web:1", 10, 10, 10)], false);
    assert_eq!(sizes(&plan), told(&[("web-1", 4)]));
}

#[test]
fn scaling_amid_a_rollout_is_in_proportion() {
    let sets = [set(1, "web:1", 8, 8, 8), set(2, "web:2", 5, 5, 2)];
    let up = plan(&deployment(json!({"replicas": 20})), &sets, false);
    assert_eq!(sizes(&up), told(&[("web-1", 16), ("web-2", 10)]));
    let down = plan(&deployment(json!({"replicas": 5})), &sets, false);
    assert_eq!(sizes(&down), told(&[("web-1", 4), ("web-2", 3)]));
    let zero = plan(&deployment(json!({"replicas": 0})), &sets, false);
    assert_eq!(sizes(&zero), told(&[("web-1", 0), ("web-2", 0)]));
}

#[test]
fn history_beyond_its_limit_is_deleted_once_the_rollout_is_complete() {
    let mut deployment = deployment(json!({"revisionHistoryLimit": 1}));
    let sets = [set(1, "web:0", 0, 0, 0), set(2, "web:1", 0, 0, 0), set(3, "web:2", 10, 10, 10)];
    assert!(plan(&deployment, &sets, false).delete.is_empty());
    deployment.status = Some(
        serde_json::from_value(json!({
            "observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "availableReplicas": 10,
        }))
        .unwrap(),
    );
    let deleted = plan(&deployment, &sets, false).delete;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].metadata.name.as_deref(), Some("web-1"));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The status after one more look at the sets, kept in the Deployment.
fn look(
    deployment: &mut Deployment,
    sets: &[Arc<ReplicaSet>],
    happened: Option<Happened>,
    second: i64,
) -> Vec<(String, String, String)> {
    let rolls_out = deployment.spec.as_ref().unwrap().paused != Some(true);
    let seen = Seen { deployment, sets, happened, rolls_out, now: at(second) };
    let status = seen.status();
    let conditions = status.conditions.clone().unwrap();
    deployment.status = Some(status);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), text(&c.reason))).collect()
}

fn condition(type_: &str, status: &str, reason: &str) -> (String, String, String) {
    (type_.to_owned(), status.to_owned(), reason.to_owned())
}

#[test]
fn conditions_tell_a_rollout_as_kubectl_expects_it() {
    let mut d = deployment(json!({}));
    let lacks = condition("Available", "False", "MinimumReplicasUnavailable");
    let has = condition("Available", "True", "MinimumReplicasAvailable");

    let created = look(&mut d, &[], Some(Happened::Created("web-2".into())), 0);
    assert_eq!(created, [condition("Progressing", "True", "NewReplicaSetCreated"), lacks.clone()]);
    let found = || Some(Happened::Found("web-2".into()));
    let moving = look(&mut d, &[set(2, "web:2", 10, 10, 4)], found(), 60);
    assert_eq!(moving, [lacks.clone(), condition("Progressing", "True", "ReplicaSetUpdated")]);
    let still = look(&mut d, &[set(2, "web:2", 10, 10, 4)], found(), 659);
    assert_eq!(still, moving);
    let late = look(&mut d, &[set(2, "web:2", 10, 10, 4)], found(), 661);
    assert_eq!(late, [lacks, condition("Progressing", "False", "ProgressDeadlineExceeded")]);
    let done = look(&mut d, &[set(2, "web:2", 10, 10, 10)], found(), 700);
    assert_eq!(done, [has, condition("Progressing", "True", "NewReplicaSetAvailable")]);
    let status = d.status.clone().unwrap();
    let last = status.conditions.unwrap().pop().unwrap();
    assert_eq!(last.message.as_deref(), Some("ReplicaSet \"web-2\" has successfully progressed."));
    assert_eq!((status.replicas, status.updated_replicas), (Some(10), Some(10)));
    assert_eq!((status.observed_generation, status.unavailable_replicas), (Some(2), None));
}

#[test]
fn a_finished_rollout_that_loses_pods_has_no_deadline() {
    let mut d = deployment(json!({}));
    let found = || Some(Happened::Found("web-2".into()));
    look(&mut d, &[set(2, "web:2", 10, 10, 10)], found(), 0);
    let sets = [set(2, "web:2", 10, 10, 4)];
    let lost = look(&mut d, &sets, found(), 5000);
    assert!(lost.contains(&condition("Progressing", "True", "NewReplicaSetAvailable")));
    let seen = Seen { deployment: &d, sets: &sets, happened: None, rolls_out: true, now: at(5000) };
    assert_eq!(seen.until_deadline(&seen.status()), None);
}

#[test]
fn a_pause_stops_the_clock_and_a_standstill_is_looked_at_when_it_is_due() {
    let mut d = deployment(json!({"paused": true}));
    let sets = [set(2, "web:2", 10, 10, 4)];
    let paused = look(&mut d, &sets, None, 0);
    assert_eq!(paused[0], condition("Progressing", "Unknown", "DeploymentPaused"));
    d.spec.as_mut().unwrap().paused = None;
    let resumed = look(&mut d, &sets, None, 5000);
    assert_eq!(resumed[1], condition("Progressing", "Unknown", "DeploymentResumed"));
    let seen = Seen { deployment: &d, sets: &sets, happened: None, rolls_out: true, now: at(5100) };
    let wait = seen.until_deadline(&seen.status());
    assert_eq!(wait, Some(std::time::Duration::from_secs(501)));
}

#[test]
fn the_trouble_of_a_set_is_the_trouble_of_its_deployment() {
    let mut d = deployment(json!({}));
    let mut failing = ReplicaSet::clone(&set(2, "web:2", 10, 0, 0));
    failing.status.as_mut().unwrap().conditions = Some(
        serde_json::from_value(json!([{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota",
        }]))
        .unwrap(),
    );
    let conditions = look(&mut d, &[Arc::new(failing)], None, 0);
    assert!(conditions.contains(&condition("ReplicaFailure", "True", "FailedCreate")));
    let conditions = look(&mut d, &[set(2, "web:2", 10, 0, 0)], None, 1);
    assert!(!conditions.iter().any(|(type_, ..)| type_ == "ReplicaFailure"));
}
