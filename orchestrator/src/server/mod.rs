//! The API server: TLS, the request pipeline, verbs, discovery, OpenAPI, watch.
//!
//! One pipeline serves every resource of the table; there is no handler and no
//! route per kind. [`Server::router`] is that pipeline as a service, which the
//! TLS listener and the in-process clients call alike.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use http::Request;
use jiff::Timestamp;
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admission::{Chain, Images, KnownImages};
use crate::api::{ApiError, Authorizer, ResourceTable};
use crate::auth::Tokens;
use crate::clock::{Clock, Entropy};
use crate::storage::Storage;

mod allocate;
mod authenticate;
mod body;
mod bootstrap;
mod call;
mod connect;
mod dialer;
mod discovery;
mod errors;
mod follow;
mod health;
mod instruments;
mod linger;
mod listener;
mod metadata;
mod negotiate;
mod nodes;
mod none;
mod openapi;
mod output;
mod ownership;
mod path;
mod pipeline;
mod query;
mod usage;
mod verbs;
mod write;

pub use bootstrap::Bootstrap;
pub use dialer::Dialer;
pub use nodes::NodeApis;

/// The settings of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// As many TLS connections as may be open: each costs some 50 KiB.
    pub max_connections: usize,
    /// As many requests as may be worked on at once, without those that only follow; others wait.
    pub max_in_flight: usize,
    /// As many requests as may wait at once for what a node or a Pod answers; others wait.
    pub max_long_running: usize,
}

impl Default for Config {
    fn default() -> Self {
        // As many in flight as kube-apiserver takes: 400 that read and 200 that write.
        // A quarter of the connections may wait for nodes and Pods.
        Self { max_connections: 4_096, max_in_flight: 600, max_long_running: 1_024 }
    }
}

/// What the server is made of.
pub struct Parts {
    /// Where objects are.
    pub storage: Storage,
    /// What is served.
    pub table: ResourceTable,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// The cluster's bearer tokens.
    pub tokens: Arc<Tokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Names, uids and jitter.
    pub entropy: Entropy,
}

/// The API server; clones share it.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    config: Config,
    parts: Parts,
    admission: Chain,
    images: KnownImages,
    discovery: discovery::Discovery,
    openapi: OnceLock<openapi::OpenApi>,
    nodes: NodeApis,
    dialer: OnceLock<Arc<dyn Dialer>>,
    facts: OnceLock<Bootstrap>,
    usage: usage::Usage,
    instruments: instruments::Instruments,
    in_flight: Semaphore,
    long_running: Semaphore,
    ready: AtomicBool,
    stopping: CancellationToken,
}

impl Server {
    /// A server that nobody can reach yet.
    pub fn new(config: Config, parts: Parts) -> Self {
        let (objects, images) = (Arc::new(parts.storage.clone()), KnownImages::default());
        let admission = Chain::new(objects, parts.table.clone(), images.clone());
        let discovery = discovery::Discovery::of(&parts.table);
        Self(Arc::new(Inner {
            in_flight: Semaphore::new(config.max_in_flight),
            long_running: Semaphore::new(config.max_long_running),
            config,
            parts,
            admission,
            images,
            discovery,
            openapi: OnceLock::new(),
            nodes: NodeApis::default(),
            dialer: OnceLock::new(),
            facts: OnceLock::new(),
            usage: usage::Usage::default(),
            instruments: instruments::Instruments::default(),
            ready: AtomicBool::new(false),
            stopping: CancellationToken::new(),
        }))
    }

    /// The API as a service, for clients in this process.
    ///
    /// A client says who it is by a [`User`](crate::api::User) in the request's extensions.
    pub fn router(&self) -> Router {
        let server = self.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let server = server.clone();
            async move { pipeline::handle(&server, request).await }
        })
    }

    /// Makes the objects that every client expects; after it the server is ready.
    ///
    /// To be called once, before anybody else writes.
    pub async fn bootstrap(&self, facts: &Bootstrap) -> Result<(), ApiError> {
        bootstrap::run(self, facts).await?;
        self.0.facts.get_or_init(|| facts.clone());
        Ok(())
    }

    /// Serves TLS connections until `stop`, then lets what is in progress finish;
    /// meanwhile repairs allocations.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        stop: CancellationToken,
    ) {
        tokio::select! {
            () = listener::serve(self.clone(), listener, tls, stop) => {}
            () = allocate::keep_repaired(self) => {}
            () = bootstrap::keep(self) => {}
        }
    }

    /// How the server reaches nodes.
    pub fn nodes(&self) -> &NodeApis {
        &self.0.nodes
    }

    /// Connects the server to the pod network; only the first time counts.
    pub fn connect(&self, dialer: Arc<dyn Dialer>) {
        self.0.dialer.get_or_init(|| dialer);
    }

    /// Lets the server look at images before Pods of them are taken; only the first time counts.
    pub fn know_images(&self, images: Arc<dyn Images>) {
        self.0.images.get_or_init(|| images);
    }

    /// Measures now and then what nodes and Pods use, until `stop`.
    pub async fn measure(&self, stop: CancellationToken) {
        self.0.usage.run(&self.0.nodes, stop).await;
    }

    /// Whether the objects that every client expects are there.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Ends every watch, so that connections can end.
    pub fn begin_stop(&self) {
        self.0.stopping.cancel();
    }

    fn facts(&self) -> Option<&Bootstrap> {
        self.0.facts.get()
    }

    fn dialer(&self) -> Option<&Arc<dyn Dialer>> {
        self.0.dialer.get()
    }

    fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    fn usage(&self) -> &usage::Usage {
        &self.0.usage
    }

    fn instruments(&self) -> &instruments::Instruments {
        &self.0.instruments
    }

    fn in_flight(&self) -> &Semaphore {
        &self.0.in_flight
    }

    fn long_running(&self) -> &Semaphore {
        &self.0.long_running
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    fn storage(&self) -> &Storage {
        &self.0.parts.storage
    }

    fn table(&self) -> &ResourceTable {
        &self.0.parts.table
    }

    fn authorizer(&self) -> &dyn Authorizer {
        &*self.0.parts.authorizer
    }

    fn tokens(&self) -> &Tokens {
        &self.0.parts.tokens
    }

    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    fn entropy(&self) -> &Entropy {
        &self.0.parts.entropy
    }

    fn admission(&self) -> &Chain {
        &self.0.admission
    }

    fn discovery(&self) -> &discovery::Discovery {
        &self.0.discovery
    }

    fn openapi(&self) -> &openapi::OpenApi {
        self.0.openapi.get_or_init(|| openapi::OpenApi::of(self.table()))
    }
}
