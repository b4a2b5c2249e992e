//! A Pod's place on the network: what its containers may listen on and reach.
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::datagram::{Mailbox, UdpSocket};
use super::listener::{Accepts, HttpPort, Listener};
use super::names::{Answer, PodNames};
use super::{
    ConnectError, HttpHandler, HttpListener, MAX_BACKLOG, NetworkError, Peer, Refused, Request,
    Response, Stream, Switch, TcpListener, outside,
};
use crate::cri::DnsConfig;

/// Sockets and connections a Pod may hold at once; with the bound of each it
/// limits what a Pod can make the host hold to some 100 MiB.
pub const MAX_SOCKETS: usize = 1024;
/// Names a Pod may look up outside the cluster at once.
const MAX_LOOKUPS: usize = 8;
/// The first and last port that is given to those who ask for none (RFC 6335).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Who a Pod is on the network.
#[derive(Debug, Clone, Default)]
pub struct AttachConfig {
    /// Name of the Pod, which it resolves to itself.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The address it had before; taken again if free.
    pub wanted_ip: Option<IpAddr>,
    /// Its resolver.
    pub dns: DnsConfig,
}

/// A Pod on the network; it leaves when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct PodNet(Arc<Pod>);

#[derive(Debug)]
struct Pod {
    switch: Switch,
    ip: Ipv4Addr,
    name: String,
    namespace: String,
    names: PodNames,
    detached: AtomicBool,
    next_port: AtomicU16,
    listening: Mutex<BTreeSet<u16>>,
    sockets: Arc<Semaphore>,
    lookups: Semaphore,
}

/// The right to hold one socket, given back when dropped.
#[derive(Debug)]
pub struct SocketPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Drop for Pod {
    fn drop(&mut self) {
        self.switch.release(self.ip);
    }
}

impl PodNet {
    pub(super) fn new(switch: Switch, ip: Ipv4Addr, config: AttachConfig) -> Self {
        let mut dns = config.dns;
        dns.hosts.push((config.name.clone(), ip.into()));
        if let Some((short, _)) = config.name.split_once('.') {
            dns.hosts.push((short.to_owned(), ip.into()));
        }
        let names = PodNames::new(dns, &config.namespace, switch.domain());
        Self(Arc::new(Pod {
            switch,
            ip,
            name: config.name,
            namespace: config.namespace,
            names,
            detached: AtomicBool::new(false),
            next_port: AtomicU16::new(0),
            listening: Mutex::default(),
            sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
            lookups: Semaphore::new(MAX_LOOKUPS),
        }))
    }

    /// The Pod's address.
    pub fn ip(&self) -> IpAddr {
        self.0.ip.into()
    }

    /// The Pod's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The Pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The switch it is attached to.
    pub fn switch(&self) -> &Switch {
        &self.0.switch
    }

    /// Closes every port and refuses whatever the Pod tries from now on. The
    /// address is free once the last clone is gone.
    pub fn detach(&self) {
        self.0.detached.store(true, Ordering::SeqCst);
        let ports = std::mem::take(&mut *self.0.listening.lock());
        for port in ports {
            self.0.switch.close_listener(SocketAddr::new(self.ip(), port));
        }
    }

    /// Waits until no Service sends new requests here: a function that stops
    /// goes on serving until then, so that none is lost. A Pod that is the last
    /// of its Service is not waited for once it is marked as terminating.
    pub async fn unrouted(&self) {
        self.0.switch.unrouted(self.ip()).await;
    }

    /// Takes one of the sockets that the Pod may hold; `None` when all are taken.
    pub fn socket_permit(&self) -> Option<SocketPermit> {
        self.0.sockets.clone().try_acquire_owned().ok().map(SocketPermit)
    }

    /// Opens a port that is answered by calls.
    pub fn listen_http(
        &self,
        port: u16,
        handler: Arc<dyn HttpHandler>,
    ) -> Result<HttpListener, NetworkError> {
        let http = Arc::new(HttpPort::new(handler));
        self.listen(port, false, Accepts::Requests(http.clone()))?;
        Ok(HttpListener { pod: self.clone(), port, http })
    }

    /// Opens a port that accepts connections. An unspecified address means the
    /// Pod's own, a loopback address lets only the Pod itself in, port 0 picks one.
    pub fn listen_tcp(
        &self,
        address: SocketAddr,
        backlog: usize,
    ) -> Result<TcpListener, NetworkError> {
        let (sender, receiver) = mpsc::channel(backlog.clamp(1, MAX_BACKLOG));
        let local_only = address.ip().is_loopback();
        let port = match address.port() {
            0 => self.free_port(),
            port => port,
        };
        self.listen(port, local_only, Accepts::Connections(sender))?;
        let local = SocketAddr::new(address.ip(), port);
        Ok(TcpListener { pod: self.clone(), local, backlog: receiver })
    }

