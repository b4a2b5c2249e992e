//! NodePorts: ports of the host that lead to a Service.
//!
//! They listen on the address that `podium up` was given, loopback unless told
//! otherwise: a laptop on a strange network must not offer its functions to it.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use shim::network::{Switch, bridge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Tasks;

/// Connections through all NodePorts at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 4096;
/// How long until a port that something else has is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long to wait when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Ports and the Service address each leads to.
type Ports = BTreeMap<u16, SocketAddr>;

/// Says which ports should be open.
pub(super) struct HostPorts(watch::Sender<Ports>);

impl HostPorts {
    /// None yet, and the loop's end.
    pub(super) fn new() -> (Self, watch::Receiver<Ports>) {
        let (sender, receiver) = watch::channel(Ports::new());
        (Self(sender), receiver)
    }

    /// Replaces them.
    pub(super) fn set(&self, wanted: Ports) {
        self.0.send_if_modified(|ports| {
            let changed = *ports != wanted;
            *ports = wanted;
            changed
        });
    }
}

/// A port that is open; closes when dropped, while its connections go on.
struct Open {
    target: watch::Sender<SocketAddr>,
    stop: CancellationToken,
    /// Cancelled once nothing listens any more.
    closed: CancellationToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is to be done to the open ports.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    close: Vec<u16>,
    turn: Vec<(u16, SocketAddr)>,
    open: Vec<(u16, SocketAddr)>,
}

fn plan(actual: &Ports, wanted: &Ports) -> Plan {
    let of = |(port, target): (&u16, &SocketAddr)| (*port, *target);
    let differs = |(port, target): &(&u16, &SocketAddr)| {
        actual.get(*port).is_some_and(|current| current != *target)
    };
    Plan {
        close: actual.keys().filter(|port| !wanted.contains_key(*port)).copied().collect(),
        turn: wanted.iter().filter(differs).map(of).collect(),
        open: wanted.iter().filter(|(port, _)| !actual.contains_key(*port)).map(of).collect(),
    }
}

