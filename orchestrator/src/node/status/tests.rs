//! Statuses of Pods as users write them.
use serde_json::{Value, json};
use shim::cri;

use super::*;
use crate::node::probes::Kind;

/// What one attempt of a container is like.
enum Seen {
    Running,
    Exited(i32),
}

use Seen::{Exited, Running};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn containers(seen: &[(&str, u32, Seen)]) -> Containers {
    let time = |seconds: i64| std::time::SystemTime::from(at(seconds));
    let status = |(name, attempt, seen): &(&str, u32, Seen)| cri::ContainerStatus {
        id: cri::Id(format!("{name}-{attempt}")),
        sandbox: cri::Id("s".into()),
        name: (*name).to_owned(),
        attempt: *attempt,
        image: cri::ImageRef("sha256:1".into()),
        created_at: time(10),
        state: match seen {
            Running => cri::ContainerState::Running { started_at: time(10) },
            Exited(code) => cri::ContainerState::Exited {
                started_at: Some(time(10)),
                finished_at: time(20),
                exit: cri::Exit {
                    code: *code,
                    reason: if *code == 0 {
                        cri::ExitReason::Completed
                    } else {
                        cri::ExitReason::OomKilled
                    },
                    message: String::new(),
                },
            },
        },
        own_files: Vec::new(),
        log_path: "/log".into(),
        function: false,
        labels: [("podium.dev/image".to_owned(), "hello".to_owned())].into(),
    };
    let mut containers = Containers::default();
    containers.observe(seen.iter().map(status).collect(), at(20));
    containers
}

struct Case {
    pod: Pod,
    published: PodStatus,
    containers: Containers,
    verdicts: Verdicts,
    waiting: Waiting,
    resizing: Resizing,
    failure: Option<(&'static str, &'static str)>,
    disrupted: bool,
    ending: bool,
    now: i64,
}

impl Case {
    fn new(spec: Value, seen: &[(&str, u32, Seen)]) -> Self {
        let pod = json!({
            "metadata": {"name": "p", "uid": "u", "generation": 3}, "spec": spec,
        });
        let published = json!({
            "phase": "Pending", "qosClass": "Burstable",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z"},
                {"type": "example.com/gate", "status": "True"},
            ],
        });
        Self {
            pod: serde_json::from_value(pod).unwrap(),
            published: serde_json::from_value(published).unwrap(),
            containers: containers(seen),
            verdicts: Verdicts::default(),
            waiting: Waiting::new(),
            resizing: Resizing::default(),
            failure: None,
            disrupted: false,
            ending: false,
            now: 30,
        }
    }

    fn typed(&self) -> PodStatus {
        of(View {
            pod: &self.pod,
            published: &self.published,
            ip: Some([10, 64, 0, 5].into()),
            host_ip: [192, 168, 0, 9].into(),
            containers: &self.containers,
            verdicts: &self.verdicts,
            waiting: &self.waiting,
            resizing: &self.resizing,
            failure: self.failure,
            disrupted: self.disrupted,
            ending: self.ending,
            start_time: at(5),
            now: at(self.now),
        })
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.typed()).unwrap()
    }
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == type_).unwrap()
}

fn two(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "hello"}, {"name": "b"}]})
}

fn with_init(policy: &str) -> Value {
    json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]})
}

