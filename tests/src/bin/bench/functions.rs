//! Functions through the gateway, a fresh instance for each request, beside a
//! native hyper server in the same run; and what a CPU limit holds.
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use podium_tests::{Connection, file};

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
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load(&gateway, "hello.localhost", cluster.process_id()).await?);
        theirs.push(load(address.trim(), "hyper", hyper_id).await?);
    }
    let ours = middle(ours);
    let theirs = middle(theirs);
    for (name, load) in [("function, fresh instance each", &ours), ("native hyper", &theirs)] {
        figure(
            &format!("{name}: requests/s (p50, p99 ms, CPU µs each)"),
            format!("{:.0} ({:.2}, {:.2}, {:.1})", load.per_second, load.p50, load.p99, load.cpu),
        );
    }
    figure(
        "function beside hyper, % of requests/s",
        format!("{:.0}", 100.0 * ours.per_second / theirs.per_second),
    );
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
