//! Thousands of simulated nodes: objects and Leases in the API, and a fake
//! kubelet that says that bound Pods run. All in this one process, over a store
//! on the disk: the figures have the fake kubelets in them.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use podium::auth::ComponentAuthorizer;
use podium::auth::pki::{Pki, SubjectNames};
use podium::client::{Informer, Informers, ObjectKey, User, in_process};
use podium::clock::{Clock, Entropy, SystemClock};
use podium::server::{Bootstrap, Parts, Server};
use podium::storage::Storage;
use podium::{apis, controllers, scheduler, server, store};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{figure, process};

/// Simulated nodes.
const NODES: usize = 5_000;
/// Replicas of the Deployment.
const REPLICAS: usize = 10_000;
/// How often a Lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// Requests of the fake kubelets at the same time.
const SIDE_BY_SIDE: usize = 64;
/// As long as any step may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the benchmark looks.
const LOOK: Duration = Duration::from_millis(50);

pub async fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pki = Pki::open(&dir.path().join("pki"), &SubjectNames::default(), clock.now())?;
    let parts = Parts {
        storage: Storage::new(Arc::new(store::redb::open(
            &dir.path().join("store.redb"),
            clock.clone(),
        )?)),
        table: apis::builtin(),
        authorizer: Arc::new(ComponentAuthorizer),
        tokens: pki.tokens().clone(),
        clock: clock.clone(),
        entropy: Entropy::from_os(),
    };
    let server = Server::new(server::Config::default(), parts);
    server.bootstrap(&Bootstrap::default()).await?;
    let component = |name| in_process(server.router(), User::component(name));
    let manager = component("system:kube-controller-manager");
    let informers = Informers::new(manager.clone());
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let config = controllers::Config {
        clock: clock.clone(),
        entropy: Entropy::from_os(),
        root_ca: "PEM".into(),
        autoscaling: Default::default(),
    };
    tasks.spawn(controllers::run(manager, informers.clone(), config, stop.clone()));
    tasks.spawn(scheduler::run(
        component("system:kube-scheduler"),
        informers.clone(),
        clock,
        scheduler::Config::default(),
        stop.clone(),
    ));
    let nodes = in_process(server.router(), User::node("simulated"));
    let outcome = measure(&nodes, &informers, &mut tasks, &stop).await;
    stop.cancel();
    tasks.join_all().await;
    informers.shutdown().await;
    outcome
}

