//! NodePorts: ports of the host that lead to a Service.
//!
//! They listen on the address that `podium up` was given, loopback unless told
//! otherwise: a laptop on a strange network must not offer its functions to it.
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use shim::network::{Switch, bridge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Tasks;
use super::rules::HostPort;
use crate::client::EventRecorder;

/// Connections through all NodePorts at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 4096;
/// How long until a port that something else has is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long to wait when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Ports and the Service port each leads to.
type Ports = BTreeMap<u16, HostPort>;

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

fn plan(actual: &BTreeMap<u16, SocketAddr>, wanted: &Ports) -> Plan {
    let of = |(port, wanted): (&u16, &HostPort)| (*port, wanted.target);
    let differs = |(port, wanted): &(&u16, &HostPort)| {
        actual.get(*port).is_some_and(|current| *current != wanted.target)
    };
    Plan {
        close: actual.keys().filter(|port| !wanted.contains_key(*port)).copied().collect(),
        turn: wanted.iter().filter(differs).map(of).collect(),
        open: wanted.iter().filter(|(port, _)| !actual.contains_key(*port)).map(of).collect(),
    }
}

/// Tells each Service once that its port is not open, and when it is after all.
struct Told<'a> {
    ip: IpAddr,
    events: &'a EventRecorder,
    /// Those that know, by their ports.
    waiting: Ports,
}

impl Told<'_> {
    /// Forgets who wants the port no longer.
    fn retain(&mut self, wanted: &Ports) {
        self.waiting.retain(|port, waiting| wanted.get(port) == Some(waiting));
    }

    fn opened(&mut self, port: u16) {
        tracing::info!(port, "node port opened");
        if let Some(service) = self.waiting.remove(&port) {
            let message = format!("port {port} of {} leads to this Service now", self.ip);
            self.events.normal(reference(&service), "NodePortOpened", message);
        }
    }

    fn not_opened(&mut self, port: u16, service: &HostPort, error: &io::Error) {
        if self.waiting.insert(port, service.clone()).is_some() {
            return;
        }
        let (ip, field) = (self.ip, &service.field);
        tracing::warn!(%ip, port, %error, "node port not opened");
        let (why, next) = match error.kind() {
            io::ErrorKind::AddrInUse => ("another process has it".into(), "stop that process"),
            _ => (error.to_string(), "let Podium have it"),
        };
        let message = format!(
            "{field}: port {port} of {ip} could not be opened: {why}. What is sent to it does \
             not reach this Service; {next} (the port is tried every {}s) or set another nodePort",
            RETRY.as_secs()
        );
        self.events.warning(reference(service), "NodePortNotOpened", message);
    }
}

fn reference(port: &HostPort) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        namespace: Some(port.namespace.clone()),
        name: Some(port.name.clone()),
        uid: port.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Keeps the ports open on `ip` until it is dropped; `tasks` carry the connections.
pub(super) async fn run(
    mut ports: watch::Receiver<Ports>,
    ip: IpAddr,
    switch: &Switch,
    tasks: &Tasks,
    events: &EventRecorder,
) {
    let mut open: BTreeMap<u16, Open> = BTreeMap::new();
    let mut told = Told { ip, events, waiting: Ports::new() };
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let wanted = ports.borrow_and_update().clone();
        told.retain(&wanted);
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
                    told.opened(port);
                }
                Err(error) => told.not_opened(port, &wanted[&port], &error),
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
mod tests;
