//! Plans for Pods as users write them.
use serde_json::{Value, json};
use shim::cri;

use super::super::containers::IMAGE_LABEL;
use super::*;
use crate::node::probes::Kind;

/// What a container is like: its name, attempt and state.
enum Seen {
    Created,
    Running,
    Exited(i32),
}

use Seen::{Created, Exited, Running};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Containers as the runtime shows them; what ended did so at 100 s.
fn containers(seen: &[(&str, Seen)]) -> Containers {
    let time = |seconds: i64| std::time::SystemTime::from(at(seconds));
    let status = |(name, seen): &(&str, Seen)| cri::ContainerStatus {
        id: cri::Id((*name).to_owned()),
        sandbox: cri::Id("s".into()),
        name: (*name).to_owned(),
        attempt: 0,
        image: cri::ImageRef(String::new()),
        created_at: time(50),
        state: match seen {
            Created => cri::ContainerState::Created,
            Running => cri::ContainerState::Running { started_at: time(50) },
            Exited(code) => cri::ContainerState::Exited {
                started_at: Some(time(50)),
                finished_at: time(100),
                exit: cri::Exit {
                    code: *code,
                    reason: cri::ExitReason::Error,
                    message: String::new(),
                },
            },
        },
        own_files: Vec::new(),
        log_path: "/log".into(),
        function: false,
        labels: [(IMAGE_LABEL.to_owned(), "v1".to_owned())].into(),
    };
    let mut containers = Containers::default();
    containers.observe(seen.iter().map(status).collect(), at(100));
    containers
}

struct Case {
    pod: Pod,
    sandbox: bool,
    containers: Containers,
    verdicts: Verdicts,
    backoffs: Backoffs,
    now: i64,
}

impl Case {
    fn new(spec: Value, seen: &[(&str, Seen)]) -> Self {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        Self {
            pod: serde_json::from_value(pod).unwrap(),
            sandbox: true,
            containers: containers(seen),
            verdicts: Verdicts::default(),
            backoffs: Backoffs::default(),
            now: 100,
        }
    }

    fn plan(&self) -> Plan {
        plan(View {
            pod: &self.pod,
            sandbox: self.sandbox,
            containers: &self.containers,
            verdicts: &self.verdicts,
            backoffs: &self.backoffs,
            start_time: at(0),
            now: at(self.now),
        })
    }
}

fn pod(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]})
}

fn with_init(policy: &str) -> Value {
    json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "i"}, {"name": "j"}],
        "containers": [{"name": "a"}],
    })
}

fn with_sidecar() -> Value {
    json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "i"},
            {"name": "side", "restartPolicy": "Always",
             "startupProbe": {"tcpSocket": {"port": 1}}},
        ],
        "containers": [{"name": "a"}],
    })
}

#[test]
fn a_new_pod_gets_a_sandbox_and_all_its_containers() {
    let mut case = Case::new(pod("Always"), &[]);
    case.sandbox = false;
    let plan = case.plan();
    assert!(plan.create_sandbox);
    assert_eq!(plan.start, ["a", "b"]);
}

#[test]
fn what_ended_is_started_again_as_the_policy_says() {
    for (policy, codes, start, end) in [
        ("Always", [0, 1], vec!["a", "b"], None),
        ("OnFailure", [0, 1], vec!["b"], None),
        ("OnFailure", [0, 0], vec![], Some(End::Completed)),
        ("Never", [0, 1], vec![], Some(End::Completed)),
    ] {
        let seen = [("a", Exited(codes[0])), ("b", Exited(codes[1]))];
        let plan = Case::new(pod(policy), &seen).plan();
        assert_eq!(plan.start, start, "{policy} {codes:?}");
        assert_eq!(plan.end, end, "{policy} {codes:?}");
    }
}

#[test]
fn what_runs_is_left_alone() {
    for policy in ["Always", "OnFailure", "Never"] {
        let plan = Case::new(pod(policy), &[("a", Running), ("b", Running)]).plan();
        assert_eq!(plan, Plan::default(), "{policy}");
        let plan = Case::new(pod(policy), &[("a", Running), ("b", Exited(0))]).plan();
        assert_eq!(plan.end, None, "{policy}");
    }
}

#[test]
fn what_was_made_and_not_started_is_made_again() {
    let plan = Case::new(pod("Never"), &[("a", Created), ("b", Running)]).plan();
    assert_eq!(plan.start, ["a"]);
}

