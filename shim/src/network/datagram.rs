//! Datagrams between Pods.
//!
//! Like UDP they may be lost: a full queue drops what comes, and nobody is told.
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::pod::PodNet;
use super::{ConnectError, Protocol};

/// What a socket holds unread, in bytes; the kernel's default is of this size.
pub const QUEUED_BYTES: usize = 256 << 10;
/// What a datagram costs on top of its bytes.
const DATAGRAM_COST: usize = 128;
/// The largest datagram, as in IPv4.
pub const LARGEST: usize = 65_507;
/// Services a socket remembers having sent to, to recognize their answers.
const REMEMBERED: usize = 64;

/// A datagram with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What it says.
    pub data: Bytes,
    /// Who sent it.
    pub from: SocketAddr,
}

/// The queue before a socket, as the switch holds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mailbox(Arc<Mutex<Mail>>);

#[derive(Debug, Default)]
struct Mail {
    queue: VecDeque<Datagram>,
    charged: usize,
    reader: Option<Waker>,
}

/// A Pod's socket; closes when dropped.
#[derive(Debug)]
pub struct UdpSocket {
    pod: PodNet,
    local: SocketAddr,
    mailbox: Mailbox,
    /// Endpoint to Service: an answer must come from the address that was asked.
    services: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

impl Mailbox {
    fn put(&self, datagram: Datagram) {
        let mut mail = self.0.lock();
        let cost = datagram.data.len() + DATAGRAM_COST;
        if mail.charged + cost > QUEUED_BYTES {
            return;
        }
        mail.charged += cost;
        mail.queue.push_back(datagram);
        let reader = mail.reader.take();
        drop(mail);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn take(&self) -> Option<Datagram> {
        let mut mail = self.0.lock();
        let datagram = mail.queue.pop_front()?;
        mail.charged -= datagram.data.len() + DATAGRAM_COST;
        Some(datagram)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut mail = self.0.lock();
        if !mail.queue.is_empty() {
            return Poll::Ready(());
        }
        mail.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl UdpSocket {
    pub(super) fn new(pod: PodNet, local: SocketAddr, mailbox: Mailbox) -> Self {
        Self { pod, local, mailbox, services: Mutex::default() }
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram within the cluster; whether it arrives is not known.
    pub fn send(&self, data: Bytes, to: SocketAddr) -> Result<(), ConnectError> {
        if data.len() > LARGEST {
            return Err(ConnectError::TooLarge(to));
        }
        let to = self.pod.absolute(to);
        let switch = self.pod.switch();
        let routes = switch.routes();
        let target = match routes.get(Protocol::Udp, to) {
            Some(route) => {
                let Some(endpoint) = route.candidates(self.local.ip()).next() else {
                    return Ok(());
                };
                self.remember(endpoint, to);
                endpoint
            }
            None if !switch.is_cluster(to.ip()) => return Err(ConnectError::Unreachable(to)),
            None => {
                self.services.lock().remove(&to);
                to
            }
        };
        if let Some(mailbox) = switch.mailbox(target, self.local.ip()) {
            mailbox.put(Datagram { data, from: self.local });
        }
        Ok(())
    }

    /// The next datagram, if one is there.
    pub fn try_recv(&self) -> Option<Datagram> {
        let mut datagram = self.mailbox.take()?;
        if let Some(service) = self.services.lock().get(&datagram.from) {
            datagram.from = *service;
        }
        Some(datagram)
    }

    /// Ready when a datagram is there.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_ready(context)
    }

    /// Waits for a datagram.
    pub async fn recv(&self) -> Datagram {
        loop {
            poll_fn(|context| self.poll_ready(context)).await;
            if let Some(datagram) = self.try_recv() {
                return datagram;
            }
        }
    }

    fn remember(&self, endpoint: SocketAddr, service: SocketAddr) {
        let mut services = self.services.lock();
        if services.len() >= REMEMBERED && !services.contains_key(&endpoint) {
            services.clear();
        }
        services.insert(endpoint, service);
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.pod.switch().close_datagrams(self.local);
    }
}
