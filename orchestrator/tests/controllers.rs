//! The control loops against the real API server in process, over the store in memory.
//!
//! No node runs: the tests say what a node would say of its Pods.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod support;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectList;
use kube::{Api, Client, Resource};
use podium::client::{Informers, is_namespace_terminating};
use podium::clock::{Clock, SystemClock};
use podium::controllers;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use support::gone_or_done;

const WAIT: Duration = Duration::from_secs(120);

struct Cluster {
    client: Client,
    informers: Informers,
    stop: CancellationToken,
    controllers: JoinHandle<()>,
    _pki: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (server, pki) = support::server(&clock).await;
        let manager = support::component(&server, "system:kube-controller-manager");
        let informers = Informers::new(manager.clone());
        let stop = CancellationToken::new();
        let config = support::controllers(&clock);
        let running = controllers::run(manager, informers.clone(), config, stop.clone());
        Self {
            client: support::admin(&server),
            informers,
            stop,
            controllers: tokio::spawn(running),
            _pki: pki,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        soon("controllers end", self.controllers).await.unwrap();
        soon("informers end", self.informers.shutdown()).await;
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn list<K>(&self) -> ObjectList<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.api::<K>().list(&ListParams::default()).await.unwrap()
    }

    async fn create(&self, deployment: Value) {
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        self.api().create(&PostParams::default(), &deployment).await.unwrap();
    }

