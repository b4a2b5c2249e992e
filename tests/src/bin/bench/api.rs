//! The API server: writes, reads, lists and watches over TLS.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use podium_tests::Cluster;
use serde_json::json;

use crate::{cluster, figure, process, quantile};

/// Bytes of data in each object, so that it is about 1.6 KB.
const DATA: usize = 1_200;
/// Operations of each client, in one measurement.
const OPERATIONS: usize = 400;
/// Objects in the list that is measured.
const LIST: usize = 5_000;
/// Lists and watch events that are measured.
const SAMPLES: usize = 100;

pub async fn run() -> Result<()> {
    for clients in [1, 8, 32] {
        let cluster = cluster(&[]).await?;
        writes_and_reads(&cluster, clients).await?;
    }
    let cluster = cluster(&[]).await?;
    lists_and_watches(&cluster).await
}

async fn writes_and_reads(cluster: &Cluster, clients: usize) -> Result<()> {
    let apis = connections(cluster, clients).await?;
    let creates = measure(cluster, &apis, |api, client, n| async move {
        api.create(&Default::default(), &object(&named(client, n))).await.map(drop)
    })
    .await?;
    report("creates", clients, creates);
    let gets = measure(cluster, &apis, |api, client, n| async move {
        api.get(&named(client, n)).await.map(drop)
    })
    .await?;
    report("gets", clients, gets);
    Ok(())
}

fn named(client: usize, n: usize) -> String {
    format!("c{client}-{n}")
}

/// A client, and so a connection, for each.
async fn connections(cluster: &Cluster, clients: usize) -> Result<Vec<Api<ConfigMap>>> {
    let mut apis = Vec::new();
    for _ in 0..clients {
        apis.push(Api::default_namespaced(cluster.client().await?));
    }
    Ok(apis)
}

struct Measured {
    per_second: f64,
    milliseconds: Vec<f64>,
    cpu: f64,
}

async fn measure<F>(
    cluster: &Cluster,
    apis: &[Api<ConfigMap>],
    operation: impl Fn(Api<ConfigMap>, usize, usize) -> F + Copy + Send + 'static,
) -> Result<Measured>
where
    F: Future<Output = kube::Result<()>> + Send,
{
    let (start, cpu) = (Instant::now(), process::cpu(cluster.process_id())?);
    let clients: Vec<tokio::task::JoinHandle<kube::Result<Vec<f64>>>> = apis
        .iter()
        .cloned()
        .enumerate()
        .map(|(client, api)| {
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(OPERATIONS);
                for n in 0..OPERATIONS {
                    let start = Instant::now();
                    operation(api.clone(), client, n).await?;
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
                Ok(times)
            })
        })
        .collect();
    let mut milliseconds = Vec::new();
    for client in clients {
        milliseconds.extend(client.await??);
    }
    let operations = milliseconds.len() as f64;
    let cpu = process::cpu(cluster.process_id())? - cpu;
    Ok(Measured {
        per_second: operations / start.elapsed().as_secs_f64(),
        milliseconds,
        cpu: cpu.as_secs_f64() * 1e3 / operations,
    })
}

fn report(what: &str, clients: usize, mut measured: Measured) {
    let (p50, p99) =
        (quantile(&mut measured.milliseconds, 0.5), quantile(&mut measured.milliseconds, 0.99));
    figure(
        &format!("{what}/s, {clients} clients (p50, p99, server CPU each in ms)"),
        format!("{:.0} ({p50:.2}, {p99:.2}, {:.3})", measured.per_second, measured.cpu),
    );
}

async fn lists_and_watches(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    futures::stream::iter(0..LIST)
        .map(|n| {
            let api = api.clone();
            async move { api.create(&Default::default(), &object(&format!("list-{n}"))).await }
        })
        .buffer_unordered(32)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let mut times = Vec::new();
    let cpu = process::cpu(cluster.process_id())?;
    for _ in 0..SAMPLES / 10 {
        times.push(raw_list(&client).await?.as_secs_f64() * 1e3);
    }
    let cpu = (process::cpu(cluster.process_id())? - cpu).as_secs_f64() * 1e3 / times.len() as f64;
    let p50 = quantile(&mut times, 0.5);
    figure(&format!("LIST of {LIST}, p50 ms (server CPU ms)"), format!("{p50:.1} ({cpu:.1})"));

    let version = api.list(&ListParams::default().limit(1)).await?.metadata.resource_version;
    let version = version.context("a list has a resourceVersion")?;
    let mut events = api.watch(&WatchParams::default(), &version).await?.boxed();
    let mut times = Vec::new();
    for n in 0..SAMPLES {
        let name = format!("watch-{n}");
        let start = Instant::now();
        let (map, parameters) = (object(&name), Default::default());
        let (created, ()) = tokio::join!(api.create(&parameters, &map), async {
            while let Some(Ok(event)) = events.next().await {
                if matches!(&event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some(&name))
                {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                    return;
                }
            }
        });
        created?;
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    figure("create to watch event, ms (p50, p99)", format!("{p50:.2} ({p99:.2})"));
    Ok(())
}

/// A list as bytes: decoding it would measure the client.
async fn raw_list(client: &Client) -> Result<Duration> {
    let start = Instant::now();
    let request = hyper::Request::get("/api/v1/namespaces/default/configmaps").body(Vec::new())?;
    let text = client.request_text(request).await?;
    anyhow::ensure!(text.len() > LIST * DATA, "the list is too short");
    Ok(start.elapsed())
}

fn object(name: &str) -> ConfigMap {
    let map = json!({"metadata": {"name": name, "labels": {"app": "bench"}}, "data": {"text": "x".repeat(DATA)}});
    serde_json::from_value(map).expect("it is a ConfigMap")
}
