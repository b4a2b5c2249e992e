//! Of two Pods, one of which works.
use std::time::UNIX_EPOCH;

use shim::cri::{ImageRef, PodSandboxState};

use super::*;
use crate::node::Capacity;

fn sandbox(namespace: &str, name: &str) -> PodSandboxStatus {
    PodSandboxStatus {
        id: Id(format!("{namespace}-{name}")),
        metadata: PodSandboxMetadata {
            name: name.into(),
            namespace: namespace.into(),
            uid: format!("uid-{name}"),
            attempt: 0,
        },
        state: PodSandboxState::Ready,
        created_at: UNIX_EPOCH,
        ip: None,
        labels: Default::default(),
    }
}

fn container(sandbox: &str, name: &str, millis: u64) -> (ContainerAttributes, ContainerStats) {
    let attributes = ContainerAttributes {
        id: Id(format!("{sandbox}-{name}")),
        sandbox: Id(sandbox.into()),
        name: name.into(),
        image: ImageRef("sha256:0".into()),
        started_at: UNIX_EPOCH + Duration::from_secs(1000),
    };
    let stats = ContainerStats {
        cpu_usage: Duration::from_millis(millis),
        memory_working_set: 1 << 20,
        requests: 3,
        ..ContainerStats::default()
    };
    (attributes, stats)
}

fn usage(at: i64, millis: u64) -> Usage {
    let sandboxes = vec![sandbox("b", "web"), sandbox("a", "db"), sandbox("a", "over")];
    let containers = vec![container("b-web", "main", millis), container("a-db", "main", 0)];
    Usage {
        time: Timestamp::from_second(at).unwrap(),
        cpu: Duration::from_millis(millis),
        memory: 1 << 30,
        pods: pods(sandboxes, containers),
    }
}

#[test]
fn pods_without_a_running_container_use_nothing_and_are_left_out() {
    let names: Vec<_> = usage(0, 0).pods.iter().map(|pod| pod.metadata.name.clone()).collect();
    assert_eq!(names, ["db", "web"]);
}

#[test]
fn rates_are_those_between_two_looks() {
    let web = Id("b-web-main".into());
    let mut rates = Rates::default();
    rates.look(&usage(1010, 1_000));
    assert_eq!(rates.container(&web), Some(100_000_000), "since it was started");
    assert_eq!(rates.node(), None);
    rates.look(&usage(1020, 6_000));
    assert_eq!(rates.container(&web), Some(500_000_000));
    assert_eq!(rates.node(), Some(500_000_000));
    rates.look(&usage(1020, 6_000));
    assert_eq!(rates.container(&web), Some(500_000_000), "too soon to say something new");
}

#[test]
fn resources_are_named_as_the_kubelet_names_them() {
    let mut text = Text::new();
    prometheus::resources(&mut text, &usage(1, 1_500));
    let text = text.finish();
    let web = r#"{container="main",namespace="b",pod="web"}"#;
    for line in [
        format!("container_cpu_usage_seconds_total{web} 1.5 1000"),
        format!("container_memory_working_set_bytes{web} 1048576 1000"),
        format!("container_start_time_seconds{web} 1000 1000"),
        "node_cpu_usage_seconds_total 1.5 1000".into(),
        "node_memory_working_set_bytes 1073741824 1000".into(),
        r#"pod_cpu_usage_seconds_total{namespace="b",pod="web"} 1.5 1000"#.into(),
        "resource_scrape_error 0".into(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_machine_is_the_container_with_the_id_of_the_root() {
    let capacity = Capacity { cpu: 2000, memory: 4 << 30, ephemeral_storage: None, pods: 1 };
    let mut text = Text::new();
    prometheus::containers(&mut text, &capacity, &usage(1, 1_500));
    prometheus::own(&mut text, "n1", &usage(1, 1_500));
    let text = text.finish();
    for line in [
        r#"container_cpu_usage_seconds_total{container="",id="/",image="",name="",namespace="",pod=""} 1.5 1000"#,
        r#"container_memory_working_set_bytes{container="main",id="/kubepods/poduid-web/b-web-main",image="sha256:0",name="b-web-main",namespace="b",pod="web"} 1048576 1000"#,
        "machine_cpu_cores 2",
        "kubelet_running_pods 2",
        r#"podium_function_requests_total{container="main",namespace="b",pod="web"} 3"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_node_that_offers_a_part_of_the_machine_uses_what_its_pods_hold() {
    assert_eq!(memory(1000, 10, Some((600, 1000))), 600);
    assert_eq!(memory(100, 10, Some((600, 1000))), 10);
    assert_eq!(memory(1000, 10, None), 10);
}
