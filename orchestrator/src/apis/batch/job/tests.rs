use serde_json::{Value, json};

use crate::api::{Object, Operation};
use crate::apis::testing::{
    cells, create, create_errors, fields, headers, object, row, update, with,
};

fn job(spec: Value) -> Object {
    let mut all = json!({"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "work", "image": "work:1"}],
    }}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object(
        "batch/v1",
        "Job",
        json!({"metadata": {"name": "work", "namespace": "default", "uid": "u-1"}, "spec": all}),
    )
}

fn errors(spec: Value) -> Vec<String> {
    create_errors(&job(spec))
}

fn status_errors(job: &Object, old: Value, new: Value) -> String {
    let (old, new) = (with(job, "/status", old), with(job, "/status", new));
    let (errors, _) = row(&new).behaviour.validate(&new, Operation::UpdateStatus(&old)).unwrap();
    errors.to_string()
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let spec = create(&job(json!({}))).unwrap().body["spec"].clone();
    assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(1), &json!(1)));
    assert_eq!(spec["backoffLimit"], 6);
    assert_eq!(spec["completionMode"], "NonIndexed");
    assert_eq!(spec["suspend"], false);
    assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
    let queue = create(&job(json!({"parallelism": 3}))).unwrap();
    assert_eq!(queue.body["spec"].get("completions"), None);
    let indexed = json!({"completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}});
    let spec = create(&job(indexed)).unwrap().body["spec"].clone();
    assert_eq!(spec["backoffLimit"], i32::MAX);
    assert_eq!(spec["podReplacementPolicy"], "Failed");
    assert_eq!(spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"], "True");
}

#[test]
fn it_selects_its_pods_by_uid_unless_told_otherwise() {
    let created = create(&job(json!({}))).unwrap();
    let labels = json!({
        "batch.kubernetes.io/controller-uid": "u-1", "batch.kubernetes.io/job-name": "work",
        "controller-uid": "u-1", "job-name": "work",
    });
    assert_eq!(created.body["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(json!(created.metadata.labels), labels);
    let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}});
    assert_eq!(created.body["spec"]["selector"], selector);

    let taken = with(
        &job(json!({})),
        "/spec/template/metadata",
        json!({"labels": {"controller-uid": "mine"}}),
    );
    assert!(
        create_errors(&taken)[0]
            .starts_with("spec.template.metadata.labels[controller-uid]: Invalid value:"),
        "{:?}",
        create_errors(&taken)
    );
    let other = json!({"selector": {"matchLabels": {"app": "x"}}});
    assert_eq!(errors(other).len(), 2);
    let manual = with(
        &job(json!({"manualSelector": true, "selector": {"matchLabels": {"app": "x"}}})),
        "/spec/template/metadata",
        json!({"labels": {"app": "x"}}),
    );
    let created = create(&manual).unwrap();
    assert_eq!(created.body["spec"]["template"]["metadata"]["labels"], json!({"app": "x"}));
    assert_eq!(errors(json!({"manualSelector": true})), ["spec.selector: Required value"]);
}

#[test]
fn its_pods_end() {
    let restart = |policy: &str| {
        create_errors(&with(&job(json!({})), "/spec/template/spec/restartPolicy", json!(policy)))
    };
    assert_eq!(
        restart("Always"),
        [
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        ]
    );
    assert_eq!(restart("OnFailure"), [""; 0]);
}

#[test]
fn what_only_indexed_jobs_have_needs_indexes() {
    assert_eq!(
        errors(json!({"completionMode": "Indexed", "parallelism": 2})),
        ["spec.completions: Required value: when completion mode is Indexed"]
    );
    assert_eq!(
        errors(json!({"maxFailedIndexes": 1, "completions": -1})),
        [
            "spec.completions: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ]
    );
    assert_eq!(
        errors(json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1,
            "maxFailedIndexes": 3, "parallelism": 100_001})),
        [
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
            "spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions",
        ]
    );
    let long = with(
        &job(json!({"completionMode": "Indexed", "completions": 10_001})),
        "/metadata/name",
        json!("n".repeat(60)),
    );
    assert!(create_errors(&long)[0].contains("will not able to create pod with invalid DNS label"));
}

