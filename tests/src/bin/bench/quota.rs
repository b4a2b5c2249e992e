//! Limits of CPU: how exactly they hold, what neighbours feel of those who burn
//! it, and how soon a Pod that spins is gone.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use kube::runtime::conditions::{is_deleted, is_pod_running};
use kube::runtime::wait::await_condition;
use podium_tests::{Cluster, Connection, file};
use serde_json::json;

use crate::{cluster, figure, process, quantile};

/// Programs of different instruction mixes: integers, floating point, memory.
const KERNELS: [&str; 3] = ["sha", "mat", "sieve"];
/// What each may use, in thousandths of a CPU.
const LIMIT: &str = "250m";
/// How long a program settles before it is measured.
const SETTLING: Duration = Duration::from_secs(1);
/// How long CPU is measured: a hundred periods.
const SPAN: Duration = Duration::from_secs(10);
/// Requests of a neighbour, one after another, each some milliseconds after the last.
const REQUESTS: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(2);
/// Programs without limits that spin beside a neighbour.
const SPINNERS: usize = 4;
/// Pods that spin, ended one after another, and the grace of each.
const ENDINGS: usize = 10;
const GRACE: u32 = 1;

pub async fn run() -> Result<()> {
    let cluster = cluster(&[&file("examples/hello/hello.wasm").display().to_string()]).await?;
    let toolbox = file("tests/guests/toolbox.wasm").display().to_string();
    cluster.podium().run(&["push", &toolbox, "toolbox:v1"]).await;
    let pods = Api::default_namespaced(cluster.client().await?);
    for kernel in KERNELS {
        accuracy(&cluster, &pods, kernel).await?;
    }
    neighbour(&cluster, &pods).await?;
    endings(&pods).await
}

/// What the operating system says that the process uses more with the program than without.
async fn accuracy(cluster: &Cluster, pods: &Api<Pod>, kernel: &str) -> Result<()> {
    let idle = used(cluster).await?;
    start(pods, kernel, &["burnloop", kernel], Some(LIMIT)).await?;
    let burning = used(cluster).await?;
    end(pods, kernel, 0).await?;
    figure(
        &format!("program `{kernel}` limited to {LIMIT}, thousandths of a CPU"),
        format!("{:.0}", burning - idle),
    );
    Ok(())
}

/// Thousandths of a CPU that the cluster uses.
async fn used(cluster: &Cluster) -> Result<f64> {
    tokio::time::sleep(SETTLING).await;
    let (start, cpu) = (Instant::now(), process::cpu(cluster.process_id())?);
    tokio::time::sleep(SPAN).await;
    let cpu = process::cpu(cluster.process_id())? - cpu;
    Ok(1e3 * cpu.as_secs_f64() / start.elapsed().as_secs_f64())
}

async fn neighbour(cluster: &Cluster, pods: &Api<Pod>) -> Result<()> {
    let (idle, idle_worst) = requests(cluster).await?;
    for kernel in KERNELS {
        start(pods, kernel, &["burnloop", kernel], Some(LIMIT)).await?;
    }
    let (limited, limited_worst) = requests(cluster).await?;
    for kernel in KERNELS {
        end(pods, kernel, 0).await?;
    }
    let spinner = |n| format!("spinner-{n}");
    for n in 0..SPINNERS {
        start(pods, &spinner(n), &["loop"], None).await?;
    }
    let (spinning, spinning_worst) = requests(cluster).await?;
    for n in 0..SPINNERS {
        end(pods, &spinner(n), 0).await?;
    }
    let print = |beside: &str, p50: f64, p99: f64| {
        figure(
            &format!("a neighbour's request {beside}, ms (p50, p99, p99 to idle)"),
            format!("{p50:.2} ({p99:.2}, {:.1})", p99 / idle_worst),
        );
    };
    print("idle", idle, idle_worst);
    print(&format!("beside three of {LIMIT}"), limited, limited_worst);
    print(&format!("beside {SPINNERS} that spin without limit"), spinning, spinning_worst);
    Ok(())
}

/// The p50 and p99 of requests to a function, in milliseconds.
async fn requests(cluster: &Cluster) -> Result<(f64, f64)> {
    let mut connection = Connection::open(&cluster.addresses.gateway, "hello.localhost").await?;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let sent = Instant::now();
        let (status, _) = connection.get("/").await?;
        anyhow::ensure!(status == 200, "the answer is {status}");
        times.push(sent.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    Ok((quantile(&mut times, 0.5), quantile(&mut times, 0.99)))
}

async fn endings(pods: &Api<Pod>) -> Result<()> {
    let mut times = Vec::new();
    for n in 0..ENDINGS {
        let name = format!("spinning-{n}");
        start(pods, &name, &["loop"], None).await?;
        let deleted = Instant::now();
        end(pods, &name, GRACE).await?;
        times.push((deleted.elapsed().as_secs_f64() - f64::from(GRACE)) * 1e3);
    }
    let (p50, worst) = (quantile(&mut times, 0.5), quantile(&mut times, 1.0));
    figure(
        "a spinning Pod is gone after its grace, ms (p50, longest)",
        format!("{p50:.1} ({worst:.1})"),
    );
    Ok(())
}

async fn start(pods: &Api<Pod>, name: &str, args: &[&str], limit: Option<&str>) -> Result<()> {
    let limits = limit.map(|cpu| json!({"cpu": cpu}));
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{
            "name": "main", "image": "toolbox:v1", "args": args, "resources": {"limits": limits},
        }]},
    }))?;
    pods.create(&Default::default(), &pod).await?;
    await_condition(pods.clone(), name, is_pod_running()).await.context("wait until it runs")?;
    Ok(())
}

async fn end(pods: &Api<Pod>, name: &str, grace: u32) -> Result<()> {
    let pod = pods.get(name).await?;
    let uid = pod.metadata.uid.context("a Pod has a uid")?;
    pods.delete(name, &DeleteParams::default().grace_period(grace)).await?;
    await_condition(pods.clone(), name, is_deleted(&uid)).await.context("wait until it is gone")?;
    Ok(())
}