/// Keeps the ports open on `ip` until it is dropped; `tasks` carry the connections.
pub(super) async fn run(
    mut ports: watch::Receiver<Ports>,
    ip: IpAddr,
    switch: &Switch,
    tasks: &Tasks,
) {
    let mut open: BTreeMap<u16, Open> = BTreeMap::new();
    // Said once: a port that something else has is tried again and again.
    let mut said = BTreeSet::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let wanted = ports.borrow_and_update().clone();
        said.retain(|port| wanted.contains_key(port));
        let actual = open.iter().map(|(port, open)| (*port, *open.target.borrow())).collect();
        let plan = plan(&actual, &wanted);
        let closing: Vec<Open> = plan.close.iter().filter_map(|port| open.remove(port)).collect();
        for closed in closing {
            closed.stop.cancel();
            // The same port may be wanted again at once.
            closed.closed.cancelled().await;
        }
        for (port, target) in plan.turn {
            if let Some(open) = open.get(&port) {
                open.target.send_replace(target);
                tracing::info!(port, %target, "node port leads elsewhere");
            }
        }
        for (port, target) in plan.open {
            match TcpListener::bind((ip, port)).await {
                Ok(listener) => {
                    open.insert(port, serve(listener, target, switch, tasks, &connections));
                    said.remove(&port);
                    tracing::info!(port, %target, "node port opened");
                }
                Err(error) if said.insert(port) => {
                    tracing::warn!(%ip, port, %error, "node port not opened");
                }
                Err(_) => {}
            }
        }
        let changed = if open.len() < wanted.len() {
            timeout(RETRY, ports.changed()).await.unwrap_or(Ok(()))
        } else {
            ports.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Begins to serve a port.
fn serve(
    listener: TcpListener,
    target: SocketAddr,
    switch: &Switch,
    tasks: &Tasks,
    connections: &Arc<Semaphore>,
) -> Open {
    let target = watch::Sender::new(target);
    let (stop, closed) = (CancellationToken::new(), CancellationToken::new());
    let door = Door { switch: switch.clone(), target: target.subscribe(), tasks: tasks.clone() };
    let open = Open { target, stop: stop.clone(), closed: closed.clone() };
    let connections = connections.clone();
    tasks.spawn(async move {
        let _closed = closed.drop_guard();
        tokio::select! {
            () = door.serve(listener, connections) => {}
            () = stop.cancelled() => {}
        }
    });
    open
}

/// One open port.
struct Door {
    switch: Switch,
    target: watch::Receiver<SocketAddr>,
    tasks: Tasks,
}

impl Door {
    async fn serve(&self, listener: TcpListener, connections: Arc<Semaphore>) {
        loop {
            let Ok(slot) = connections.clone().acquire_owned().await else { return };
            let outer = match listener.accept().await {
                Ok((outer, _)) => outer,
                Err(error) => {
                    tracing::warn!(%error, "connection to a node port not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (switch, target) = (self.switch.clone(), *self.target.borrow());
            self.tasks.spawn(async move {
                if let Err(error) = carry(&switch, target, outer).await {
                    tracing::debug!(%target, %error, "connection to a node port ended badly");
                }
                drop(slot);
            });
        }
    }
}

async fn carry(switch: &Switch, target: SocketAddr, outer: TcpStream) -> io::Result<()> {
    outer.set_nodelay(true)?;
    let inner = switch.dial(target).await.map_err(io::Error::other)?;
    bridge(inner, outer).await
}

#[cfg(test)]
mod tests {
    use shim::network::{AttachConfig, Condition, Endpoint, Protocol, ServicePort, ServiceTable};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn ports(ports: &[(u16, &str)]) -> Ports {
        ports.iter().map(|(port, target)| (*port, target.parse().unwrap())).collect()
    }

    #[test]
    fn a_port_that_leads_elsewhere_stays_open() {
        let actual =
            ports(&[(30000, "10.43.0.1:80"), (30001, "10.43.0.2:80"), (30002, "10.43.0.3:80")]);
        let wanted =
            ports(&[(30000, "10.43.0.1:80"), (30001, "10.43.0.9:80"), (30003, "10.43.0.4:80")]);
        let plan = plan(&actual, &wanted);
        assert_eq!(plan.close, [30002]);
        assert_eq!(plan.turn, [(30001, wanted[&30001])]);
        assert_eq!(plan.open, [(30003, wanted[&30003])]);
    }

    #[tokio::test]
    async fn a_port_leads_elsewhere_and_closes_and_opens_again_at_once() {
        let switch = Switch::default();
        let pods = [(); 2].map(|()| switch.attach(AttachConfig::default()).unwrap());
        let [mut first, mut second] =
            pods.each_ref().map(|pod| pod.listen_tcp("0.0.0.0:7".parse().unwrap(), 64).unwrap());
        let [one, other] = pods.each_ref().map(|pod| SocketAddr::from((pod.ip(), 7)));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (host_ports, wanted) = HostPorts::new();
        let tasks = Tasks::default();
        let running = tokio::spawn({
            let (switch, tasks) = (switch.clone(), tasks.clone());
            async move { run(wanted, "127.0.0.1".parse().unwrap(), &switch, &tasks).await }
        });
        let soon = async {
            host_ports.set(Ports::from([(free, one)]));
            drop(connected(free).await);
            first.accept().await.unwrap();

            host_ports.set(Ports::from([(free, other)]));
            while second.try_accept().is_none() {
                drop(connected(free).await);
                tokio::task::yield_now().await;
            }

            host_ports.set(Ports::new());
            while TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
                tokio::task::yield_now().await;
            }
            host_ports.set(Ports::from([(free, one)]));
            drop(connected(free).await);
        };
        timeout(RETRY / 2, soon).await.expect("nothing has to be tried again");
        drop(host_ports);
        running.await.unwrap();
        tasks.finish().await;
    }

    #[tokio::test]
    async fn a_node_port_leads_to_a_guest_socket_and_closes_with_its_service() {
        let switch = Switch::default();
        let pod = switch.attach(AttachConfig::default()).unwrap();
        let mut guest = pod.listen_tcp("0.0.0.0:7".parse().unwrap(), 16).unwrap();
        let service: SocketAddr = "10.43.0.9:7".parse().unwrap();
        switch.set_services(ServiceTable {
            ports: vec![ServicePort {
                address: service,
                protocol: Protocol::Tcp,
                session_affinity: false,
                host_endpoints: false,
                http2: false,
                endpoints: vec![Endpoint {
                    address: (pod.ip(), 7).into(),
                    condition: Condition::Ready,
                }],
            }],
        });
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (host_ports, wanted) = HostPorts::new();
        host_ports.set(Ports::from([(free, service)]));
        let tasks = Tasks::default();
        let running = tokio::spawn({
            let (switch, tasks) = (switch.clone(), tasks.clone());
            async move { run(wanted, "127.0.0.1".parse().unwrap(), &switch, &tasks).await }
        });

        let mut client = connected(free).await;
        let mut accepted = guest.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        accepted.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");

        host_ports.set(Ports::new());
        while TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        accepted.write_all(b"pong").await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
        drop((host_ports, client, accepted));
        running.await.unwrap();
        tasks.finish().await;
    }

    async fn connected(port: u16) -> TcpStream {
        loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}
