//! Pods: how fast one is ready, how fast hundreds are, what they take.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use podium_tests::{Cluster, file};
use serde_json::json;

use crate::{cluster, figure, process, quantile};

/// Pods started one after another.
const SINGLE: usize = 30;
/// Replicas of the Deployment, first some, then many.
const REPLICAS: [usize; 2] = [500, 2_000];
/// As long as all of them may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run() -> Result<()> {
    let cluster = cluster(&[&file("examples/hello/hello.wasm").display().to_string()]).await?;
    let client = cluster.client().await?;
    one_pod(&client).await?;
    for count in REPLICAS {
        replicas(&cluster, &client, count).await?;
    }
    Ok(())
}

async fn one_pod(client: &Client) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let mut times = Vec::new();
    for n in 0..SINGLE {
        let name = format!("single-{n}");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "hello:latest"}], "terminationGracePeriodSeconds": 0},
        }))?;
        let version = api.list(&ListParams::default().limit(1)).await?.metadata.resource_version;
        let only = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = api.watch(&only, &version.context("a version")?).await?.boxed();
        let start = Instant::now();
        api.create(&Default::default(), &pod).await?;
        loop {
            match events.next().await.context("the watch ended")?? {
                WatchEvent::Modified(pod) if is_ready(&pod) => break,
                WatchEvent::Error(error) => bail!("{error:?}"),
                _ => {}
            }
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
        api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    figure("one Pod, create to Ready, ms (p50, p99)", format!("{p50:.1} ({p99:.1})"));
    Ok(())
}

async fn replicas(cluster: &Cluster, client: &Client, count: usize) -> Result<()> {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let cpu = process::cpu(cluster.process_id())?;
    let start = Instant::now();
    scale(&api, count).await?;
    let up = wait(&api, count).await? - start;
    let cpu = (process::cpu(cluster.process_id())? - cpu).as_secs_f64();
    figure(
        &format!("{count} replicas to all Ready, s (Pods/s, CPU ms a Pod)"),
        format!(
            "{:.2} ({:.0}, {:.2})",
            up.as_secs_f64(),
            count as f64 / up.as_secs_f64(),
            cpu * 1e3 / count as f64
        ),
    );
    figure(
        &format!("memory with {count} Pods (PSS), MiB"),
        format!("{:.1}", process::pss_mib(cluster.process_id())?),
    );
    let (start, cpu) = (Instant::now(), process::cpu(cluster.process_id())?);
    scale(&api, 0).await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    while !pods.list(&ListParams::default().labels("app=hello").limit(1)).await?.items.is_empty() {
        anyhow::ensure!(start.elapsed() < PATIENCE, "Pods stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cpu = (process::cpu(cluster.process_id())? - cpu).as_secs_f64();
    figure(
        &format!("{count} replicas to all gone, s (CPU ms a Pod)"),
        format!("{:.2} ({:.2})", start.elapsed().as_secs_f64(), cpu * 1e3 / count as f64),
    );
    Ok(())
}

async fn scale(api: &Api<Deployment>, replicas: usize) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch("hello", &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn wait(api: &Api<Deployment>, replicas: usize) -> Result<Instant> {
    let start = Instant::now();
    loop {
        let status = api.get("hello").await?.status.unwrap_or_default();
        if status.ready_replicas == i32::try_from(replicas).ok() {
            return Ok(Instant::now());
        }
        anyhow::ensure!(start.elapsed() < PATIENCE, "only {:?} ready", status.ready_replicas);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