#[test]
fn policies_are_checked() {
    let failure = |rule: Value| errors(json!({"podFailurePolicy": {"rules": [rule]}}));
    assert_eq!(
        failure(json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}})),
        [""; 0]
    );
    assert_eq!(
        failure(json!({"action": "FailIndex"})),
        [
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ]
    );
    assert_eq!(
        failure(
            json!({"action": "", "onExitCodes": {"operator": "In", "containerName": "x", "values": [3, 0, 3]}})
        ),
        [
            "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
        ]
    );
    let success = |rules: Value| {
        errors(
            json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": rules}}),
        )
    };
    assert_eq!(success(json!([{"succeededIndexes": "0,2-3", "succeededCount": 2}])), [""; 0]);
    assert_eq!(
        success(
            json!([{}, {"succeededIndexes": "0,9"}, {"succeededIndexes": "1", "succeededCount": 2}])
        ),
        [
            "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0,9\": error parsing succeededIndexes: too large index: \"9\"",
            "spec.successPolicy.rules[2].succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
        ]
    );
}

#[test]
fn what_its_pods_are_stays() {
    let old = create(&job(json!({"completions": 2}))).unwrap();
    assert!(update(&old, &with(&old, "/spec/parallelism", json!(5))).is_ok());
    assert!(update(&old, &with(&old, "/spec/suspend", json!(true))).is_ok());
    assert_eq!(
        update(&old, &with(&old, "/spec/completions", json!(3))).unwrap_err(),
        ["spec.completions: Invalid value: 3: field is immutable"]
    );
    let moved = |job: &Object| with(job, "/spec/template/spec/nodeSelector", json!({"zone": "a"}));
    assert!(
        update(&old, &moved(&old)).unwrap_err()[0].starts_with("spec.template: Invalid value:")
    );
    let waiting = create(&job(json!({"suspend": true}))).unwrap();
    assert!(update(&waiting, &moved(&waiting)).is_ok());
    let image = with(&waiting, "/spec/template/spec/containers/0/image", json!("work:2"));
    assert_eq!(update(&waiting, &image).unwrap_err().len(), 1);
    let indexed = create(&job(json!({"completionMode": "Indexed", "completions": 2}))).unwrap();
    assert_eq!(
        update(&indexed, &with(&indexed, "/spec/completions", json!(3))).unwrap_err(),
        [
            "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
        ]
    );
    let both = with(&with(&indexed, "/spec/completions", json!(3)), "/spec/parallelism", json!(3));
    assert!(update(&indexed, &both).is_ok());
}

#[test]
fn a_status_cannot_contradict_itself() {
    let job = create(&job(json!({}))).unwrap();
    let met = |kinds: &[&str]| -> Value {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    };
    let start = "2026-01-01T00:00:00Z";
    let done = json!({"startTime": start, "completionTime": "2026-01-01T00:01:00Z",
        "succeeded": 1, "conditions": met(&["SuccessCriteriaMet", "Complete"])});
    assert_eq!(status_errors(&job, json!({"startTime": start}), done.clone()), "[]");
    let two = json!({"startTime": start, "conditions": met(&["Failed", "SuccessCriteriaMet"])});
    let errors = status_errors(&job, json!({}), two);
    assert!(
        errors.contains("cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        "{errors}"
    );
    let errors = status_errors(&job, done, json!({"startTime": start, "active": 1, "ready": 2}));
    for why in [
        "status.ready: Invalid value: 2: cannot set more ready pods than active",
        "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
        "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
    ] {
        assert!(errors.contains(why), "no {why} in {errors}");
    }
    let errors = status_errors(
        &job,
        json!({}),
        json!({"conditions": met(&["FailureTarget", "Failed"]), "completedIndexes": "1",
            "uncountedTerminatedPods": {"failed": ["a", "a"]}}),
    );
    for why in [
        "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"",
        "status.startTime: Required value: startTime is required for finished job",
        "uncountedTerminatedPods needs to be empty for finished job",
        "cannot set non-empty completedIndexes when non-indexed completion mode",
    ] {
        assert!(errors.contains(why), "no {why} in {errors}");
    }
}

#[test]
fn its_row_tells_how_it_is_getting_on() {
    let created = create(&job(json!({"completions": 3}))).unwrap();
    assert_eq!(
        headers(&created),
        ["Status", "Completions", "Duration", "Containers", "Images", "Selector"]
    );
    assert_eq!(
        cells(&created),
        ["Running", "0/3", "", "work", "work:1", "batch.kubernetes.io/controller-uid=u-1"]
    );
    let status = |status: Value| with(&created, "/status", status);
    let running = status(json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": 2}));
    assert_eq!(cells(&running)[..3], ["Running", "2/3", "60m"]);
    assert_eq!(fields(&running), ["status.successful=2"]);
    let done = status(
        json!({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:07Z",
        "succeeded": 3, "conditions": [{"type": "Complete", "status": "True"}]}),
    );
    assert_eq!(cells(&done)[..3], ["Complete", "3/3", "7s"]);
    let queue = create(&job(json!({"parallelism": 4}))).unwrap();
    assert_eq!(cells(&queue)[1], "0/1 of 4");
}