#[test]
fn phases_are_the_kubelets() {
    let phase = |spec: Value, ending: bool, seen: &[(&str, u32, Seen)]| {
        let mut case = Case::new(spec, seen);
        case.ending = ending;
        case.status()["phase"].as_str().unwrap().to_owned()
    };
    let ended = |a, b| [("a", 0, Exited(a)), ("b", 0, Exited(b))];
    assert_eq!(phase(two("Always"), false, &[]), "Pending");
    assert_eq!(phase(two("Always"), false, &[("a", 0, Running)]), "Pending");
    assert_eq!(phase(two("Always"), false, &[("a", 0, Running), ("b", 0, Running)]), "Running");
    assert_eq!(phase(two("Never"), false, &[("a", 0, Running), ("b", 0, Exited(1))]), "Running");
    assert_eq!(phase(two("Always"), false, &ended(0, 1)), "Running");
    assert_eq!(phase(two("OnFailure"), false, &ended(0, 1)), "Running");
    assert_eq!(phase(two("OnFailure"), false, &ended(0, 0)), "Succeeded");
    assert_eq!(phase(two("Never"), false, &ended(0, 1)), "Failed");
    assert_eq!(phase(two("Always"), true, &ended(0, 0)), "Succeeded");
    assert_eq!(phase(two("Always"), true, &ended(0, 137)), "Failed");
    assert_eq!(phase(two("Always"), true, &[]), "Failed");
    assert_eq!(phase(with_init("Always"), false, &[("i", 0, Running)]), "Pending");
    assert_eq!(phase(with_init("Always"), false, &[("i", 0, Exited(1))]), "Pending");
    assert_eq!(phase(with_init("Never"), false, &[("i", 0, Exited(1))]), "Failed");
    let done = [("i", 0, Exited(0)), ("a", 0, Running)];
    assert_eq!(phase(with_init("Never"), false, &done), "Running");
    let mut aside = with_init("Never");
    aside["initContainers"] = json!([{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]);
    let failed = [("s", 0, Running), ("i", 0, Exited(1))];
    assert_eq!(phase(aside, false, &failed), "Pending", "its sidecar still runs");
}

#[test]
fn a_pod_that_runs_is_ready_and_has_its_address() {
    let case = Case::new(two("Always"), &[("a", 0, Running), ("b", 0, Running)]);
    let status = case.status();
    for type_ in
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    {
        assert_eq!(condition(&status, type_)["status"], "True", "{type_}");
    }
    assert_eq!(condition(&status, "PodScheduled")["lastTransitionTime"], "1970-01-01T00:00:01Z");
    assert_eq!(condition(&status, "Ready")["observedGeneration"], 3);
    assert_eq!(condition(&status, "example.com/gate")["status"], "True");
    assert_eq!(status["podIP"], "10.64.0.5");
    assert_eq!(status["podIPs"], json!([{"ip": "10.64.0.5"}]));
    assert_eq!(status["hostIP"], "192.168.0.9");
    assert_eq!(status["qosClass"], "Burstable");
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(status["startTime"], "1970-01-01T00:00:05Z");
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (&container["ready"], &container["started"], &container["restartCount"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert_eq!(container["containerID"], "podium://a-0");
    assert_eq!(container["image"], "hello");
    assert_eq!(container["imageID"], "sha256:1");
    assert_eq!(container["state"], json!({"running": {"startedAt": "1970-01-01T00:00:10Z"}}));
}

#[test]
fn before_it_runs_a_container_says_what_it_waits_for() {
    let status = Case::new(two("Always"), &[]).status();
    assert_eq!(
        status["containerStatuses"][0]["state"],
        json!({"waiting": {"reason": "ContainerCreating"}})
    );
    assert_eq!(condition(&status, "Ready")["reason"], "ContainersNotReady");
    assert_eq!(
        condition(&status, "ContainersReady")["message"],
        "containers with unready status: [a b]"
    );
    let status = Case::new(with_init("Always"), &[("i", 0, Running)]).status();
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&status, "Initialized")["status"], "False");
    assert_eq!(
        condition(&status, "Initialized")["message"],
        "containers with incomplete status: [i]"
    );
}

#[test]
fn a_container_in_a_crash_loop_waits_and_tells_how_it_ended() {
    let mut case = Case::new(two("Always"), &[("a", 2, Exited(137)), ("b", 0, Running)]);
    case.waiting.insert("a".into(), ("CrashLoopBackOff".into(), "back-off 20s".into()));
    let status = case.status();
    let container = &status["containerStatuses"][0];
    assert_eq!(
        container["state"],
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}})
    );
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(container["lastState"]["terminated"]["reason"], "OOMKilled");
    assert_eq!(container["restartCount"], 2);
    assert_eq!(container["ready"], false);
    assert_eq!(status["phase"], "Running");
}

#[test]
fn a_restarted_container_keeps_the_end_of_its_last_run() {
    let seen = [("a", 0, Exited(137)), ("a", 1, Running), ("b", 0, Running)];
    let status = Case::new(two("Always"), &seen).status();
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["containerID"], "podium://a-0");
}

#[test]
fn a_status_names_the_image_that_runs_until_another_does() {
    let mut case = Case::new(two("Never"), &[("a", 0, Running), ("b", 0, Running)]);
    case.pod.spec.as_mut().unwrap().containers[0].image = Some("hello:v2".to_owned());
    assert_eq!(case.status()["containerStatuses"][0]["image"], "hello");

    case.containers.outdate("a-0");
    case.containers.observe(Vec::new(), at(20));
    assert_eq!(case.status()["phase"], "Running", "it is started again");
}

#[test]
fn only_a_pod_that_gave_way_to_others_was_disrupted() {
    let mut case = Case::new(two("Always"), &[("a", 0, Exited(137)), ("b", 0, Exited(137))]);
    case.failure = Some(("Evicted", "too much"));
    let is_target = |c: &Value| c["type"] == "DisruptionTarget";
    assert!(!case.status()["conditions"].as_array().unwrap().iter().any(is_target));
    case.disrupted = true;
    let status = case.status();
    let target = condition(&status, "DisruptionTarget");
    assert_eq!(
        (&target["status"], &target["reason"]),
        (&json!("True"), &json!("TerminationByKubelet"))
    );
    assert_eq!(target["message"], "too much");
}

#[test]
fn readiness_follows_the_probe() {
    let spec = json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}]});
    let mut case = Case::new(spec, &[("a", 0, Running)]);
    assert_eq!(case.status()["containerStatuses"][0]["ready"], false);
    case.verdicts.set("a-0", Kind::Readiness, true);
    assert_eq!(case.status()["containerStatuses"][0]["ready"], true);
    assert_eq!(condition(&case.status(), "Ready")["status"], "True");
}