    /// Whether a container of the Pod has opened this port.
    pub fn is_listening(&self, port: u16) -> bool {
        self.0.listening.lock().contains(&port)
    }

    /// Opens a socket for datagrams; port 0 picks one.
    pub fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetworkError> {
        if self.0.detached.load(Ordering::SeqCst) {
            return Err(NetworkError::Detached);
        }
        let local_only = address.ip().is_loopback();
        let mailbox = Mailbox::default();
        if address.port() != 0 {
            let local = SocketAddr::new(self.ip(), address.port());
            if !self.0.switch.open_datagrams(local, mailbox.clone(), local_only) {
                return Err(NetworkError::PortInUse(address.port()));
            }
            return Ok(UdpSocket::new(self.clone(), local, mailbox));
        }
        for _ in EPHEMERAL {
            let local = SocketAddr::new(self.ip(), self.ephemeral_port());
            if self.0.switch.open_datagrams(local, mailbox.clone(), local_only) {
                return Ok(UdpSocket::new(self.clone(), local, mailbox));
            }
        }
        Err(NetworkError::NoPortLeft)
    }

    /// Connects to a Pod, a Service or, where it may, the world outside.
    pub async fn connect(&self, to: SocketAddr) -> Result<Stream, ConnectError> {
        let from = SocketAddr::new(self.ip(), self.ephemeral_port());
        self.connect_from(from, to).await
    }

    /// [`PodNet::connect`] from a port of the Pod's choice.
    pub async fn connect_from(
        &self,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Stream, ConnectError> {
        if self.0.detached.load(Ordering::SeqCst) {
            return Err(ConnectError::Detached);
        }
        self.0.switch.connect(from, self.absolute(to), true).await
    }

    /// Sends a request to a Pod or Service; a function is called.
    pub async fn request(&self, to: SocketAddr, request: Request) -> Result<Response, Refused> {
        let source = SocketAddr::new(self.ip(), self.ephemeral_port());
        self.0.switch.request(self.absolute(to), request, Peer { source }).await
    }

    /// The addresses of a name, as this Pod sees it; none if it has none.
    pub async fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let switch = &self.0.switch;
        let names = match self.0.names.lookup(&switch.names(), switch.domain(), name) {
            Answer::Addresses(addresses) => return addresses,
            Answer::Unknown => return Vec::new(),
            Answer::Outside(names) => names,
        };
        let Ok(_slot) = self.0.lookups.acquire().await else { return Vec::new() };
        for name in names {
            let found = outside::lookup(&name).await;
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// A port for a connection of which only the other side's is known.
    pub fn ephemeral_port(&self) -> u16 {
        next_ephemeral(&self.0.next_port)
    }

    /// A guest's loopback is its Pod.
    pub(super) fn absolute(&self, to: SocketAddr) -> SocketAddr {
        if to.ip().is_loopback() { SocketAddr::new(self.ip(), to.port()) } else { to }
    }

    pub(super) fn forget_listener(&self, port: u16) {
        if self.0.listening.lock().remove(&port) {
            self.0.switch.close_listener(SocketAddr::new(self.ip(), port));
        }
    }

    fn listen(&self, port: u16, local_only: bool, accepts: Accepts) -> Result<(), NetworkError> {
        let mut listening = self.0.listening.lock();
        // Under the lock, so that `detach` finds every port that was opened before it.
        if self.0.detached.load(Ordering::SeqCst) {
            return Err(NetworkError::Detached);
        }
        if !listening.insert(port) {
            return Err(NetworkError::PortInUse(port));
        }
        let address = SocketAddr::new(self.ip(), port);
        self.0.switch.open_listener(address, Listener { local_only, accepts });
        Ok(())
    }

    fn free_port(&self) -> u16 {
        let listening = self.0.listening.lock();
        EPHEMERAL
            .map(|_| self.ephemeral_port())
            .find(|port| !listening.contains(port))
            .unwrap_or(*EPHEMERAL.end())
    }
}

pub(super) fn next_ephemeral(counter: &AtomicU16) -> u16 {
    let size = EPHEMERAL.end() - EPHEMERAL.start() + 1;
    EPHEMERAL.start() + counter.fetch_add(1, Ordering::Relaxed) % size
}
