//! Functions, called through the pod network.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use shim::cri::{
    ContainerConfig, ContainerEvent, ContainerEventKind, ContainerState, ExitReason,
    LinuxContainerResources, Runtime,
};
use shim::function::MAX_QUEUE;
use shim::guest::BODY_BUFFER;
use shim::network::{Peer, RefusedReason};
use support::{Node, PATIENCE, eventually, named, request, text};

async fn prober(config: ContainerConfig) -> (Node, shim::cri::Id) {
    let node = Node::start().await;
    let image = node.import("tests/guests/prober.wasm").await;
    let id = node.run(&image, named("fn", config)).await;
    (node, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_each_request_in_a_fresh_instance() {
    let (node, id) = prober(ContainerConfig {
        envs: vec![("COLOR".into(), "blue".into())],
        ..ContainerConfig::default()
    })
    .await;

    let (status, body) = node.get("/some/path?x=1").await;
    assert_eq!(status, 200);
    assert!(body.contains("/some/path"), "{body}");
    assert_eq!(node.get("/env").await, (200, "COLOR=blue\nHOSTNAME=web\n".into()));
    assert_eq!(node.get("/status?418").await.0, 418);
    assert!(node.shim.container_status(&id).unwrap().function);
    // The answer may be here before its guest has come to its end.
    eventually("each is counted", || node.shim.container_stats(&id).unwrap().requests == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_go_in_and_come_out() {
    let (node, _) = prober(ContainerConfig::default()).await;

    for size in [0, 1, 5_000, 3 << 20] {
        let sent = "x".repeat(size);
        let (status, body) = text(node.send(request("/post", &sent)).await).await;
        assert_eq!(status, 200);
        assert!(body == sent, "{size} bytes came back as {}", body.len());
    }
}

/// The reasons of the next failed request, as its event tells them.
async fn failed(
    events: &mut tokio::sync::broadcast::Receiver<ContainerEvent>,
) -> (ExitReason, String) {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("no event");
        if let ContainerEventKind::RequestFailed(reason, message) = event.unwrap().kind {
            return (reason, message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_the_answer_of_its_request_alone() {
    let (node, id) = prober(ContainerConfig::default()).await;
    let mut events = node.shim.container_events();

    let (status, body) = node.get("/trap").await;

    assert_eq!(status, 500);
    assert!(!body.contains("backtrace"), "{body}");
    let (reason, message) = failed(&mut events).await;
    assert_eq!(reason, ExitReason::Error);
    assert!(message.contains("unreachable"), "{message}");
    assert_eq!(node.get("/fine").await.0, 200);
    let state = node.shim.container_status(&id).unwrap().state;
    assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
    // Its log is whole once it has ended.
    node.shim.stop_container(&id, Duration::ZERO).await.unwrap();
    assert!(node.log(&id).await.contains("unreachable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_over_the_limit_ends_that_request_and_not_its_neighbours() {
    let mut config = ContainerConfig::default();
    config.resources.memory_limit = Some(8 << 20);
    let (node, _) = prober(config).await;
    let mut events = node.shim.container_events();

    let (neighbour, (status, _)) = tokio::join!(node.get("/sleep?300"), node.get("/mem?64"));

    assert_eq!(status, 500);
    assert_eq!(failed(&mut events).await.0, ExitReason::OomKilled);
    assert_eq!(neighbour.0, 200);
    assert_eq!(node.get("/mem?2").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fuel_is_a_limit_of_each_request() {
    let mut config = ContainerConfig::default();
    config.resources.fuel = Some(3_000_000);
    let (node, id) = prober(config).await;
    let mut events = node.shim.container_events();

    assert_eq!(node.get("/loop").await.0, 500);
    assert_eq!(failed(&mut events).await.0, ExitReason::FuelExhausted);
    assert_eq!(node.get("/fine").await.0, 200);

    let more = LinuxContainerResources { fuel: Some(10_000), ..Default::default() };
    node.shim.update_container_resources(&id, more).await.unwrap();
    assert_eq!(node.get("/burn?1000").await.0, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_out_of_time_is_a_504_and_its_guest_ends() {
    let config = ContainerConfig {
        request_timeout: Some(Duration::from_millis(100)),
        ..ContainerConfig::default()
    };
    let (node, id) = prober(config).await;

    let (spinning, waiting) = tokio::join!(node.get("/loop"), node.get("/sleep?60000"));

    assert_eq!((spinning.0, waiting.0), (504, 504));
    let memory = || node.shim.container_stats(&id).unwrap().memory_working_set;
    eventually("their memory is given back", || memory() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_takes_the_guest_along() {
    let (node, id) = prober(ContainerConfig::default()).await;
    let stats = || node.shim.container_stats(&id).unwrap();

    let called = tokio::time::timeout(Duration::from_millis(50), node.get("/loop"));
    called.await.expect_err("a loop has no answer");

    eventually("its memory is given back", || stats().memory_working_set == 0).await;
    let used = stats().cpu_usage;
    assert_eq!(node.get("/fine").await.0, 200);
    assert!(stats().cpu_usage - used < Duration::from_millis(50), "it still spins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_asks_for_more_than_can_be_counted_serves() {
    let (concurrency, request_timeout) = (Some(usize::MAX), Some(Duration::MAX));
    let config = ContainerConfig { concurrency, request_timeout, ..ContainerConfig::default() };
    let (node, id) = prober(config).await;
    assert_eq!(node.get("/fine").await.0, 200);
    node.shim.stop_container(&id, Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_concurrency_and_queue_a_request_is_refused_untouched() {
    let config = ContainerConfig { concurrency: Some(1), ..ContainerConfig::default() };
    let (node, _) = prober(config).await;
    let ip = node.shim.pod_sandbox_status(&node.sandbox).unwrap().ip.unwrap();
    let send = |path: &str| {
        let peer = Peer { source: (node.switch.node_ip(), 40_000).into() };
        node.switch.request((ip, 8080).into(), request(path, ""), peer)
    };
    let mut waiting = FuturesUnordered::new();
    for _ in 0..=MAX_QUEUE {
        waiting.push(send("/sleep?100000"));
    }
    // One poll of each: the first is handled, the others wait.
    assert!(waiting.next().now_or_never().is_none());

    let refused = send("/one-more").await.unwrap_err();

    assert_eq!(refused.reason, RefusedReason::Saturated);
    assert_eq!(refused.request.uri().path(), "/one-more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_is_handled_in_its_turn() {
    let config = ContainerConfig { concurrency: Some(1), ..ContainerConfig::default() };
    let (node, id) = prober(config).await;

    let all = (0..5).map(|_| node.get("/sleep?10"));
    let answers = futures::future::join_all(all).await;

    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let one = node.shim.container_stats(&id).unwrap().memory_peak;
    assert!(one < 2 << 20, "two instances at once: {one} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_run_at_the_same_time_and_each_counts() {
    let (node, id) = prober(ContainerConfig::default()).await;
    assert_eq!(node.get("/fine").await.0, 200);
    let stats = || node.shim.container_stats(&id).unwrap();
    eventually("it has ended", || stats().memory_working_set == 0).await;
    let one = stats().memory_peak;
    // Who sleeps has not begun its answer.
    let least = one - BODY_BUFFER as u64;

    let both = async { tokio::join!(node.get("/sleep?600000"), node.get("/sleep?600000")) };
    tokio::select! {
        answers = both => panic!("nobody sleeps so short: {answers:?}"),
        () = eventually("both run", || stats().memory_working_set >= 2 * least) => {}
    }

    assert!((2 * least..=2 * one).contains(&stats().memory_peak));
    eventually("their memory is given back", || stats().memory_working_set == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_function_answers_what_it_has_taken_and_completes() {
    let (node, id) = prober(ContainerConfig::default()).await;
    let stop = async {
        eventually("the request runs", || {
            node.shim.container_stats(&id).unwrap().memory_working_set > 0
        })
        .await;
        node.shim.stop_container(&id, Duration::from_secs(60)).await.unwrap();
    };

    let ((status, _), ()) = tokio::join!(node.get("/sleep?2000"), stop);

    assert_eq!(status, 200);
    let exit = node.exit(&id).await;
    assert_eq!((exit.code, exit.reason), (0, ExitReason::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlives_the_grace_is_ended_by_force() {
    let (node, id) = prober(ContainerConfig::default()).await;
    let stop = async {
        eventually("the request runs", || {
            node.shim.container_stats(&id).unwrap().memory_working_set > 0
        })
        .await;
        node.shim.stop_container(&id, Duration::from_millis(20)).await.unwrap();
    };

    let ((status, _), ()) = tokio::join!(node.get("/loop"), stop);

    assert_eq!(status, 503);
    assert_eq!(node.exit(&id).await.code, 137);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_logs_to_its_container() {
    let (node, id) = prober(ContainerConfig::default()).await;

    assert_eq!(node.get("/log").await.0, 200);

    node.shim.stop_container(&id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(node.log(&id).await, "a line from the function\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_calls_another_by_its_address() {
    let (node, _) = prober(ContainerConfig::default()).await;
    let pod = support::pod("other", node.folder.path());
    let other = node.shim.run_pod_sandbox(pod).await.unwrap();
    let image = node.import("tests/guests/prober.wasm").await;
    let config =
        ContainerConfig { image, ports: vec![80], ..named("other", ContainerConfig::default()) };
    let id = node.shim.create_container(&other, config).await.unwrap();
    node.shim.start_container(&id).await.unwrap();
    let ip = node.shim.pod_sandbox_status(&other).unwrap().ip.unwrap();

    let (status, body) = node.get(&format!("/fetch?{ip}/from/afar")).await;

    assert_eq!(status, 200, "{body}");
    assert!(body.contains("/from/afar"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_containers_of_a_pod_cannot_have_one_port() {
    let (node, _) = prober(ContainerConfig::default()).await;
    let image = node.import("tests/guests/prober.wasm").await;
    let config = ContainerConfig { image, ..named("second", ContainerConfig::default()) };
    let id = node.shim.create_container(&node.sandbox, config).await.unwrap();

    let refused = node.shim.start_container(&id).await.unwrap_err();

    assert!(refused.to_string().contains("8080"), "{refused}");
    assert_eq!(node.exit(&id).await.reason, ExitReason::ContainerCannotRun);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_kept_for_the_next_request_where_its_container_asks_for_it() {
    let reuse = std::num::NonZeroU64::new(3);
    let (node, id) = prober(ContainerConfig { reuse, ..ContainerConfig::default() }).await;
    let held = || node.shim.container_stats(&id).unwrap().memory_working_set;

    // The answer may be here before its guest has come to its end.
    let served = async |count| {
        eventually("the guest has ended", || {
            node.shim.container_stats(&id).unwrap().requests == count
        })
        .await;
    };

    assert_eq!(node.get("/mem?2").await.0, 200);
    served(1).await;
    let after_one = held();
    assert!(after_one > 2 << 20, "{after_one} bytes are held");
    assert_eq!(node.get("/mem?2").await.0, 200);
    served(2).await;
    assert!(held() > after_one, "the second request had an instance of its own");
    assert_eq!(node.get("/fine").await.0, 200);
    served(3).await;
    eventually("three requests are as many as it may serve", || held() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_failed_is_not_used_again() {
    let mut config = ContainerConfig {
        reuse: std::num::NonZeroU64::new(u64::MAX),
        request_timeout: Some(Duration::from_secs(3)),
        ..ContainerConfig::default()
    };
    config.resources.memory_limit = Some(8 << 20);
    let (node, id) = prober(config).await;
    for (round, (path, status)) in
        [("/trap", 500), ("/mem?64", 500), ("/loop", 504)].into_iter().enumerate()
    {
        assert_eq!(node.get("/mem?1").await.0, 200);
        eventually("its guest has ended", || {
            node.shim.container_stats(&id).unwrap().requests == 2 * round as u64 + 1
        })
        .await;
        assert_eq!(node.get(path).await.0, status);
        eventually("its memory is given back", || {
            node.shim.container_stats(&id).unwrap().memory_working_set == 0
        })
        .await;
    }
    assert_eq!(node.get("/fine").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_make_room_for_one_that_works() {
    let mut config = ContainerConfig {
        reuse: std::num::NonZeroU64::new(u64::MAX),
        ..ContainerConfig::default()
    };
    config.resources.memory_limit = Some(8 << 20);
    let (node, id) = prober(config).await;
    // The one that slept comes back last and is the next to be taken.
    let (slept, grown) = tokio::join!(node.get("/sleep?2000"), node.get("/mem?3"));
    assert_eq!((slept.0, grown.0), (200, 200));
    // The answer may be here before its guest has come to its end.
    eventually("both have ended", || node.shim.container_stats(&id).unwrap().requests == 2).await;

    assert_eq!(node.get("/mem?6").await.0, 200);

    assert!(node.shim.container_stats(&id).unwrap().memory_peak <= 8 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_drops_nothing_is_replaced_before_a_request_fails() {
    let reuse = std::num::NonZeroU64::new(u64::MAX);
    let (node, _) = prober(ContainerConfig { reuse, ..ContainerConfig::default() }).await;
    // It leaves a resource with each request; a store holds 4096.
    for _ in 0..5_000 {
        assert_eq!(node.get("/fine").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_function_keeps_no_instance() {
    let reuse = std::num::NonZeroU64::new(u64::MAX);
    let (node, id) = prober(ContainerConfig { reuse, ..ContainerConfig::default() }).await;
    assert_eq!(node.get("/fine").await.0, 200);
    node.shim.stop_container(&id, Duration::from_secs(30)).await.unwrap();
    eventually("its memory is given back", || {
        node.shim.container_stats(&id).unwrap().memory_working_set == 0
    })
    .await;
}