#[test]
fn a_readiness_gate_keeps_a_pod_unready() {
    let spec = json!({
        "containers": [{"name": "a"}],
        "readinessGates": [{"conditionType": "example.com/lb"}],
    });
    let mut case = Case::new(spec, &[("a", 0, Running)]);
    assert_eq!(condition(&case.status(), "Ready")["reason"], "ReadinessGatesNotReady");
    assert_eq!(condition(&case.status(), "ContainersReady")["status"], "True");
    let seen = json!({"conditions": [{"type": "example.com/lb", "status": "True"}]});
    case.pod.status = Some(serde_json::from_value(seen).unwrap());
    assert_eq!(condition(&case.status(), "Ready")["status"], "True");
}

#[test]
fn a_completed_pod_is_initialized_and_not_ready() {
    let status = Case::new(two("Never"), &[("a", 0, Exited(0)), ("b", 0, Exited(0))]).status();
    assert_eq!(condition(&status, "Ready")["reason"], "PodCompleted");
    assert_eq!(condition(&status, "Initialized")["status"], "True");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
}

#[test]
fn only_what_changed_is_patched() {
    let mut case = Case::new(two("Always"), &[("a", 0, Running), ("b", 0, Running)]);
    let first = case.typed();
    let whole = patch(&case.pod, &case.published, &first).unwrap();
    assert_eq!(whole["metadata"], json!({"uid": "u"}));
    assert_eq!(whole["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.64.0.5"}]));

    case.published = first.clone();
    case.now = 60;
    assert_eq!(patch(&case.pod, &first, &case.typed()), None);

    case.containers = containers(&[("a", 0, Exited(0)), ("b", 0, Running)]);
    let next = patch(&case.pod, &first, &case.typed()).unwrap();
    let names: Vec<_> = next["status"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["conditions", "containerStatuses"]);
    let types: Vec<_> =
        next["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(types, ["Ready", "ContainersReady"]);
}

#[test]
fn conditions_of_others_are_taken_over() {
    let mut case = Case::new(two("Always"), &[]);
    let seen = json!({"conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "example.com/other", "status": "False"},
    ]});
    apply(&mut case.published, &serde_json::from_value(seen).unwrap());
    let types: Vec<_> =
        case.published.conditions.iter().flatten().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, ["PodScheduled", "example.com/other"]);
}

#[test]
fn what_others_said_of_a_silent_node_s_pod_is_set_right() {
    let mut case = Case::new(two("Always"), &[("a", 0, Running), ("b", 0, Running)]);
    case.published = case.typed();
    let wanted = case.published.clone();
    let ready = |time: &str| {
        let said = json!({"type": "Ready", "status": "False", "lastTransitionTime": time});
        let gate = json!({"type": "example.com/gate", "status": "True"});
        serde_json::from_value(json!({"conditions": [said, gate]})).unwrap()
    };
    apply(&mut case.published, &ready("1969-01-01T00:00:00Z"));
    assert_eq!(patch(&case.pod, &case.published, &wanted), None, "an old word");
    apply(&mut case.published, &ready("2100-01-01T00:00:00Z"));
    let patch = patch(&case.pod, &case.published, &wanted).unwrap();
    assert_eq!(patch["status"]["conditions"][0]["type"], "Ready");
}

#[test]
fn a_pod_says_what_it_was_given_what_it_has_and_why_they_differ() {
    let resources = |memory: &str| json!({"requests": {"memory": memory}});
    let spec = json!({"containers": [{"name": "a", "resources": resources("1Gi")}]});
    let mut case = Case::new(spec, &[("a", 0, Running)]);
    let typed = |memory: &str| serde_json::from_value(resources(memory)).unwrap();
    case.resizing.allocated.insert("a".to_owned(), typed("1Gi"));
    case.resizing.applied.insert("a".to_owned(), typed("2Gi"));
    case.resizing.error = Some("cannot decrease memory limits: x".to_owned());

    let status = case.status();

    let container = &status["containerStatuses"][0];
    assert_eq!(container["allocatedResources"]["memory"], "1Gi");
    assert_eq!(container["resources"]["requests"]["memory"], "2Gi");
    let progress = condition(&status, "PodResizeInProgress");
    assert_eq!((&progress["status"], &progress["reason"]), (&json!("True"), &json!("Error")));
    assert_eq!(progress["message"], "cannot decrease memory limits: x");

    case.published = case.typed();
    case.resizing.applied = case.resizing.allocated.clone();
    let patch = patch(&case.pod, &case.published, &case.typed()).unwrap();
    let gone = json!({"$patch": "delete", "type": "PodResizeInProgress"});
    assert!(patch["status"]["conditions"].as_array().unwrap().contains(&gone), "{patch}");
}
