//! Control loops: each drives one kind toward what its `spec` asks for.
//!
//! All of them run on one [`runtime`]: a loop is a function of a key, and the
//! runtime decides when it is called. Each acts as an ordinary client.

mod cronjob;
mod deployment;
mod disrupt;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod garbage;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod node_lifecycle;
mod owner;
mod pod_gc;
mod pods;
mod replicaset;
mod root_ca;
pub mod runtime;
mod service_account;
mod service_account_token;
mod taint_eviction;
mod ttl_after_finished;

use std::fmt::Debug;
use std::sync::Arc;

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::client::{EventRecorder, Informers};
use crate::clock::{Clock, Entropy};

use runtime::{Controller, Queue, drive};

pub use horizontal_pod_autoscaler::Settings as AutoscalingSettings;

/// What the control loops are told when they start.
#[derive(Clone)]
pub struct Config {
    /// Tells the time of conditions, events and deadlines.
    pub clock: Arc<dyn Clock>,
    /// Jitter of retries and names of objects.
    pub entropy: Entropy,
    /// The cluster's certificate authority in PEM, for `kube-root-ca.crt`.
    pub root_ca: String,
    /// How the autoscaler looks at things.
    pub autoscaling: AutoscalingSettings,
}

impl Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// What every loop is made of.
#[derive(Clone)]
struct Context {
    client: Client,
    informers: Informers,
    config: Config,
    stop: CancellationToken,
}

impl Context {
    /// A recorder for one loop, whose writer runs among `tasks`.
    fn recorder(&self, component: &str, tasks: &mut JoinSet<()>) -> EventRecorder {
        let clock = Arc::clone(&self.config.clock);
        let (recorder, writer) = EventRecorder::new(self.client.clone(), component, None, clock);
        tasks.spawn(writer.run(self.stop.clone()));
        recorder
    }

    /// Runs a loop among `tasks`, once the informers that it reads are `synced`.
    fn spawn<C: Controller, T>(
        &self,
        tasks: &mut JoinSet<()>,
        synced: impl Future<Output = T> + Send + 'static,
        controller: C,
        queue: Arc<Queue>,
    ) {
        let (entropy, stop) = (self.config.entropy.clone(), self.stop.clone());
        tasks.spawn(async move {
            if stop.run_until_cancelled(synced).await.is_some() {
                drive(controller, queue, entropy, stop).await;
            }
        });
    }
}

/// Runs all control loops until `stop`, and until each has ended its passes.
pub async fn run(client: Client, informers: Informers, config: Config, stop: CancellationToken) {
    let context = Context { client, informers, config, stop };
    let mut tasks = JoinSet::new();
    replicaset::start(&context, &mut tasks);
    deployment::start(&context, &mut tasks);
    endpointslice::start(&context, &mut tasks);
    endpointslice_mirroring::start(&context, &mut tasks);
    endpoints::start(&context, &mut tasks);
    namespace::start(&context, &mut tasks);
    garbage::start(&context, &mut tasks);
    horizontal_pod_autoscaler::start(&context, &mut tasks);
    service_account::start(&context, &mut tasks);
    service_account_token::start(&context, &mut tasks);
    root_ca::start(&context, &mut tasks);
    disruption::start(&context, &mut tasks);
    node_lifecycle::start(&context, &mut tasks);
    taint_eviction::start(&context, &mut tasks);
    pod_gc::start(&context, &mut tasks);
    job::start(&context, &mut tasks);
    cronjob::start(&context, &mut tasks);
    ttl_after_finished::start(&context, &mut tasks);
    info!("controllers started");
    tasks.join_all().await;
}