#[test]
fn init_containers_run_one_after_the_other() {
    for (seen, start) in [
        (vec![], vec!["i"]),
        (vec![("i", Running)], vec![]),
        (vec![("i", Exited(0))], vec!["j"]),
        (vec![("i", Exited(0)), ("j", Running)], vec![]),
        (vec![("i", Exited(0)), ("j", Exited(0))], vec!["a"]),
        (vec![("i", Exited(1))], vec!["i"]),
    ] {
        let case = Case::new(with_init("Always"), &seen);
        assert_eq!(case.plan().start, start);
        assert!(!case.plan().create_sandbox);
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let plan = Case::new(with_init("Never"), &[("i", Exited(1))]).plan();
    assert_eq!(plan.end, Some(End::Completed));
    let plan = Case::new(with_init("Never"), &[("i", Exited(0)), ("j", Running)]).plan();
    assert_eq!(plan.end, None);
}

#[test]
fn init_containers_are_over_once_the_containers_have_begun() {
    let plan = Case::new(with_init("Always"), &[("a", Exited(1))]).plan();
    assert_eq!(plan.start, ["a"]);
}

#[test]
fn after_a_restart_of_the_node_init_containers_run_first_again() {
    let seen = [("i", Exited(0)), ("j", Exited(0)), ("a", Running)];
    let mut case = Case::new(with_init("Always"), &seen);
    let saved = serde_json::to_string(&case.containers).unwrap();
    case.containers = serde_json::from_str(&saved).unwrap();
    case.containers.observe(Vec::new(), at(100));
    case.sandbox = false;
    assert_eq!((case.plan().create_sandbox, case.plan().start), (true, vec!["i".to_owned()]));

    case.containers.renew(["i", "j"]);
    case.sandbox = true;
    assert_eq!(case.plan().start, ["i"]);
}

#[test]
fn after_a_restart_of_the_node_nothing_runs_twice_that_may_run_once() {
    for (policy, end) in [("Always", None), ("OnFailure", None), ("Never", Some(End::Completed))] {
        let mut case = Case::new(pod(policy), &[("a", Running), ("b", Running)]);
        case.containers.observe(Vec::new(), at(100));
        case.sandbox = false;
        assert_eq!(case.plan().end, end, "{policy}");
    }
}

#[test]
fn containers_wait_for_a_sidecar_that_starts_slowly() {
    let mut case = Case::new(with_sidecar(), &[("i", Exited(0))]);
    assert_eq!(case.plan().start, ["side"]);
    case.containers = containers(&[("i", Exited(0)), ("side", Running)]);
    assert_eq!(case.plan(), Plan::default());
    case.verdicts.set("side", Kind::Startup, true);
    assert_eq!(case.plan().start, ["a"]);
}

#[test]
fn a_sidecar_is_always_restarted_and_keeps_no_pod_alive() {
    let mut case =
        Case::new(with_sidecar(), &[("i", Exited(0)), ("side", Exited(0)), ("a", Running)]);
    assert_eq!(case.plan().start, ["side"]);
    case.containers = containers(&[("side", Running), ("a", Exited(0))]);
    assert_eq!(case.plan().end, Some(End::Completed));
}

#[test]
fn a_container_that_fails_its_probe_is_stopped() {
    let spec = json!({"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]});
    let mut case = Case::new(spec, &[("a", Running)]);
    case.verdicts.set("a", Kind::Liveness, false);
    let message = "Container a failed liveness probe, will be restarted".to_owned();
    assert_eq!(
        case.plan().stop,
        [Stop { name: "a".into(), id: "a".into(), message, grace: None, outdated: false }]
    );
}

#[test]
fn a_container_that_asks_for_another_image_is_started_again_with_it() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "i", "image": "v2"},
            {"name": "side", "image": "v2", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a", "image": "v2"}, {"name": "b", "image": "v1"}],
    });
    let seen = [("i", Running), ("side", Running), ("a", Running), ("b", Running)];
    let mut case = Case::new(spec, &seen);
    let stops = case.plan().stop;
    let told: Vec<_> = stops.iter().map(|stop| (stop.message.as_str(), stop.outdated)).collect();
    let side = "Init container side definition changed";
    let main = "Container a definition changed, will be restarted";
    assert_eq!(told, [(side, true), (main, true)]);

    case.containers = containers(&[("a", Exited(137)), ("b", Exited(0))]);
    assert_eq!(case.plan().end, Some(End::Completed), "it ended by itself");
    case.containers = containers(&[("a", Running), ("b", Exited(0))]);
    case.containers.outdate("a");
    case.containers.observe(Vec::new(), at(100));
    assert_eq!(case.plan().end, None);
    assert!(case.plan().start.contains(&"a".to_owned()));
}

#[test]
fn another_image_does_not_wait_for_the_failures_of_the_last() {
    let spec = json!({"containers": [{"name": "a", "image": "v2"}]});
    let mut case = Case::new(spec, &[("a", Exited(1))]);
    case.backoffs.next("a", at(90), at(90));
    assert_eq!(case.plan().start, ["a"]);
}

#[test]
fn what_fails_again_waits() {
    let mut case = Case::new(pod("Always"), &[("a", Exited(1)), ("b", Running)]);
    case.backoffs.next("a", at(90), at(90));
    case.now = 105;
    let plan = case.plan();
    assert!(plan.start.is_empty());
    assert_eq!(plan.wake, Some(at(110)));
    assert_eq!(plan.back_off[0].0, "a");
    assert_eq!(plan.back_off[0].1.length, Duration::from_secs(10));

    case.now = 110;
    assert_eq!(case.plan().start, ["a"]);
}

#[test]
fn a_pod_ends_at_its_deadline() {
    let spec = json!({"activeDeadlineSeconds": 200, "containers": [{"name": "a"}]});
    let mut case = Case::new(spec, &[("a", Running)]);
    assert_eq!(case.plan().wake, Some(at(200)));
    case.now = 200;
    assert_eq!(case.plan().end, Some(End::DeadlineExceeded));
}
