//! A cluster in process whose time moves only when a test says so.
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use podium::client::Informers;
use podium::clock::Clock;
use podium::{controllers, scheduler};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{self, gone_or_done};

/// As long as anything may take, in the cluster's own time.
const WAIT: Duration = Duration::from_secs(900);
/// One step of its time.
const STEP: Duration = Duration::from_secs(1);
/// What the store's thread gets of real time where nothing can be told yet of what is in flight.
const PAUSE: Duration = Duration::from_millis(3);
/// As often in a row nobody else may have written before all is taken to be quiet.
const QUIET: usize = 3;
/// As many looks for quiet are taken, or something writes without end.
const LOOKS: usize = 10_000;

/// A clock that goes with tokio's paused time.
struct TokioClock {
    base: Timestamp,
    start: Instant,
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let gone = Instant::now().saturating_duration_since(self.start);
        self.base + SignedDuration::try_from(gone).unwrap()
    }
}

pub struct Cluster {
    pub client: Client,
    clock: Arc<dyn Clock>,
    informers: Informers,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _pki: tempfile::TempDir,
    /// Keeps a blocking task alive: while there is one, time does not move by itself.
    _hold: Sender<()>,
}

impl Cluster {
    pub async fn start() -> Self {
        tokio::time::pause();
        let (hold, held) = channel::<()>();
        tokio::task::spawn_blocking(move || held.recv().is_ok());
        let base = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock { base, start: Instant::now() });
        let (server, pki) = support::server(&clock).await;
        let manager = support::component(&server, "system:kube-controller-manager");
        let informers = Informers::new(manager.clone());
        let stop = CancellationToken::new();
        let config = support::controllers(&clock);
        let loops = controllers::run(manager, informers.clone(), config, stop.clone());
        let scheduling = scheduler::run(
            support::component(&server, "system:kube-scheduler"),
            informers.clone(),
            Arc::clone(&clock),
            scheduler::Config::default(),
            stop.clone(),
        );
        let client = support::admin(&server);
        // A Pod that comes before the account would wait for it, in time that does not pass.
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
        let running = tokio::spawn(async move {
            tokio::join!(loops, scheduling);
        });
        while accounts.get_opt("default").await.unwrap().is_none() {
            pause().await;
        }
        Self { client, clock, informers, stop, running, _pki: pki, _hold: hold }
    }

    /// The cluster's own time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        let (running, informers) = (self.running, self.informers);
        let ending = tokio::spawn(async move {
            running.await.unwrap();
            informers.shutdown().await;
        });
        while !ending.is_finished() {
            pause().await;
        }
        ending.await.unwrap();
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub async fn create<K>(&self, object: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    pub async fn node(&self, name: &str) -> Node {
        self.nodes().get(name).await.unwrap()
    }

    /// Makes a node with so many CPUs and this label `zone`.
    pub async fn join(&self, name: &str, cpu: &str, zone: &str) {
        let node = json!({"metadata": {"name": name, "labels": {"zone": zone}}});
        let node: Node = serde_json::from_value(node).unwrap();
        self.nodes().create(&PostParams::default(), &node).await.unwrap();
        let status = json!({"status": {
            "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"},
            "capacity": {"cpu": cpu, "memory": "4Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }});
        let patch = Patch::Strategic(status);
        self.nodes().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Says what these nodes would: that they live, that their Pods run or have ended.
    pub async fn beat(&self, alive: &[&str]) {
        let leases = Api::<Lease>::namespaced(self.client.clone(), "kube-node-lease");
        for name in alive {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name},
                "spec": {"holderIdentity": name, "renewTime": renewal()},
            });
            let lease: Lease = serde_json::from_value(lease).unwrap();
            let patch = Patch::Merge(&lease);
            if leases.patch(name, &PatchParams::default(), &patch).await.is_err() {
                leases.create(&PostParams::default(), &lease).await.unwrap();
            }
        }
        let api = self.api::<Pod>();
        for pod in self.pods().await {
            let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if !on.is_some_and(|node| alive.contains(&node)) {
                continue;
            }
            let name = pod.metadata.name.as_deref().unwrap();
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
                gone_or_done(api.delete(name, &now).await);
            } else if phase(&pod) == "Pending" {
                let status = Patch::Strategic(json!({"status": {
                    "phase": "Running", "podIP": "10.64.0.1",
                    "conditions": [{"type": "Ready", "status": "True"}],
                }}));
                gone_or_done(api.patch_status(name, &PatchParams::default(), &status).await);
            }
        }
    }

    /// Lets time pass, in which these nodes live, until `check` is content.
    pub async fn until<T, E: Debug>(
        &self,
        what: &str,
        alive: &[&str],
        check: impl AsyncFn() -> Result<T, E>,
    ) -> T {
        let start = Instant::now();
        loop {
            match check().await {
                Ok(value) => return value,
                Err(seen) if start.elapsed() > WAIT => panic!("{what}: saw {seen:?}"),
                Err(_) => self.pass(STEP, alive).await,
            }
        }
    }

    /// Lets so much time pass, in which these nodes live.
    pub async fn pass(&self, time: Duration, alive: &[&str]) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.beat(alive).await;
            self.settle().await;
            tokio::time::advance(STEP.min(end - Instant::now())).await;
            self.settle().await;
        }
    }

    /// Lets time pass until then, in which these nodes live.
    pub async fn pass_until(&self, then: Timestamp, alive: &[&str]) {
        let left = Duration::try_from(then.duration_since(self.now())).unwrap_or_default();
        self.pass(left, alive).await;
    }

    /// Waits until nothing is in flight.
    ///
    /// All writes go one after another through the store's thread, all else runs
    /// in the test's own: if nobody has written between two marks, nobody is about to.
    async fn settle(&self) {
        let (mut last, mut quiet) = (self.mark().await, 0);
        for _ in 0..LOOKS {
            give_way().await;
            let mark = self.mark().await;
            quiet = if mark == last + 1 { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return;
            }
            last = mark;
        }
        panic!("something writes without end");
    }

    /// Writes something that matters to nobody; its revision.
    async fn mark(&self) -> u64 {
        let mark: Lease = serde_json::from_value(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "mark"}, "spec": {"renewTime": renewal()},
        }))
        .unwrap();
        let params = PatchParams::apply("mark").force();
        let written = self.api::<Lease>().patch("mark", &params, &Patch::Apply(&mark)).await;
        written.unwrap().metadata.resource_version.unwrap().parse().unwrap()
    }

    /// Waits until some event has this reason; its message.
    pub async fn event(&self, reason: &str, alive: &[&str]) -> String {
        self.until(reason, alive, async || {
            let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
            let told = events.iter().find(|e| e.reason.as_deref() == Some(reason));
            let seen: Vec<_> = events.iter().filter_map(|e| e.reason.clone()).collect();
            told.and_then(|event| event.message.clone()).ok_or(seen)
        })
        .await
    }
}

