//! What was acknowledged is there after the power failed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{cluster, create, get, push, rolled_out, web};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use serde_json::json;

/// Kills in this test; `PODIUM_KILLS` asks for more.
const KILLS: usize = 5;

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
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let api = Api::<ConfigMap>::default_namespaced(client.clone());
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
                    }
                    written
                })
            })
            .collect();
        // Another moment in each round.
        tokio::time::sleep(Duration::from_millis(150 + 37 * (round as u64 % 7))).await;
        cluster.kill().unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        cluster.restart().await.unwrap();

        let api = Api::<ConfigMap>::default_namespaced(cluster.client().await.unwrap());
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
    }
    assert!(acknowledged.len() > 50, "only {} writes: no load", acknowledged.len());
    rolled_out(&cluster.client().await.unwrap(), "hello").await;
    assert_eq!(get(&cluster, "hello.localhost", "/").await.unwrap().0, 200);
}
