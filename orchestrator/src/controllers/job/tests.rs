use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::ending::condition;
use super::plan::{Plan, plan};

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn job(spec: Value) -> Job {
    let mut all = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": false,
        "completionMode": "NonIndexed", "podReplacementPolicy": "TerminatingOrFailed",
        "template": {"spec": {"restartPolicy": "Never", "containers": []}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let job =
        json!({"metadata": {"name": "work", "namespace": "default", "uid": "u"}, "spec": all});
    serde_json::from_value(job).unwrap()
}

fn pod(uid: &str, phase: &str) -> Value {
    let ended = match phase {
        "Failed" => json!({"exitCode": 3, "finishedAt": "2026-01-01T00:09:58Z"}),
        "Succeeded" => json!({"exitCode": 0, "finishedAt": "2026-01-01T00:09:50Z"}),
        _ => Value::Null,
    };
    json!({
        "metadata": {"name": uid, "namespace": "default", "uid": uid,
            "creationTimestamp": "2026-01-01T00:09:00Z", "finalizers": ["batch.kubernetes.io/job-tracking"]},
        "spec": {"containers": [], "nodeName": "n"},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "work", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": ended}},
        ]},
    })
}

fn at(index: i32, mut pod: Value) -> Value {
    pod["metadata"]["annotations"] =
        json!({"batch.kubernetes.io/job-completion-index": index.to_string()});
    pod
}

fn untracked(mut pod: Value) -> Value {
    pod["metadata"]["finalizers"] = Value::Null;
    pod
}

fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:09:59Z");
    pod
}

fn typed(pods: &[Value]) -> Vec<Arc<Pod>> {
    pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect()
}

fn planned(job: &Job, pods: &[Value]) -> Plan {
    plan(job, &typed(pods), now())
}

/// The Job as it is once the plan's status is written.
fn after(job: &Job, plan: &Plan) -> Job {
    // As the server gives it back: times in whole seconds.
    let status = serde_json::from_value(json!(plan.status)).unwrap();
    Job { status: Some(status), ..job.clone() }
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
}

fn said(plan: &Plan) -> Vec<&str> {
    let conditions = plan.status.conditions.iter().flatten();
    conditions.filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect()
}

fn indexes(plan: &Plan) -> Vec<i32> {
    plan.create.iter().map(|new| new.index.unwrap()).collect()
}

fn reason(plan: &Plan, kind: &str) -> String {
    condition(&plan.status, kind).and_then(|c| c.reason.clone()).unwrap_or_default()
}

#[test]
fn as_many_pods_run_as_are_side_by_side_and_still_needed() {
    let five = job(json!({"parallelism": 3, "completions": 5}));
    let first = planned(&five, &[]);
    assert_eq!((first.create.len(), first.status.active), (3, Some(3)));
    assert!(first.status.start_time.is_some());

    let pods =
        [pod("a", "Running"), pod("b", "Succeeded"), pod("c", "Succeeded"), pod("d", "Succeeded")];
    let later = planned(&five, &pods);
    assert_eq!((later.create.len(), later.status.active), (1, Some(2)));

    let fewer = job(json!({"parallelism": 1, "completions": 5}));
    let mut young = pod("b", "Pending");
    young["spec"]["nodeName"] = Value::Null;
    let fewer = planned(&fewer, &[pod("a", "Running"), young]);
    assert_eq!((names(&fewer.delete), fewer.forget_deleted), (vec!["b"], true));
    assert_eq!((fewer.status.active, fewer.status.terminating), (Some(1), Some(1)));
}

#[test]
fn a_pod_is_listed_then_untracked_then_counted_once() {
    let two = job(json!({"completions": 2}));
    let listed = planned(&two, &[pod("a", "Succeeded"), pod("b", "Running")]);
    let uncounted = listed.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(uncounted.succeeded, Some(vec!["a".to_owned()]));
    assert_eq!((listed.status.succeeded, names(&listed.untrack)), (None, vec!["a"]));

    let two = after(&two, &listed);
    // The status is written, but the crash came before the finalizer went.
    let again = planned(&two, &[pod("a", "Succeeded"), pod("b", "Running")]);
    assert_eq!(
        (again.status.clone(), names(&again.untrack)),
        (two.status.clone().unwrap(), vec!["a"])
    );

    let counted = planned(&two, &[untracked(pod("a", "Succeeded")), pod("b", "Running")]);
    assert_eq!(counted.status.succeeded, Some(1));
    assert_eq!(counted.status.uncounted_terminated_pods, Some(Default::default()));
    assert_eq!((counted.create.len(), counted.untrack.len()), (0, 0));
    let two = after(&two, &counted);
    assert_eq!(planned(&two, &[pod("b", "Running")]).status.succeeded, Some(1));
}