/// Some time of the computer's own, for the store's thread.
async fn pause() {
    give_way().await;
    let waited = tokio::task::spawn_blocking(|| {
        let (_keep, nothing) = channel::<()>();
        nothing.recv_timeout(PAUSE).is_err()
    });
    assert!(waited.await.unwrap());
}

/// Lets all that can run do so.
async fn give_way() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// A time that is another one with each call.
fn renewal() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("2026-01-01T00:00:00.{:06}Z", count % 1_000_000)
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// A condition's status and reason.
pub fn condition(pod: &Pod, type_: &str) -> Option<(String, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone().unwrap_or_default()))
}

/// A Pod that asks for CPU.
pub fn pod(name: &str, cpu: &str, more: Value) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    let mut spec = json!({"containers": [{"name": "c", "image": "a:1", "resources": resources}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}}, "spec": spec,
    })
}

/// The Deployment `web`.
pub fn web(replicas: i32) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "a:1"}]},
            },
        },
    })
}

impl Cluster {
    /// Makes the Deployment `web` and waits until its Pods are ready.
    pub async fn deploy(&self, replicas: i32, alive: &[&str]) {
        self.create::<Deployment>(web(replicas)).await;
        self.ready(replicas, alive).await;
    }

    /// Waits until so many Pods of `web` are ready on these nodes.
    pub async fn ready(&self, replicas: i32, alive: &[&str]) {
        self.until("ready Pods", alive, async || {
            let pods = self.pods().await;
            let ready = pods.iter().filter(|pod| {
                pod.metadata.deletion_timestamp.is_none()
                    && condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
                    && node_of(pod).is_some_and(|node| alive.contains(&node.as_str()))
            });
            let ready = i32::try_from(ready.count()).unwrap();
            if ready == replicas { Ok(()) } else { Err(ready) }
        })
        .await;
    }
}
