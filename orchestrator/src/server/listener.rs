//! The listener: TLS, HTTP/1.1 and HTTP/2, within bounds, ended gracefully.
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::linger::{Leftovers, throw_away};
use super::{Server, pipeline};
use crate::api::User;
use crate::auth::certificate;

/// How long a client may take for its handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may be idle: longer than clients keep one, which would
/// else be closed under a request that is on its way.
const IDLE: Duration = Duration::from_secs(120);

/// How long requests may go on after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long to wait when the operating system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// As many bytes as the head of a request may have; a token and a selector fit well.
const HEADERS_MAX: u32 = 64 * 1024;

/// As many requests as one connection may have in progress, as in Kubernetes.
const STREAMS_MAX: u32 = 250;

/// Serves connections until `stop`, then lets what is in progress finish.
pub async fn serve(
    server: Server,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    let free = Arc::new(Semaphore::new(server.config().max_connections));
    loop {
        let permit = tokio::select! {
            permit = free.clone().acquire_owned() => permit,
            () = stop.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, server, stop) = (acceptor.clone(), server.clone(), stop.clone());
        connections.spawn(async move {
            if let Some(stream) = handshake(&acceptor, stream).await {
                connection(server, stream, stop).await;
            }
            drop(permit);
        });
    }
    server.begin_stop();
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time");
    }
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    // Answers are small and written whole: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "cannot turn off Nagle's algorithm");
    }
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("TLS handshake took too long");
            None
        }
    }
}

async fn connection(server: Server, stream: TlsStream<TcpStream>, stop: CancellationToken) {
    let user = match peer(&stream) {
        Ok(user) => user,
        Err(error) => {
            tracing::debug!(error = %error, "client certificate refused");
            return;
        }
    };
    let (leftovers, left) = Leftovers::new();
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, user) = (server.clone(), user.clone());
        let mut request = leftovers.catch(request);
        async move {
            if let Some(user) = user {
                request.extensions_mut().insert(user);
            }
            Ok::<_, std::convert::Infallible>(pipeline::handle(&server, request).await)
        }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEADERS_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADERS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        ended = served => ended,
        never = throw_away(left) => match never {},
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection ended");
    }
}

/// Whom the client's certificate names, if it showed one; TLS has verified it.
fn peer(stream: &TlsStream<TcpStream>) -> Result<Option<User>, certificate::CertificateError> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    leaf.map(|leaf| certificate::user(leaf)).transpose()
}
