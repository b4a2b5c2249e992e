//! The listeners of the registry and of the node's API.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use registry::server::Authenticator;
use registry::store::Repositories;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::api::User;
use crate::auth::authorizer::MASTERS;
use crate::auth::{Pki, certificate};

/// How long a client may take for a handshake and the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections to the node's API at once: few ask, and each costs some 50 KiB.
const MAX_CONNECTIONS: usize = 256;

/// Connections to the registry at once: what a busy day of builds opens, each a stream of blobs
/// that never lies in memory.
const MAX_REGISTRY_CONNECTIONS: usize = 512;

/// How long a connection to the registry may be open between two requests.
const IDLE: Duration = Duration::from_secs(60);

/// How long to wait when the operating system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the registry in plain HTTP, and keeps it clean, until `stop`.
pub(super) async fn registry(
    listener: TcpListener,
    repositories: Repositories,
    pki: Arc<Pki>,
    stop: CancellationToken,
) {
    let writers = Arc::new(Writers(pki));
    let router = registry::server::router(repositories.clone(), writers, Scheme::HTTP);
    let serving = accept(listener, MAX_REGISTRY_CONNECTIONS, &stop, |stream| {
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        async move {
            let mut http = auto::Builder::new(TokioExecutor::new());
            http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
            let connection = http.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            // Who is in the middle of a push may finish the request, and no other.
            tokio::time::timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
        }
    });
    tokio::select! {
        () = serving => {}
        () = repositories.collect_forever() => {}
    }
}

/// Whoever has a token of an administrator may write.
struct Writers(Arc<Pki>);

impl Authenticator for Writers {
    fn may_write(&self, _: &str, password: &str) -> bool {
        let claims = self.0.tokens().verify(password, Timestamp::now());
        claims.is_ok_and(|claims| is_master(&claims.user()))
    }
}

/// Where the process is asked to stop the whole cluster.
pub(super) const STOP: &str = "/podium.dev/stop";

/// The node's API, and what only this process answers: when it is asked to stop, `asked` is told.
pub(super) fn with_stop(router: Router, asked: CancellationToken) -> Router {
    let stop = move || {
        asked.cancel();
        std::future::ready(axum::Json(serde_json::json!({})))
    };
    router.route(STOP, axum::routing::post(stop))
}

/// Serves the node's API over TLS to those who may do everything, until `stop`.
pub(super) async fn node_api(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    accept(listener, MAX_CONNECTIONS, &stop, |stream| {
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        async move {
            let ended = stop.run_until_cancelled(connection(&acceptor, stream, router)).await;
            ended.unwrap_or(Ok(()))
        }
    })
    .await;
}

/// Takes connections, at most so many at once, until `stop`; then waits for their ends.
async fn accept<F>(
    listener: TcpListener,
    limit: usize,
    stop: &CancellationToken,
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (connections, free) = (TaskTracker::new(), Arc::new(Semaphore::new(limit)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One too many is closed, not queued.
        let Ok(permit) = free.clone().try_acquire_owned() else { continue };
        let serving = serve(stream);
        connections.spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(error, "connection ended");
            }
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates();
    let user = chain.and_then(|chain| chain.first()).map(|leaf| certificate::user(leaf));
    let allowed = user.transpose()?.is_some_and(|user| is_master(&user));
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            if allowed || request.uri().path() == "/healthz" {
                return router.oneshot(request.map(Body::new)).await;
            }
            let mut refused = Response::new(Body::from("Unauthorized"));
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(refused)
        }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    http.serve_connection(TokioIo::new(stream), service).await
}

fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}