    async fn patch(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api::<Deployment>().patch("web", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Does a node's work once: Pods become ready, those on their way out end.
    async fn work(&self) {
        let api = self.api::<Pod>();
        for (number, pod) in self.list::<Pod>().await.items.into_iter().enumerate() {
            let name = pod.metadata.name.as_deref().unwrap();
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
                gone_or_done(api.delete(name, &now).await);
            } else if !is_ready(&pod) {
                let status = Patch::Merge(json!({"status": {
                    "phase": "Running", "podIP": format!("10.64.0.{}", number + 1),
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                }}));
                gone_or_done(api.patch_status(name, &PatchParams::default(), &status).await);
            }
        }
    }

    /// Works as a node until the Deployment `web` runs `image` in so many Pods and says so.
    async fn rolled_out(&self, image: &str, replicas: usize) {
        eventually("rolled out", async || {
            self.work().await;
            let deployment = self.api::<Deployment>().get("web").await.unwrap();
            let pods = self.list::<Pod>().await.items;
            let images: Vec<_> = pods.iter().map(image_of).collect();
            let conditions = deployment.status.iter().flat_map(|s| s.conditions.iter().flatten());
            let done = conditions
                .clone()
                .any(|condition| condition.reason.as_deref() == Some("NewReplicaSetAvailable"));
            let observed = deployment.status.as_ref().and_then(|s| s.observed_generation);
            if done
                && observed == deployment.metadata.generation
                && images.len() == replicas
                && images.iter().all(|i| i == image)
            {
                Ok(())
            } else {
                Err(format!("{images:?} {:?}", deployment.status))
            }
        })
        .await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn image_of(pod: &Pod) -> String {
    pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

fn web(replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
        },
    })
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{
            "name": "web", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
        }]},
    })
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Waits until `check` is content; panics with what it saw last.
async fn eventually<T, E: Debug>(what: &str, check: impl AsyncFn() -> Result<T, E>) -> T {
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(seen) if tokio::time::Instant::now() > end => panic!("{what}: saw {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn a_deployment_is_rolled_out_updated_undone_and_scaled() {
    let cluster = Cluster::start().await;
    cluster.create(web(3, "web:1")).await;
    cluster.rolled_out("web:1", 3).await;
    cluster.patch(json!({"spec": {"template": template("web:2")}})).await;
    cluster.rolled_out("web:2", 3).await;
    cluster.patch(json!({"spec": {"template": template("web:1")}})).await;
    cluster.rolled_out("web:1", 3).await;
    cluster.patch(json!({"spec": {"replicas": 5}})).await;
    cluster.rolled_out("web:1", 5).await;
    cluster.patch(json!({"spec": {"replicas": 1}})).await;
    cluster.rolled_out("web:1", 1).await;

    let mut revisions: Vec<_> = cluster
        .list::<ReplicaSet>()
        .await
        .iter()
        .map(|set| {
            let annotations = set.metadata.annotations.as_ref().unwrap();
            annotations["deployment.kubernetes.io/revision"].clone()
        })
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["2", "3"]);
    let deployment = cluster.api::<Deployment>().get("web").await.unwrap();
    assert_eq!(deployment.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "3");
    eventually("events", async || {
        let events = cluster.list::<Event>().await;
        let reasons: Vec<_> = events.iter().filter_map(|e| e.reason.clone()).collect();
        let all = ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"];
        if all.iter().all(|r| reasons.iter().any(|told| told == r)) { Ok(()) } else { Err(reasons) }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn as_many_pods_are_made_as_are_asked_for_and_no_more() {
    let cluster = Cluster::start().await;
    cluster.create(web(700, "web:1")).await;
    eventually("700 Pods in the status", async || {
        let deployment = cluster.api::<Deployment>().get("web").await.unwrap();
        let replicas = deployment.status.and_then(|status| status.replicas);
        if replicas == Some(700) { Ok(()) } else { Err(replicas) }
    })
    .await;
    let pods = cluster.list::<Pod>().await.items;
    assert_eq!(pods.len(), 700, "an informer that is behind must not lead to more Pods");
    cluster.stop().await;
}

#[tokio::test]
async fn deleting_a_deployment_deletes_what_it_owns_in_every_way() {
    for (params, pods_left) in [
        (DeleteParams::background(), 0),
        (DeleteParams::foreground(), 0),
        (DeleteParams::orphan(), 2),
    ] {
        let cluster = Cluster::start().await;
        cluster.create(web(2, "web:1")).await;
        cluster.rolled_out("web:1", 2).await;
        cluster.api::<Deployment>().delete("web", &params).await.unwrap();
        eventually(&format!("{:?}", params.propagation_policy), async || {
            cluster.work().await;
            let deployments = cluster.list::<Deployment>().await.items.len();
            let sets = cluster.list::<ReplicaSet>().await.items;
            let owned = sets.iter().filter(|s| s.metadata.owner_references.is_some()).count();
            let pods = cluster.list::<Pod>().await.items.len();
            let seen = (deployments, owned, pods);
            if seen == (0, 0, pods_left) { Ok(()) } else { Err(seen) }
        })
        .await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn the_pods_of_a_service_are_its_endpoints() {
    let cluster = Cluster::start().await;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }))
    .unwrap();
    cluster.api().create(&PostParams::default(), &service).await.unwrap();
    cluster.create(web(2, "web:1")).await;
    cluster.rolled_out("web:1", 2).await;
    let endpoints = async || {
        let selected = ListParams::default().labels("kubernetes.io/service-name=web");
        let slices = cluster.api::<EndpointSlice>().list(&selected).await.unwrap();
        let endpoints: Vec<_> =
            slices.iter().flat_map(|slice| slice.endpoints.clone().unwrap_or_default()).collect();
        let ports: Vec<_> =
            slices.iter().flat_map(|s| s.ports.clone().unwrap_or_default()).collect();
        let ready = endpoints.iter().filter(|e| {
            e.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
        });
        (ready.count(), ports.first().and_then(|port| port.port))
    };
    let lead_to = async |wanted: (usize, Option<i32>)| {
        eventually("endpoints", async || {
            let seen = endpoints().await;
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    lead_to((2, Some(8080))).await;
    cluster.patch(json!({"spec": {"replicas": 0}})).await;
    lead_to((0, None)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_gets_what_pods_expect_and_ends_with_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), "shop");
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), "shop");
    eventually("account and certificate", async || {
        let map = maps.get_opt("kube-root-ca.crt").await.unwrap();
        let account = accounts.get_opt("default").await.unwrap();
        if map.is_some() && account.is_some() { Ok(()) } else { Err((map, account)) }
    })
    .await;
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), "shop");
    let pod = json!({
        "metadata": {"name": "one"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(held).unwrap()).await.unwrap();
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    let late = serde_json::from_value(json!({"metadata": {"name": "late"}})).unwrap();
    let refused = maps.create(&PostParams::default(), &late).await.unwrap_err();
    assert!(is_namespace_terminating(&refused), "{refused}");
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release).await.unwrap();
    eventually("the namespace is gone", async || match namespaces.get_opt("shop").await.unwrap() {
        None => Ok(()),
        Some(namespace) => Err(namespace.status),
    })
    .await;
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_token_secret_is_filled_and_goes_with_its_account() {
    let cluster = Cluster::start().await;
    let accounts = Api::<ServiceAccount>::default_namespaced(cluster.client.clone());
    let secrets = Api::<Secret>::default_namespaced(cluster.client.clone());
    let account = serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let token = |account: &str| {
        let secret = json!({
            "type": "kubernetes.io/service-account-token",
            "metadata": {
                "name": account, "annotations": {"kubernetes.io/service-account.name": account},
            },
        });
        serde_json::from_value(secret).unwrap()
    };
    secrets.create(&PostParams::default(), &token("robot")).await.unwrap();
    secrets.create(&PostParams::default(), &token("nobody")).await.unwrap();
    let filled = eventually("the secret is filled", async || {
        let secret = secrets.get("robot").await.unwrap();
        let data = secret.data.clone().unwrap_or_default();
        if data.contains_key("token") { Ok(data) } else { Err(secret) }
    })
    .await;
    assert_eq!(filled["namespace"].0, b"default");
    let token = String::from_utf8(filled["token"].0.clone()).unwrap();
    assert_eq!(token.split('.').count(), 3, "{token}");

    accounts.delete("robot", &DeleteParams::default()).await.unwrap();
    eventually("secrets without account are gone", async || {
        let left = secrets.list(&ListParams::default()).await.unwrap().items;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    cluster.stop().await;
}
