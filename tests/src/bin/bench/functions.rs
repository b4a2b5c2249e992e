//! Functions through the gateway, with a fresh instance for each request and
//! with instances that serve one after another, beside a native hyper server in
//! the same run.
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use podium_tests::{Connection, eventually, file};
use serde_json::json;

use crate::{cluster, figure, process, quantile};

/// Connections that send requests one after another.
const CONNECTIONS: usize = 16;
/// How long each is measured.
const SPAN: Duration = Duration::from_secs(4);
/// Podium and hyper in turn, as often.
const ROUNDS: usize = 3;

pub async fn run() -> Result<()> {
    let hello = file("examples/hello/hello.wasm").display().to_string();
    let cluster = cluster(&[&hello]).await?;
    let mut hyper =
        Command::new(std::env::current_exe()?).arg("hyper").stdout(Stdio::piped()).spawn()?;
    let outcome = side_by_side(&cluster, &mut hyper).await;
    hyper.kill()?;
    hyper.wait()?;
    outcome
}

async fn side_by_side(
    cluster: &podium_tests::Cluster,
    hyper: &mut std::process::Child,
) -> Result<()> {
    let mut address = String::new();
    BufReader::new(hyper.stdout.take().context("it is piped")?).read_line(&mut address)?;
    let (gateway, hyper_id) = (cluster.addresses.gateway.clone(), hyper.id());
    for (name, reuse) in [("fresh instance each", "false"), ("instances reused", "true")] {
        set_reuse(&cluster.client().await?, reuse).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(load(&gateway, "hello.localhost", cluster.process_id()).await?);
            theirs.push(load(address.trim(), "hyper", hyper_id).await?);
        }
        let (ours, theirs) = (middle(ours), middle(theirs));
        print(&format!("function, {name}"), &ours);
        print("native hyper beside it", &theirs);
        let share = 100.0 * ours.per_second / theirs.per_second;
        figure("function beside hyper, % of requests/s", format!("{share:.0}"));
    }
    Ok(())
}

fn print(name: &str, load: &Load) {
    figure(
        &format!("{name}: requests/s (p50, p99 ms, CPU µs each)"),
        format!("{:.0} ({:.2}, {:.2}, {:.1})", load.per_second, load.p50, load.p99, load.cpu),
    );
}

/// Rolls out whether instances of the function serve one request after another.
async fn set_reuse(client: &kube::Client, reuse: &str) -> Result<()> {
    let api = Api::<Deployment>::default_namespaced(client.clone());
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {
        "podium.dev/reuse.hello": reuse,
    }}}}});
    api.patch("hello", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    eventually("the function is rolled out", async || {
        let deployment = api.get("hello").await.map_err(|error| error.to_string())?;
        let (generation, status) = (deployment.metadata.generation, deployment.status);
        let status = status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        let done = status.observed_generation == generation && counts == [Some(1); 3];
        if done { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    Ok(())
}

struct Load {
    per_second: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

fn middle(mut loads: Vec<Load>) -> Load {
    loads.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    loads.swap_remove(loads.len() / 2)
}

async fn load(address: &str, host: &str, process: u32) -> Result<Load> {
    let (start, cpu) = (Instant::now(), process::cpu(process)?);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(address, host).await?;
        clients.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while start.elapsed() < SPAN {
                let sent = Instant::now();
                let (status, _) = connection.get("/").await?;
                anyhow::ensure!(status == 200, "the answer is {status}");
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await??);
    }
    let count = times.len() as f64;
    let cpu = (process::cpu(process)? - cpu).as_secs_f64() * 1e6 / count;
    let per_second = count / start.elapsed().as_secs_f64();
    Ok(Load { per_second, p50: quantile(&mut times, 0.5), p99: quantile(&mut times, 0.99), cpu })
}