#[test]
fn a_job_is_complete_once_all_is_counted_and_gone() {
    let one = job(json!({}));
    let met = planned(&one, &[pod("a", "Succeeded")]);
    assert_eq!(said(&met), ["SuccessCriteriaMet"]);
    assert_eq!(reason(&met, "SuccessCriteriaMet"), "CompletionsReached");
    assert_eq!(met.told, []);
    let one = after(&one, &met);
    let done = planned(&one, &[untracked(pod("a", "Succeeded"))]);
    assert_eq!(said(&done), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((done.status.succeeded, done.status.active), (Some(1), None));
    assert!(done.status.completion_time.is_some());
    assert_eq!(done.told, [(false, "Completed", "Job completed".to_owned())]);
}

#[test]
fn failures_are_retried_after_a_while_until_there_are_too_many() {
    let retried = job(json!({"backoffLimit": 1}));
    let wait = planned(&retried, &[pod("a", "Failed")]);
    assert_eq!((wait.create.len(), wait.recheck), (0, Some(Duration::from_secs(8))));
    assert_eq!(names(&wait.untrack), ["a"]);
    let retried = after(&retried, &wait);
    let waiting = planned(&retried, &[untracked(pod("a", "Failed"))]);
    assert_eq!((waiting.status.failed, waiting.recheck), (Some(1), Some(Duration::from_secs(8))));
    let later = now().checked_add(SignedDuration::from_secs(8)).unwrap();
    let due = plan(&retried, &typed(&[untracked(pod("a", "Failed"))]), later);
    assert_eq!(due.create.len(), 1);

    let retried = after(&retried, &due);
    let over = planned(
        &retried,
        &[untracked(pod("a", "Failed")), pod("b", "Failed"), pod("c", "Running")],
    );
    assert_eq!(said(&over), ["FailureTarget"]);
    assert_eq!((names(&over.delete), over.forget_deleted), (vec!["c"], false));
    // What still ran has failed with the Job.
    let uncounted = over.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(uncounted.failed, Some(vec!["b".to_owned(), "c".to_owned()]));
    let retried = after(&retried, &over);
    let going = planned(&retried, &[untracked(deleted(pod("c", "Running")))]);
    assert_eq!((said(&going), going.status.failed), (vec!["FailureTarget"], Some(3)));
    let failed = planned(&after(&retried, &going), &[]);
    assert_eq!(said(&failed), ["FailureTarget", "Failed"]);
    let told =
        (true, "BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned());
    assert_eq!(failed.told, [told]);
}

#[test]
fn restarts_in_place_are_retries() {
    let restarted = job(
        json!({"backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure", "containers": []}}}),
    );
    let mut running = pod("a", "Running");
    running["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    assert_eq!(said(&planned(&restarted, &[running.clone()])), [""; 0]);
    running["status"]["containerStatuses"][0]["restartCount"] = json!(2);
    assert_eq!(said(&planned(&restarted, &[running])), ["FailureTarget"]);
}

#[test]
fn a_deadline_ends_a_job_and_does_not_run_while_it_is_suspended() {
    let begun = |spec: Value| {
        let mut begun = job(spec);
        begun.status =
            Some(serde_json::from_value(json!({"startTime": "2026-01-01T00:09:00Z"})).unwrap());
        begun
    };
    let running = [pod("a", "Running")];
    let soon = planned(&begun(json!({"activeDeadlineSeconds": 90})), &running);
    assert_eq!((said(&soon).len(), soon.recheck), (0, Some(Duration::from_secs(30))));
    let over = planned(&begun(json!({"activeDeadlineSeconds": 60})), &running);
    assert_eq!(reason(&over, "FailureTarget"), "DeadlineExceeded");
    assert_eq!(names(&over.delete), ["a"]);

    let suspended = begun(json!({"activeDeadlineSeconds": 60, "suspend": true}));
    let paused = planned(&suspended, &running);
    assert_eq!((said(&paused), names(&paused.delete)), (vec!["Suspended"], vec!["a"]));
    assert!(paused.forget_deleted && paused.untrack.is_empty());
    assert_eq!(paused.told, [(false, "Suspended", "Job suspended".to_owned())]);
    let mut resumed = after(&suspended, &paused);
    resumed.spec.as_mut().unwrap().suspend = Some(false);
    let resumed = planned(&resumed, &[]);
    assert_eq!((said(&resumed).len(), resumed.create.len()), (0, 1));
    assert_eq!(resumed.told, [(false, "Resumed", "Job resumed".to_owned())]);
    assert_eq!(resumed.status.start_time.unwrap().0, now());
}

#[test]
fn a_job_of_no_number_is_complete_when_one_succeeds_and_all_have_ended() {
    let mut queue = job(json!({"parallelism": 3}));
    queue.spec.as_mut().unwrap().completions = None;
    assert_eq!(planned(&queue, &[]).create.len(), 3);
    let some = planned(&queue, &[pod("a", "Succeeded"), pod("b", "Running")]);
    assert_eq!((some.create.len(), some.delete.len(), said(&some).len()), (0, 0, 0));
    let all = planned(&queue, &[pod("a", "Succeeded"), pod("b", "Failed")]);
    assert_eq!(said(&all), ["SuccessCriteriaMet"]);
}

#[test]
fn each_index_succeeds_once() {
    let indexed = job(json!({"completionMode": "Indexed", "completions": 5, "parallelism": 3}));
    assert_eq!(indexes(&planned(&indexed, &[])), [0, 1, 2]);
    let pods = [
        at(0, pod("a", "Succeeded")),
        at(1, pod("b", "Running")),
        at(1, pod("c", "Pending")),
        pod("d", "Running"),
        at(9, pod("e", "Running")),
    ];
    let plan = planned(&indexed, &pods);
    assert_eq!(
        names(&plan.delete),
        ["c", "e", "d"]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(plan.status.completed_indexes.as_deref(), Some("0"));
    let indexed = after(&indexed, &plan);
    let pods = [untracked(at(0, pod("a", "Succeeded"))), at(1, pod("b", "Running"))];
    let next = planned(&indexed, &pods);
    assert_eq!((indexes(&next), next.status.succeeded), (vec![2, 3], Some(1)));
    let pods: Vec<_> = (1..5).map(|n| at(n, pod(&n.to_string(), "Succeeded"))).collect();
    let met = planned(&indexed, &pods);
    assert_eq!(
        (met.status.completed_indexes.as_deref(), said(&met)),
        (Some("0-4"), vec!["SuccessCriteriaMet"])
    );
    assert_eq!(met.status.uncounted_terminated_pods, Some(Default::default()));
    assert_eq!(said(&planned(&after(&indexed, &met), &[])), ["SuccessCriteriaMet", "Complete"]);
}

#[test]
fn retries_can_be_limited_per_index() {
    let indexed = job(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1, "maxFailedIndexes": 1}));
    let first = planned(&indexed, &[]);
    assert!(first.create.iter().all(|new| new.failures == Some((0, 0))));
    let later = now().checked_add(SignedDuration::from_secs(8)).unwrap();
    let pods = [at(0, pod("a", "Failed")), at(1, pod("b", "Running")), at(2, pod("c", "Running"))];
    // It stays tracked until the next Pod of its index has taken over its count.
    let waiting = planned(&indexed, &pods);
    assert_eq!((waiting.create.len(), waiting.untrack.len()), (0, 0));
    assert_eq!(waiting.recheck, Some(Duration::from_secs(8)));
    let due = plan(&indexed, &typed(&pods), later);
    assert_eq!((indexes(&due), due.create[0].failures), (vec![0], Some((1, 0))));
    let mut heir = at(0, pod("d", "Running"));
    heir["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = json!("1");
    let replaced = [pods.as_slice(), &[heir.clone()]].concat();
    assert_eq!(names(&planned(&indexed, &replaced).untrack), ["a"]);

    heir["status"]["phase"] = json!("Failed");
    let over = planned(&indexed, &[heir.clone(), pods[1].clone(), pods[2].clone()]);
    assert_eq!((over.status.failed_indexes.as_deref(), said(&over).len()), (Some("0"), 0));
    let done = [heir.clone(), at(1, pod("b", "Succeeded")), at(2, pod("c", "Succeeded"))];
    assert_eq!(reason(&planned(&indexed, &done), "FailureTarget"), "FailedIndexes");
    let mut other = at(1, heir.clone());
    other["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = json!("1");
    let both = planned(&indexed, &[heir, other]);
    assert_eq!(reason(&both, "FailureTarget"), "MaxFailedIndexesExceeded");
}

#[test]
fn a_failure_policy_ends_ignores_or_counts() {
    let policed = |action: &str, codes: Value| {
        job(
            json!({"podReplacementPolicy": "Failed", "backoffLimit": 0, "podFailurePolicy": {"rules": [
                {"action": action, "onExitCodes": {"operator": "In", "containerName": "work", "values": codes}},
            ]}}),
        )
    };
    let ended = planned(&policed("FailJob", json!([3])), &[pod("a", "Failed")]);
    assert_eq!(reason(&ended, "FailureTarget"), "PodFailurePolicy");
    let message = condition(&ended.status, "FailureTarget").unwrap().message.clone().unwrap();
    assert_eq!(
        message,
        "Container work for pod default/a failed with exit code 3 matching FailJob rule at index 0"
    );
    let ignored = planned(&policed("Ignore", json!([3])), &[pod("a", "Failed")]);
    assert_eq!((said(&ignored).len(), names(&ignored.untrack)), (0, vec!["a"]));
    assert_eq!(ignored.status.uncounted_terminated_pods, Some(Default::default()));
    let counted = planned(&policed("Ignore", json!([4])), &[pod("a", "Failed")]);
    assert_eq!(reason(&counted, "FailureTarget"), "BackoffLimitExceeded");
    // Nothing is decided, and no Pod replaced, before a Pod has really ended.
    let going = planned(&policed("Ignore", json!([4])), &[deleted(pod("a", "Running"))]);
    assert_eq!((going.create.len(), going.untrack.len(), said(&going).len()), (0, 0, 0));
    assert_eq!(planned(&job(json!({})), &[deleted(pod("a", "Running"))]).untrack.len(), 1);
}

#[test]
fn a_success_policy_ends_a_job_early() {
    let early = job(json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4,
        "successPolicy": {"rules": [{"succeededIndexes": "0,3", "succeededCount": 2}, {"succeededIndexes": "1-2", "succeededCount": 1}]}}));
    let pods = |phase: &str| {
        [at(0, pod("a", "Succeeded")), at(1, pod("b", phase)), at(2, pod("c", "Running"))]
    };
    assert_eq!(said(&planned(&early, &pods("Running"))), [""; 0]);
    let met = planned(&early, &pods("Succeeded"));
    assert_eq!(reason(&met, "SuccessCriteriaMet"), "SuccessPolicy");
    let message = condition(&met.status, "SuccessCriteriaMet").unwrap().message.clone();
    assert_eq!(message.as_deref(), Some("Matched rules at index 1"));
    assert_eq!(names(&met.delete), ["c"]);
    // A Pod that was not needed has not failed.
    assert_eq!(met.status.uncounted_terminated_pods, Some(Default::default()));
}

#[test]
fn a_job_on_its_way_out_makes_no_pods_and_lets_go_of_those_it_has() {
    let mut leaving = job(json!({"parallelism": 2, "completions": 2}));
    leaving.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let plan = planned(&leaving, &[pod("a", "Running")]);
    assert_eq!((plan.create.len(), plan.delete.len(), names(&plan.untrack)), (0, 0, vec!["a"]));
}

#[test]
fn adopted_pods_are_tracked() {
    let plan = planned(&job(json!({})), &[untracked(pod("a", "Running"))]);
    assert_eq!((names(&plan.track), plan.create.len()), (vec!["a"], 0));
}
