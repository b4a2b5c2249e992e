//! What was acknowledged is there after the power failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{cluster, create, pods, push, rolled_out, served, web};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{Api, Client};
use podium_tests::eventually;
use serde_json::json;

/// Kills in this test; `PODIUM_KILLS` asks for more.
const KILLS: usize = 5;

/// Writes in each round, at least.
const WRITES: usize = 16;

/// Waits until both Pods run again after so many kills. A status of before the last one says
/// that they are ready too, but not that they were started so often.
async fn run_again(client: &Client, kills: usize) {
    eventually(&format!("both Pods run again after kill {kills}"), async || {
        let pods = pods(client, "hello").await;
        let containers =
            pods.iter().flat_map(|pod| pod.status.iter().flat_map(|s| &s.container_statuses));
        let seen: Vec<_> = containers.flatten().map(|c| (c.ready, c.restart_count)).collect();
        let again = |&(ready, restarts): &(bool, i32)| ready && restarts as usize >= kills;
        if seen.len() == 2 && seen.iter().all(again) { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9_and_pods_run_again() {
    let kills = std::env::var("PODIUM_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut cluster = cluster(&[]).await;
    push(&cluster, "examples/hello/hello.wasm", "hello:v1").await;
    let client = cluster.client().await.unwrap();
    let (deployment, service) = web("hello", "hello:v1", 2);
    create::<Deployment>(&client, &deployment).await;
    create::<Service>(&client, &service).await;
    rolled_out(&client, "hello").await;

    let mut acknowledged = BTreeSet::new();
    for round in 0..kills {
        let client = cluster.client().await.unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let api = Api::<ConfigMap>::default_namespaced(client.clone());
                let count = count.clone();
                tokio::spawn(async move {
                    let mut written = Vec::new();
                    for n in 0.. {
                        let name = format!("r{round}-w{writer}-{n}");
                        let map = json!({"metadata": {"name": name}, "data": {"name": name}});
                        let map: ConfigMap = serde_json::from_value(map).unwrap();
                        if api.create(&Default::default(), &map).await.is_err() {
                            break;
                        }
                        written.push(name);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    written
                })
            })
            .collect();
        eventually("there is load", async || {
            let written = count.load(Ordering::Relaxed);
            if written >= WRITES { Ok(()) } else { Err(written) }
        })
        .await;
        // Another moment in each round.
        tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 7))).await;
        cluster.kill().unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        cluster.restart().await.unwrap();

        let client = cluster.client().await.unwrap();
        let api = Api::<ConfigMap>::default_namespaced(client.clone());
        let found = api.list(&Default::default()).await.unwrap().items;
        let whole: BTreeSet<String> = found
            .into_iter()
            .filter(|map| map.metadata.name.as_deref() != Some("kube-root-ca.crt"))
            .map(|map| {
                let name = map.metadata.name.unwrap();
                assert_eq!(map.data.unwrap()["name"], name, "half written");
                name
            })
            .collect();
        let lost: Vec<_> = acknowledged.difference(&whole).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?} of {}", acknowledged.len());
        run_again(&client, round + 1).await;
    }
    rolled_out(&cluster.client().await.unwrap(), "hello").await;
    served(&cluster, "hello.localhost", "/").await;
}
