//! The switch: every address of the node's network and what is behind it.
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::{Addresses, Range};
use super::datagram::Mailbox;
use super::http::Called;
use super::listener::{Accepts, HttpPort, Listener};
use super::pod::next_ephemeral;
use super::services::{Manner, Routes};
use super::{
    AttachConfig, ConnectError, DnsTable, NetworkError, Peer, PodNet, Protocol, Refused,
    RefusedReason, Request, Response, ServiceTable, Stream, bridge, http, outside,
};

/// The default of [`SwitchConfig::hold`]: longer than a function takes to start, shorter
/// than callers wait.
pub const HOLD: Duration = Duration::from_secs(5);
/// Requests that wait at once; more are refused, as each holds a connection of its caller.
const MAX_HELD: usize = 1024;

/// What a network is made of.
#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// Where Pods get their addresses from.
    pub pod_range: Range,
    /// Where Services get theirs from.
    pub service_range: Range,
    /// What the names of the cluster end in.
    pub cluster_domain: String,
    /// How long a request waits for an endpoint of its Service to appear.
    pub hold: Duration,
    /// The authority that certificates within the cluster are checked against, in DER.
    pub cluster_ca: Option<CertificateDer<'static>>,
}

impl Default for SwitchConfig {
    /// `10.64.0.0/10`, `10.43.0.0/16`, `cluster.local`, [`HOLD`], no authority.
    fn default() -> Self {
        let range = |first, prefix| Range::new(first, prefix).expect("constants are ranges");
        Self {
            pod_range: range(Ipv4Addr::new(10, 64, 0, 0), 10),
            service_range: range(Ipv4Addr::new(10, 43, 0, 0), 16),
            cluster_domain: "cluster.local".to_string(),
            hold: HOLD,
            cluster_ca: None,
        }
    }
}

/// The network of one node. Clones are the same network.
#[derive(Debug, Clone)]
pub struct Switch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: SwitchConfig,
    node: Ipv4Addr,
    next_port: AtomicU16,
    addresses: Mutex<Addresses>,
    listeners: RwLock<HashMap<SocketAddr, Listener>>,
    mailboxes: RwLock<HashMap<SocketAddr, (Mailbox, bool)>>,
    /// Servers of the host by their address on the network.
    servers: RwLock<HashMap<SocketAddr, SocketAddr>>,
    routes: RwLock<Arc<Routes>>,
    names: RwLock<Arc<DnsTable>>,
    /// Marked whenever a held request may find an endpoint.
    changed: watch::Sender<()>,
    held: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Default for Switch {
    fn default() -> Self {
        Self::new(SwitchConfig::default())
    }
}

