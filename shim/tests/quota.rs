//! `limits.cpu` and the fairness of the executor, with guests that only spin.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::{Duration, Instant};

use shim::cri::{ContainerConfig, Id, LinuxContainerResources, Runtime};
use support::{Node, eventually, named};

const PERIOD: Duration = Duration::from_millis(100);

async fn spinner(node: &Node, name: &str, resources: LinuxContainerResources) -> Id {
    let image = node.import("tests/guests/toolbox.wasm").await;
    let args = vec!["burnloop".into(), name.into()];
    let config = ContainerConfig { args, resources, ..ContainerConfig::default() };
    node.run(&image, named(name, config)).await
}

fn millicores(quota: u32) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: Some(PERIOD * quota / 1000),
        cpu_shares: u64::from(quota) * 1024 / 1000,
        ..LinuxContainerResources::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spinning_guests_of_any_kind_keep_to_their_quota_of_measured_cpu() {
    let node = Node::start().await;
    let started = Instant::now();
    let mut spinners = Vec::new();
    for name in ["sha", "mat", "sieve"] {
        spinners.push(spinner(&node, name, millicores(250)).await);
    }
    let stats = |id: &Id| node.shim.container_stats(id).unwrap();

    eventually("each has been throttled", || {
        spinners.iter().all(|id| stats(id).throttled_periods >= 5)
    })
    .await;

    let quota = PERIOD / 4;
    for id in &spinners {
        let stats = stats(id);
        let periods = started.elapsed().div_duration_f64(PERIOD).ceil() as u32;
        // What a slice takes beyond the quota is paid back: one slice over at most.
        let slice = Duration::from_millis(5);
        assert!(stats.cpu_usage <= quota * periods + slice, "{stats:?} in {periods} periods");
        let throttled = u32::try_from(stats.throttled_periods).unwrap();
        assert!(stats.cpu_usage >= quota * throttled, "{stats:?}");
    }
    node.shim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_takes_effect_at_once() {
    let node = Node::start().await;
    let id = spinner(&node, "sha", millicores(10)).await;
    let stats = || node.shim.container_stats(&id).unwrap();
    eventually("it is throttled", || stats().throttled_periods >= 1).await;

    let unlimited = LinuxContainerResources { cpu_shares: 1024, ..Default::default() };
    node.shim.update_container_resources(&id, unlimited).await.unwrap();

    let before = stats();
    eventually("it runs freely", || stats().cpu_usage - before.cpu_usage >= PERIOD).await;
    assert!(stats().throttled_periods <= before.throttled_periods + 1);
    node.shim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_spinning_guests_are_served() {
    let node = Node::start().await;
    for name in ["sha", "mat", "sieve"] {
        spinner(&node, name, LinuxContainerResources::default()).await;
    }
    let image = node.import("tests/guests/prober.wasm").await;
    node.run(&image, named("fn", ContainerConfig::default())).await;

    for _ in 0..50 {
        assert_eq!(node.get("/burn?100").await.0, 200);
    }
    let removed = node.shim.remove_pod_sandbox(&node.sandbox);
    tokio::time::timeout(support::PATIENCE, removed).await.unwrap().unwrap();
}
