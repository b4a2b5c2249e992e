//! Services, DNS names and the ingress gateway: pure rules out of API objects, fed to the data plane.
//!
//! [`rules`] decides where each Service leads, the gateway's routes which
//! Service a request from the outside goes to. Both are recomputed as a whole
//! when anything changes and replace what was in force in one step, so that a
//! request sees either the old cluster or the new one.

mod changes;
pub mod gateway;
mod host_ports;
pub mod rules;
mod services;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use shim::network::Switch;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::gateway::Issue;
use self::gateway::{Certificates, Gateway};
use self::host_ports::HostPorts;
use crate::client::{EventRecorder, Informers};
use crate::clock::Clock;

/// How long requests under way may take when the proxy stops.
const DRAIN: Duration = Duration::from_secs(10);

/// What the proxy is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address on which NodePorts listen.
    pub node_port_ip: IpAddr,
    /// The address that Ingresses are told, where the gateway listens on all.
    pub advertised_ip: IpAddr,
    /// What the names of the cluster end in.
    pub cluster_domain: String,
}

/// The proxy, with its ports open but not served yet.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    plain: Listening,
    tls: Listening,
}

#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Listening {
    fn on(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }
}

impl Proxy {
    /// Over the gateway's open ports, the second of which is for TLS.
    pub fn new(config: Config, plain: TcpListener, tls: TcpListener) -> io::Result<Self> {
        Ok(Self { config, plain: Listening::on(plain)?, tls: Listening::on(tls)? })
    }

    /// Where the gateway listens.
    pub fn gateway_addr(&self) -> SocketAddr {
        self.plain.addr
    }

    /// Where it listens with TLS.
    pub fn gateway_tls_addr(&self) -> SocketAddr {
        self.tls.addr
    }

    /// Feeds `switch` and serves the gateway until `shutdown`, then finishes
    /// the requests under way. `issue` makes certificates of the cluster's authority,
    /// `clock` dates events.
    pub async fn run(
        self,
        client: Client,
        informers: Informers,
        switch: Switch,
        issue: Issue,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
    ) {
        let tasks = Tasks::default();
        let (routes, complete) = (gateway::Shared::default(), Notify::new());
        let (host_ports, wanted_ports) = HostPorts::new();
        let gateway = Gateway::new(routes.clone(), switch.clone(), tasks.clone());
        let certificates = Arc::new(Certificates::new(issue, routes.clone()));
        let told = match self.plain.addr.ip() {
            ip if ip.is_unspecified() => self.config.advertised_ip,
            ip => ip,
        };
        let domain = &self.config.cluster_domain;
        let node_port_ip = self.config.node_port_ip;
        let (events, writer) = EventRecorder::new(client.clone(), "kube-proxy", None, clock);
        let running = async {
            tokio::join!(
                services::run(&informers, &switch, domain, host_ports),
                host_ports::run(wanted_ports, node_port_ip, &switch, &tasks, &events),
                writer.run(shutdown.clone()),
                gateway::follow(&informers, &routes, &complete),
                certificates.follow(&informers),
                async {
                    // Until then clients wait in the kernel: a 404 would be wrong.
                    complete.notified().await;
                    let tls = match certificates.server_config() {
                        Ok(config) => TlsAcceptor::from(Arc::new(config)),
                        Err(error) => {
                            tracing::error!(%error, "the gateway cannot speak TLS");
                            return gateway.serve(&self.plain.listener, None).await;
                        }
                    };
                    tokio::join!(
                        gateway.serve(&self.plain.listener, None),
                        gateway.serve(&self.tls.listener, Some(tls)),
                    );
                },
                gateway::keep_status(&client, &informers, told),
            )
        };
        tokio::select! {
            _ = running => {}
            () = shutdown.cancelled() => {}
        }
        drop((self.plain, self.tls));
        tasks.finish().await;
    }
}

/// The connections of the proxy: owned, told to finish, and joined.
#[derive(Debug, Clone, Default)]
struct Tasks {
    tracker: TaskTracker,
    /// Connections should finish what they are at.
    stopping: CancellationToken,
    /// Whatever still runs is ended.
    stop: CancellationToken,
}

impl Tasks {
    fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Runs a task that ends when the proxy stops.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.spawn_to_end(async move {
            tokio::select! {
                () = future => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Runs a task that minds `stopping` itself and has until the end of the drain.
    fn spawn_to_end(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = future => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn finish(&self) {
        self.stopping.cancel();
        self.tracker.close();
        if timeout(DRAIN, self.tracker.wait()).await.is_err() {
            tracing::warn!(connections = self.tracker.len(), "connections ended by force");
        }
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn_to_end(future);
    }
}

#[cfg(test)]
mod tests;