impl Switch {
    /// An empty network.
    pub fn new(config: SwitchConfig) -> Self {
        let addresses = Addresses::new(config.pod_range);
        Self(Arc::new(Inner {
            node: addresses.node(),
            config,
            next_port: AtomicU16::new(0),
            addresses: Mutex::new(addresses),
            listeners: RwLock::default(),
            mailboxes: RwLock::default(),
            servers: RwLock::default(),
            routes: RwLock::default(),
            names: RwLock::default(),
            changed: watch::Sender::new(()),
            held: Semaphore::new(MAX_HELD),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Gives a Pod its address.
    pub fn attach(&self, config: AttachConfig) -> Result<PodNet, NetworkError> {
        let wanted = match config.wanted_ip {
            Some(IpAddr::V4(ip)) => Some(ip),
            Some(IpAddr::V6(_)) | None => None,
        };
        let ip = self
            .0
            .addresses
            .lock()
            .allocate(wanted, Instant::now())
            .map_err(NetworkError::Attach)?;
        Ok(PodNet::new(self.clone(), ip, config))
    }

    /// The node's own address on the network, from which the host dials.
    pub fn node_ip(&self) -> IpAddr {
        self.0.node.into()
    }

    /// Lets Pods reach a server of the host, such as the API server, at a port of
    /// the node's own address; answers where.
    pub fn expose(&self, port: u16, server: SocketAddr) -> SocketAddr {
        let address = SocketAddr::new(self.node_ip(), port);
        self.0.servers.write().insert(address, server);
        address
    }

    /// Replaces every Service.
    pub fn set_services(&self, table: ServiceTable) {
        *self.0.routes.write() = Arc::new(Routes::new(table));
        self.0.changed.send_replace(());
    }

    /// Replaces every name.
    pub fn set_names(&self, table: DnsTable) {
        *self.0.names.write() = Arc::new(table);
    }

    /// Connects from the host to a Pod or Service, for probes, NodePorts and port-forward.
    ///
    /// A connection to a Service of functions stays when they go: each of its requests is
    /// handled as [`Switch::request`] does.
    pub async fn dial(&self, to: SocketAddr) -> Result<Stream, ConnectError> {
        let from = SocketAddr::new(self.node_ip(), next_ephemeral(&self.0.next_port));
        self.connect(from, to, false).await
    }

    /// Sends a request to a Pod or Service. A function is called on this task; a
    /// guest's own socket gets the request as bytes.
    ///
    /// One endpoint's refusal sends it to the next. A Service none of whose
    /// endpoints listens holds the request for up to [`SwitchConfig::hold`].
    pub async fn request(
        &self,
        to: SocketAddr,
        request: Request,
        peer: Peer,
    ) -> Result<Response, Refused> {
        let mut refused = match self.request_once(to, request, &peer).await {
            Err(refused) if refused.reason == RefusedReason::NotListening => refused,
            done => return done,
        };
        // A Service that is not known yet may be a moment later.
        let is_service = self.0.config.service_range.contains(to.ip())
            || self.routes().get(Protocol::Tcp, to).is_some();
        if !is_service {
            return Err(refused);
        }
        let Ok(_held) = self.0.held.try_acquire() else { return Err(refused) };
        let mut changed = self.0.changed.subscribe();
        let deadline = tokio::time::Instant::now() + self.0.config.hold;
        loop {
            refused = match self.request_once(to, refused.request, &peer).await {
                Err(refused) if refused.reason == RefusedReason::NotListening => refused,
                done => return done,
            };
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(refused),
            }
        }
    }

    /// Ends every connection that the switch carries and waits for its tasks.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Sends a request to the first endpoint that takes it.
    async fn request_once(
        &self,
        to: SocketAddr,
        request: Request,
        peer: &Peer,
    ) -> Result<Response, Refused> {
        let routes = self.routes();
        let Some(route) = routes.get(Protocol::Tcp, to) else {
            return self.request_endpoint(to, request, peer, Manner::default()).await;
        };
        let mut refused = Refused { request, reason: RefusedReason::NotListening };
        let mut saturated = false;
        for endpoint in route.candidates(peer.source.ip()) {
            let answer = self.request_endpoint(endpoint, refused.request, peer, route.manner).await;
            refused = match answer {
                Ok(response) => return Ok(response),
                Err(refused) => refused,
            };
            saturated |= refused.reason == RefusedReason::Saturated;
        }
        if saturated {
            refused.reason = RefusedReason::Saturated;
        }
        Err(refused)
    }

    async fn request_endpoint(
        &self,
        to: SocketAddr,
        request: Request,
        peer: &Peer,
        manner: Manner,
    ) -> Result<Response, Refused> {
        if let Some(Accepts::Requests(port)) = self.listener(to, peer.source.ip()) {
            return port.call(request, peer.clone()).await;
        }
        match self.connect_endpoint(peer.source, to, manner.host).await {
            Ok(stream) => http::send_to_guest(self, stream, request, manner.http2).await,
            Err(error) => {
                tracing::debug!(%to, %error, "endpoint not reached");
                Err(Refused { request, reason: RefusedReason::NotListening })
            }
        }
    }

    /// Connects to a Pod, a Service, or outside if `beyond` allows it.
    pub(super) async fn connect(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        beyond: bool,
    ) -> Result<Stream, ConnectError> {
        let routes = self.routes();
        let Some(route) = routes.get(Protocol::Tcp, to) else {
            if !beyond && !self.is_cluster(to.ip()) {
                return Err(ConnectError::Unreachable(to));
            }
            return self.connect_endpoint(from, to, false).await;
        };
        for endpoint in route.candidates(from.ip()) {
            if let Some(Accepts::Requests(port)) = self.listener(endpoint, from.ip()) {
                match self.connect_http(from, to, &port, Called::Service(to)) {
                    Ok(stream) => return Ok(stream),
                    Err(_) => continue,
                }
            }
            match self.connect_endpoint(from, endpoint, route.manner.host).await {
                Ok(stream) => return Ok(stream),
                Err(error) => tracing::debug!(%to, %endpoint, %error, "endpoint not reached"),
            }
        }
        Err(ConnectError::Refused(to))
    }

    async fn connect_endpoint(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        host_endpoint: bool,
    ) -> Result<Stream, ConnectError> {
        match self.listener(to, from.ip()) {
            Some(Accepts::Connections(backlog)) => {
                let (near, far) = Stream::pair(from, to);
                backlog.try_send(far).map_err(|_| ConnectError::Refused(to))?;
                Ok(near)
            }
            Some(Accepts::Requests(port)) => {
                self.connect_http(from, to, &port, Called::Port(port.clone()))
            }
            None if self.is_cluster(to.ip()) => match self.server(to) {
                Some(server) => self.connect_outside(from, server, true).await,
                None => Err(ConnectError::Refused(to)),
            },
            None => self.connect_outside(from, to, host_endpoint).await,
        }
    }

    /// Connects to a function. The connection counts as one of `port` for as long as it lasts.
    fn connect_http(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        port: &HttpPort,
        called: Called,
    ) -> Result<Stream, ConnectError> {
        let slot = port.connections.clone().try_acquire_owned();
        let slot = slot.map_err(|_| ConnectError::Refused(to))?;
        let (near, far) = Stream::pair(from, to);
        let served = http::serve(self.clone(), far, called);
        self.spawn(async move {
            served.await;
            drop(slot);
        });
        Ok(near)
    }

    fn server(&self, to: SocketAddr) -> Option<SocketAddr> {
        self.0.servers.read().get(&to).copied()
    }

    async fn connect_outside(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        host_endpoint: bool,
    ) -> Result<Stream, ConnectError> {
        if !host_endpoint && !outside::is_permitted(to.ip()) {
            return Err(ConnectError::Denied(to));
        }
        let outer = outside::connect(to).await?;
        let (near, far) = Stream::pair(from, to);
        self.spawn(async move {
            if let Err(error) = bridge(far, outer).await {
                tracing::debug!(%to, %error, "connection to the outside ended badly");
            }
        });
        Ok(near)
    }

    /// Writes a request to a connection; the switch runs the connection.
    pub(crate) async fn send_over<T>(
        &self,
        connection: T,
        request: Request,
    ) -> Result<Response, http::Unanswered>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        http::send(self, connection, request).await
    }

    /// Runs a task that ends with the switch.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = future => {}
                () = stop.cancelled() => {}
            }
        });
    }

    pub(super) fn domain(&self) -> &str {
        &self.0.config.cluster_domain
    }

    /// The authority of the cluster's own certificates.
    pub(crate) fn cluster_ca(&self) -> Option<&CertificateDer<'static>> {
        self.0.config.cluster_ca.as_ref()
    }

    /// Whether an address is a Pod's or a Service's, or could be.
    pub fn is_cluster(&self, ip: IpAddr) -> bool {
        self.0.config.pod_range.contains(ip) || self.0.config.service_range.contains(ip)
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        self.0.routes.read().clone()
    }

    pub(super) fn names(&self) -> Arc<DnsTable> {
        self.0.names.read().clone()
    }

    /// Waits until no Service has this address among its ready endpoints.
    pub(super) async fn unrouted(&self, ip: IpAddr) {
        let mut changed = self.0.changed.subscribe();
        while self.routes().is_ready(ip) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn listener(&self, to: SocketAddr, from: IpAddr) -> Option<Accepts> {
        let listeners = self.0.listeners.read();
        let listener = listeners.get(&to)?;
        (!listener.local_only || from == to.ip()).then(|| listener.accepts.clone())
    }

    pub(super) fn open_listener(&self, address: SocketAddr, listener: Listener) {
        self.0.listeners.write().insert(address, listener);
        self.0.changed.send_replace(());
    }

    pub(super) fn close_listener(&self, address: SocketAddr) {
        self.0.listeners.write().remove(&address);
    }

    pub(super) fn mailbox(&self, to: SocketAddr, from: IpAddr) -> Option<Mailbox> {
        let mailboxes = self.0.mailboxes.read();
        let (mailbox, local_only) = mailboxes.get(&to)?;
        (!local_only || from == to.ip()).then(|| mailbox.clone())
    }

    /// Whether the address was free.
    pub(super) fn open_datagrams(
        &self,
        address: SocketAddr,
        mailbox: Mailbox,
        local_only: bool,
    ) -> bool {
        let mut mailboxes = self.0.mailboxes.write();
        if mailboxes.contains_key(&address) {
            return false;
        }
        mailboxes.insert(address, (mailbox, local_only));
        true
    }

    pub(super) fn close_datagrams(&self, address: SocketAddr) {
        self.0.mailboxes.write().remove(&address);
    }

    pub(super) fn release(&self, ip: Ipv4Addr) {
        self.0.addresses.lock().release(ip, Instant::now());
    }
}
