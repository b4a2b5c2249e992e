//! The ingress gateway: HTTP from the outside to Services.
//!
//! A request is handed to the function's handler by the task that has read it:
//! no bytes, no queue and no other task in between. It speaks HTTP/1.1 and
//! HTTP/2 on two ports, with TLS on one of them.
mod certificates;
mod forward;
mod page;
mod routes;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use parking_lot::RwLock;
use shim::network::{Closing, Opening, Switch, leftover};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub(super) use self::certificates::Certificates;
pub use self::certificates::Issue;
use self::forward::{Caller, Forwarder};
use self::routes::{Classes, Routes};
pub(super) use self::status::run as keep_status;
use super::Tasks;
use super::changes::{PAUSE, Wakeup};
use crate::client::Informers;

/// Connections at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a client may take over its headers, and stay idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take over its TLS handshake, as in nginx.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of headers; nginx takes 32 KiB, Envoy 60.
const MAX_HEADERS: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection, as many as RFC 9113 recommends at least.
const MAX_STREAMS: u32 = 100;
/// How often an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long to wait when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The routes in force; a new table replaces the old one in one step.
pub(super) type Shared = Arc<RwLock<Arc<Routes>>>;

/// Keeps the routes in step with Ingresses and Services until it is dropped;
/// `complete` is notified once they are known.
pub(super) async fn follow(informers: &Informers, shared: &Shared, complete: &Notify) {
    let (ingresses, services) = (informers.of::<Ingress>(), informers.of::<Service>());
    let classes = informers.of::<IngressClass>();
    let wakeup = Wakeup::default();
    wakeup.on(&ingresses);
    wakeup.on(&classes);
    wakeup.on(&services);
    tokio::join!(ingresses.synced(), classes.synced(), services.synced());
    loop {
        let ours = Classes::of(&classes.list());
        let routes = Routes::new(&ingresses.list(), &ours, &services.list());
        *shared.write() = Arc::new(routes);
        complete.notify_one();
        sleep(PAUSE).await;
        wakeup.wait().await;
    }
}

/// What all connections of the gateway share, on whichever port they come.
pub(super) struct Gateway {
    forwarder: Arc<Forwarder>,
    connections: Arc<Semaphore>,
    tasks: Tasks,
}

impl Gateway {
    /// A gateway whose connections `tasks` carry to their end.
    pub(super) fn new(routes: Shared, switch: Switch, tasks: Tasks) -> Self {
        Self {
            forwarder: Arc::new(Forwarder::new(routes, switch, tasks.clone())),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            tasks,
        }
    }

    /// Serves connections until it is dropped.
    pub(super) async fn serve(&self, listener: &TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let Ok(slot) = self.connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (forwarder, tasks) = (self.forwarder.clone(), self.tasks.clone());
                    let tls = tls.clone();
                    let proto = if tls.is_some() { "https" } else { "http" };
                    let caller = Caller::new(peer, proto, slot);
                    self.tasks.spawn_to_end(async move {
                        match tls {
                            None => plain(stream, caller, forwarder, tasks).await,
                            Some(tls) => secure(&tls, stream, caller, forwarder, tasks).await,
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection to the gateway not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn plain(stream: TcpStream, caller: Caller, forwarder: Arc<Forwarder>, tasks: Tasks) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection to the gateway was gone at once");
        return;
    }
    connection(stream, caller, forwarder, tasks).await;
}

async fn secure(
    tls: &TlsAcceptor,
    stream: TcpStream,
    caller: Caller,
    forwarder: Arc<Forwarder>,
    tasks: Tasks,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection to the gateway was gone at once");
        return;
    }
    let stopping = tasks.stopping();
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => shaken,
        () = stopping.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => connection(stream, caller, forwarder, tasks).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake with the gateway failed"),
        Err(_) => tracing::debug!("TLS handshake with the gateway took too long"),
    }
}

async fn connection<T>(stream: T, caller: Caller, forwarder: Arc<Forwarder>, tasks: Tasks)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stopping = tasks.stopping();
    let mut builder = auto::Builder::new(tasks.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(MAX_HEADERS as u32)
        .max_concurrent_streams(MAX_STREAMS);
    let (caller, stream) = (Arc::new(caller), Closing::new(stream));
    let upgraded = stream.upgraded();
    let service = hyper::service::service_fn(move |request| {
        let (forwarder, caller) = (forwarder.clone(), caller.clone());
        let (tasks, upgraded) = (tasks.clone(), upgraded.clone());
        async move {
            let forward = |request| forwarder.answer(request, &caller);
            let response = leftover::answer(&tasks, request, forward).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                upgraded.set();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(Opening::new(stream, HEADER_TIMEOUT));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection to the gateway ended badly");
    }
}

#[cfg(test)]
mod tests;
