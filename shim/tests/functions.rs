//! Functions, called through the pod network.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use shim::cri::{ContainerConfig, Runtime};
use support::{Node, named, request, text};

async fn prober(config: ContainerConfig) -> (Node, shim::cri::Id) {
    let node = Node::start().await;
    let image = node.import("tests/guests/prober.wasm");
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
    assert_eq!(node.get("/env").await, (200, "COLOR=blue\n".into()));
    assert_eq!(node.get("/status?418").await.0, 418);
    assert!(node.shim.container_status(&id).unwrap().function);
    assert_eq!(node.shim.container_stats(&id).unwrap().requests, 3);
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
