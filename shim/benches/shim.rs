//! What the runtime costs: requests to a function with a fresh instance each,
//! and how exactly quotas are kept. Prints figures, asserts nothing:
//! `cargo bench -p podium-shim`.
#![allow(clippy::unwrap_used, reason = "a bench that fails says why by panicking")]
#![allow(clippy::print_stdout, reason = "figures are its output")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use shim::cri::{ContainerConfig, Id, LinuxContainerResources, Runtime};
use support::{Node, named};

/// How long each measurement takes.
const SPAN: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let started = Instant::now();
    let node = Node::start().await;
    println!("runtime ready in {:?}", started.elapsed());
    let image = node.import("examples/hello/hello.wasm").await;
    let started = Instant::now();
    let id = node.run(&image, named("hello", ContainerConfig::default())).await;
    println!("hello compiled and listening in {:?}", started.elapsed());

    for callers in [1, 2, 16] {
        requests(&node, &id, callers).await;
    }
    let idle = latencies(&node).await;
    println!("a caller every millisecond, idle node: {idle}");
    quotas(&node).await;
    let busy = latencies(&node).await;
    println!("the same beside 3 spinning guests of 250m: {busy}");
    for name in ["sha", "mat", "sieve"] {
        spinner(&node, name, LinuxContainerResources::default()).await;
    }
    let busy = latencies(&node).await;
    println!("the same beside 3 more without limit: {busy}");
    node.shim.shutdown().await;
}

/// Requests per second from callers that ask again at once.
async fn requests(node: &Node, id: &Id, callers: usize) {
    let before = node.shim.container_stats(id).unwrap();
    let until = Instant::now() + SPAN;
    let caller = async || {
        while Instant::now() < until {
            let (status, text) = node.get("/").await;
            assert_eq!(status, 200, "{text}");
        }
    };
    futures::future::join_all((0..callers).map(|_| caller())).await;
    let after = node.shim.container_stats(id).unwrap();
    let count = after.requests - before.requests;
    let cpu = (after.cpu_usage - before.cpu_usage) / u32::try_from(count).unwrap();
    let rate = count as f64 / SPAN.as_secs_f64();
    println!("{callers} callers on one task: {rate:.0} requests/s, {cpu:?} of guest CPU each");
}

/// Median and 99th percentile of a request's time.
async fn latencies(node: &Node) -> String {
    let mut times = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let until = Instant::now() + SPAN;
    while Instant::now() < until {
        ticks.tick().await;
        let started = Instant::now();
        node.get("/").await;
        times.push(started.elapsed());
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0))
}

/// Starts three guests that spin under a limit of 250m and says what they get.
async fn quotas(node: &Node) {
    let mut spinners = Vec::new();
    for name in ["sha", "mat", "sieve"] {
        let resources = LinuxContainerResources {
            cpu_quota: Some(Duration::from_millis(25)),
            cpu_shares: 256,
            ..LinuxContainerResources::default()
        };
        spinners.push((name, spinner(node, name, resources).await));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = |id: &Id| node.shim.container_stats(id).unwrap().cpu_usage;
    let before: Vec<_> = spinners.iter().map(|(_, id)| used(id)).collect();
    let started = Instant::now();
    tokio::time::sleep(2 * SPAN).await;
    for ((name, id), before) in spinners.iter().zip(before) {
        let millicores = (used(id) - before).div_duration_f64(started.elapsed()) * 1000.0;
        println!("{name} limited to 250m uses {millicores:.1}m");
    }
}

async fn spinner(node: &Node, name: &str, resources: LinuxContainerResources) -> Id {
    let image = node.import("tests/guests/toolbox.wasm").await;
    let args = vec!["burnloop".into(), name.into()];
    let config = ContainerConfig { args, resources, ..ContainerConfig::default() };
    node.run(&image, named(name, config)).await
}
