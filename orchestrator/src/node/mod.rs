//! The node agent: the kubelet of Podium.
//!
//! An ordinary client of the Kubernetes API above the container runtime. It
//! registers its Node and keeps its Lease ([`registration`], [`heartbeat`]), runs
//! the Pods that are bound to it ([`pods`]), and answers questions about them
//! ([`server`]). What it decides it decides in pure functions: what a Pod needs
//! next, what its status is, what its environment and its volumes hold.
mod admission;
mod capacity;
mod credentials;
mod endpoints;
mod environment;
mod eviction;
mod extended;
mod heartbeat;
mod identity;
mod image_collection;
mod images;
mod pods;
mod probes;
mod references;
mod registration;
mod resources;
mod server;
mod shutdown;
mod stats;
mod status;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use parking_lot::Mutex;
use shim::cri::Runtime;
use tokio_util::sync::CancellationToken;

use crate::client::{EventRecorder, EventWriter, Index, Informer, Informers};
use crate::clock::{Clock, Entropy};

pub use capacity::{Capacity, node_name};
pub use eviction::EVICTION_MEMORY;
pub use probes::{Dialer, Probed};

/// What a node agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of its Node; [`node_name`] is the machine's.
    pub node_name: String,
    /// Where it keeps Pods and logs; nobody else's.
    pub data_dir: PathBuf,
    /// What the Node offers; [`Capacity::of_machine`] is all there is.
    pub capacity: Capacity,
    /// The address people and other nodes reach the machine by.
    pub host_ip: IpAddr,
    /// The port of the node's own API.
    pub api_port: u16,
    /// Labels of the Node beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// What the names of the cluster end in.
    pub cluster_domain: String,
    /// Folders of the machine that Pods may mount with what is below them.
    pub host_paths: Vec<PathBuf>,
    /// Bytes of memory below which the node evicts Pods; [`EVICTION_MEMORY`] is the kubelet's.
    pub eviction_memory: u64,
}

impl Config {
    /// What Pods may have: beyond that memory the node would begin to evict them.
    fn allocatable(&self) -> Capacity {
        let memory = self.capacity.memory.saturating_sub(self.eviction_memory);
        Capacity { memory, ..self.capacity }
    }
}

/// What all parts of the agent share.
struct Node {
    config: Config,
    identity: identity::Identity,
    /// When it was stopped in good order the last time.
    stopped_at: Option<Timestamp>,
    client: Client,
    runtime: Arc<dyn Runtime>,
    dialer: Arc<dyn Dialer>,
    clock: Arc<dyn Clock>,
    recorder: EventRecorder,
    images: images::Images,
    references: references::References,
    reservations: Mutex<admission::Reservations>,
    draining: endpoints::Draining,
    pressure: eviction::Pressure,
    pods: Informer<Pod>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
}

impl Node {
    /// Itself, as its events name it: the kubelet has the name for a uid, too.
    fn about(&self) -> ObjectReference {
        let name = Some(self.config.node_name.clone());
        ObjectReference { kind: Some("Node".into()), uid: name.clone(), name, ..Default::default() }
    }

    /// Services whose variables Pods of a namespace may see.
    fn services_of(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut services = self.services.by(&Index::NAMESPACE, namespace);
        if namespace != "default" {
            let kubernetes = crate::client::ObjectKey::new("default", "kubernetes");
            services.extend(self.services.get(&kubernetes));
        }
        services
    }

    /// Whether traffic is still sent to an address.
    fn is_routed(&self, namespace: &str, ip: IpAddr) -> bool {
        endpoints::is_routed(&self.slices, namespace, ip)
    }
}

/// The agent of one node.
pub struct NodeAgent {
    node: Arc<Node>,
    pods: Arc<pods::Pods>,
    writer: EventWriter,
}

impl NodeAgent {
    /// An agent that reads through `informers`, writes through `client`, runs Pods
    /// in `runtime` and probes them through `dialer`. Must be called within a
    /// tokio runtime.
    pub fn new(
        config: Config,
        client: Client,
        informers: &Informers,
        runtime: Arc<dyn Runtime>,
        dialer: Arc<dyn Dialer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let host = Some(config.node_name.as_str());
        let (recorder, writer) =
            EventRecorder::new(client.clone(), "kubelet", host, Arc::clone(&clock));
        let slices = informers.of::<EndpointSlice>();
        let reservations =
            admission::Reservations::new(config.allocatable().amount(), config.capacity.pods);
        let node = Node {
            images: images::Images::new(Arc::clone(&runtime)),
            references: references::References::new(client.clone(), informers),
            reservations: Mutex::new(reservations),
            draining: endpoints::Draining::new(&slices),
            pressure: eviction::Pressure::default(),
            pods: informers.of::<Pod>(),
            services: informers.of::<Service>(),
            slices,
            identity: identity::Identity::of_machine(&config.data_dir, &Entropy::from_os()),
            stopped_at: shutdown::last(&config.data_dir),
            config,
            client,
            runtime,
            dialer,
            clock,
            recorder,
        };
        Self { node: Arc::new(node), pods: Arc::default(), writer }
    }

    /// The node's own API, with the kubelet's paths. It does not ask who is
    /// calling: whoever serves it decides that.
    pub fn router(&self) -> Router {
        server::router(Arc::clone(&self.node), Arc::clone(&self.pods))
    }

    /// Runs until `stop`; containers are left to the runtime, Pods to the next start.
    pub async fn run(self, stop: CancellationToken) {
        let Self { node, pods, writer } = self;
        node.services.synced().await;
        let heart = stop.run_until_cancelled(heartbeat::run(Arc::clone(&node)));
        let collection = stop.run_until_cancelled(image_collection::run(Arc::clone(&node)));
        let evictions =
            stop.run_until_cancelled(eviction::run(Arc::clone(&node), Arc::clone(&pods)));
        let workers = pods.run(Arc::clone(&node), stop.clone());
        // All end at once: no event is recorded after the writer has gone.
        tokio::join!(heart, collection, evictions, workers, writer.run(stop.clone()));
        shutdown::note(&node.config.data_dir, node.clock.now()).await;
    }
}

impl fmt::Debug for NodeAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAgent").field("config", &self.node.config).finish_non_exhaustive()
    }
}