async fn measure(
    client: &Client,
    informers: &Informers,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<()> {
    let start = Instant::now();
    stream::iter(0..NODES)
        .map(|n| join(client.clone(), format!("node-{n}")))
        .buffer_unordered(SIDE_BY_SIDE)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    figure(
        &format!("{NODES} nodes to registered, s"),
        format!("{:.1}", start.elapsed().as_secs_f64()),
    );
    let pods = informers.of::<Pod>();
    tasks.spawn(kubelet(client.clone(), pods.clone(), stop.clone()));
    tasks.spawn(renew(client.clone(), stop.clone()));
    let (own, idle) = (std::process::id(), Duration::from_secs(10));
    let cpu = process::cpu(own)?;
    tokio::time::sleep(idle).await;
    let cpu = (process::cpu(own)? - cpu).as_secs_f64() / idle.as_secs_f64();
    figure("idle, Leases renewed: % of one CPU", format!("{:.0}", cpu * 100.0));
    figure("memory of the process (PSS), MiB", format!("{:.0}", process::pss_mib(own)?));

    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let (start, cpu) = (Instant::now(), process::cpu(own)?);
    deployments.create(&PostParams::default(), &deployment()?).await?;
    wait("running Pods", &pods, |pods| pods.iter().filter(|p| is_running(p)).count() == REPLICAS)
        .await?;
    let (time, cpu) = (start.elapsed().as_secs_f64(), (process::cpu(own)? - cpu).as_secs_f64());
    figure(
        &format!("{REPLICAS} replicas to all Running, s (Pods/s, CPU ms a Pod)"),
        format!("{time:.1} ({:.0}, {:.2})", REPLICAS as f64 / time, cpu * 1e3 / REPLICAS as f64),
    );
    figure(
        &format!("memory with {REPLICAS} Pods (PSS), MiB"),
        format!("{:.0}", process::pss_mib(own)?),
    );
    let (start, cpu) = (Instant::now(), process::cpu(own)?);
    deployments.delete("web", &DeleteParams::background()).await?;
    wait("gone Pods", &pods, <[Arc<Pod>]>::is_empty).await?;
    let (time, cpu) = (start.elapsed().as_secs_f64(), (process::cpu(own)? - cpu).as_secs_f64());
    figure(
        &format!("{REPLICAS} replicas to all gone, s (CPU ms a Pod)"),
        format!("{time:.1} ({:.2})", cpu * 1e3 / REPLICAS as f64),
    );
    Ok(())
}

/// Makes one node, ready and with its Lease.
async fn join(client: Client, name: String) -> Result<()> {
    let labels = json!({"kubernetes.io/hostname": name});
    let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    let api: Api<Node> = Api::all(client.clone());
    api.create(&PostParams::default(), &node).await?;
    let amounts = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    let patch = json!({"status": {
        "allocatable": amounts, "capacity": amounts,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let lease = serde_json::from_value(json!({
        "metadata": {"name": name}, "spec": lease(&name),
    }))?;
    leases(client).create(&PostParams::default(), &lease).await?;
    Ok(())
}

fn leases(client: Client) -> Api<Lease> {
    Api::namespaced(client, "kube-node-lease")
}

fn lease(name: &str) -> serde_json::Value {
    let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now})
}

/// Renews all Leases, spread over the period.
async fn renew(client: Client, stop: CancellationToken) {
    let api = leases(client);
    let mut ticks = tokio::time::interval(RENEWAL / NODES as u32 * SIDE_BY_SIDE as u32);
    for batch in 0.. {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            return;
        }
        let names =
            (0..SIDE_BY_SIDE).map(|n| format!("node-{}", (batch * SIDE_BY_SIDE + n) % NODES));
        let renewed = names.map(|name| {
            let api = api.clone();
            async move {
                let patch = Patch::Merge(json!({"spec": lease(&name)}));
                api.patch_metadata(&name, &PatchParams::default(), &patch).await.is_ok()
            }
        });
        futures::future::join_all(renewed).await;
    }
}

/// Says that bound Pods run and ends those that were deleted.
async fn kubelet(client: Client, pods: Informer<Pod>, stop: CancellationToken) {
    let mut changes = pods.subscribe();
    let (mut writes, mut waiting) = (JoinSet::new(), VecDeque::<Arc<ObjectKey>>::new());
    loop {
        while writes.len() < SIDE_BY_SIDE {
            let Some(key) = waiting.pop_front() else { break };
            if let Some(pod) = pods.get(&key) {
                writes.spawn(sync(client.clone(), key, pod));
            }
        }
        tokio::select! {
            key = changes.next() => waiting.push_back(key),
            Some(_) = writes.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
}

async fn sync(client: Client, key: Arc<ObjectKey>, pod: Arc<Pod>) {
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        return;
    }
    // What is lost here is seen by the count that the benchmark waits for.
    let done = if pod.metadata.deletion_timestamp.is_some() {
        api.delete(&key.name, &DeleteParams::default().grace_period(0)).await.map(drop)
    } else if !is_running(&pod) {
        let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let patch = json!({"status": {
            "phase": "Running", "podIP": "10.64.0.1", "startTime": now,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            "containerStatuses": [{
                "name": "c", "image": "web:1", "imageID": "web:1", "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": now}},
            }],
        }});
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .map(drop)
    } else {
        Ok(())
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a write of a simulated node failed");
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn deployment() -> Result<Deployment> {
    let labels = json!({"app": "web"});
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "web:1", "resources": resources}]},
            },
        },
    });
    serde_json::from_value(deployment).context("it is a Deployment")
}

async fn wait(what: &str, pods: &Informer<Pod>, done: impl Fn(&[Arc<Pod>]) -> bool) -> Result<()> {
    let start = Instant::now();
    while !done(&pods.list()) {
        ensure!(start.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
