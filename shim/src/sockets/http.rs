//! Outgoing `wasi:http` through the switch.
//!
//! A request to a function of the cluster is a call; one to a guest's socket or
//! to the outside is written to a connection. What a guest has under way counts
//! against its Pod's sockets until the answer is read in full.
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::uri::Scheme;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::tls::{self, TlsError};
use crate::network::{
    Body, BoxError, ConnectError, PodNet, Refused, RefusedReason, Request, Response, SocketPermit,
    Stream,
};

/// How long each step may take where the guest does not say; as in wasmtime's own client.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The domain under which Spin's own host offers an application's components to each other.
const SPIN_DOMAIN: &str = ".spin.internal";

/// What wasmtime runs until the connection of a request is done.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The answer to a request and its connection.
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Connection), Error>> + Send>;

/// The components of a Spin application, as they call each other.
#[async_trait]
pub trait Neighbours: Send + Sync {
    /// The answer of the component with this name; `None` if there is none.
    async fn call(&self, component: &str, request: Request) -> Option<Result<Response, Refused>>;
}

/// Sends the requests of one Pod's guests.
#[derive(Clone)]
pub struct HttpHooks {
    pod: PodNet,
    neighbours: Option<Arc<dyn Neighbours>>,
}

impl HttpHooks {
    /// Requests from this Pod, and to these.
    pub fn new(pod: PodNet, neighbours: Option<Arc<dyn Neighbours>>) -> Self {
        Self { pod, neighbours }
    }
}

impl WasiHttpHooks for HttpHooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Connection,
    ) -> Sent {
        let hooks = self.clone();
        let permit = self.pod.socket_permit();
        Box::new(async move {
            let permit = permit.ok_or(Error::ConnectionLimitReached)?;
            let options = options.unwrap_or_default();
            let idle = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
            let response = send(&hooks, request, options).await?;
            let response = response.map(|body| Incoming::new(body, idle, permit).boxed_unsync());
            // The switch runs the connection.
            let connection: Connection = Box::new(std::future::ready(Ok(())));
            Ok((response, connection))
        })
    }
}

async fn send(
    HttpHooks { pod, neighbours }: &HttpHooks,
    request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response, Error> {
    let connect = options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT);
    let first_byte = options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT);
    let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    let host = authority.host().trim_matches(['[', ']']).to_string();
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let request =
        request.map(|body| body.map_err(|error| Box::new(error) as BoxError).boxed_unsync());
    if let Some(component) = host.strip_suffix(SPIN_DOMAIN) {
        let answer = call_neighbour(neighbours.as_deref(), component, request);
        let limit = connect.saturating_add(first_byte);
        return timeout(limit, answer).await.map_err(|_| Error::ConnectionReadTimeout)?;
    }
    let addresses = timeout(connect, pod.resolve(&host)).await.map_err(|_| Error::DnsTimeout)?;
    if addresses.is_empty() {
        let rcode = Some("NXDOMAIN".to_string());
        return Err(Error::DnsError { rcode, info_code: None });
    }
    let answer = async {
        let inside = is_inside(pod, &addresses);
        if !secure && inside {
            return call(pod, &addresses, port, request).await;
        }
        let stream = timeout(connect, open(pod, &addresses, port))
            .await
            .map_err(|_| Error::ConnectionTimeout)??;
        let switch = pod.switch();
        let sent = if secure {
            let stream = timeout(connect, tls::connect(switch, &host, inside, stream))
                .await
                .map_err(|_| Error::ConnectionTimeout)?
                .map_err(|error| tls_error(&host, error))?;
            switch.send_over(stream, request).await
        } else {
            switch.send_over(stream, request).await
        };
        sent.map_err(|unanswered| Error::Hyper(unanswered.source))
    };
    timeout(connect.saturating_add(first_byte), answer)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
}

fn is_inside(pod: &PodNet, addresses: &[IpAddr]) -> bool {
    addresses.iter().all(|ip| ip.is_loopback() || pod.switch().is_cluster(*ip))
}

/// Hands the request to another component of the application.
async fn call_neighbour(
    neighbours: Option<&dyn Neighbours>,
    component: &str,
    request: Request,
) -> Result<Response, Error> {
    let answer = match neighbours {
        Some(neighbours) => neighbours.call(component, request).await,
        None => None,
    };
    match answer {
        Some(Ok(response)) => Ok(response),
        Some(Err(Refused { reason: RefusedReason::Saturated, .. })) => Ok(saturated()),
        Some(Err(_)) => Err(Error::ConnectionRefused),
        None => Err(Error::InternalError(Some(format!(
            "{component}{SPIN_DOMAIN}: this application has no such component; call what is outside of it by the name of its Service"
        )))),
    }
}

fn saturated() -> Response {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Hands the request to the first address that takes it.
async fn call(
    pod: &PodNet,
    addresses: &[IpAddr],
    port: u16,
    mut request: Request,
) -> Result<Response, Error> {
    let mut is_full = false;
    for ip in addresses {
        let Refused { request: back, reason } =
            match pod.request(SocketAddr::new(*ip, port), request).await {
                Ok(response) => return Ok(response),
                Err(refused) => refused,
            };
        request = back;
        is_full |= reason == RefusedReason::Saturated;
    }
    if !is_full {
        return Err(Error::ConnectionRefused);
    }
    Ok(saturated())
}

/// Connects to the first address that can be.
async fn open(pod: &PodNet, addresses: &[IpAddr], port: u16) -> Result<Stream, Error> {
    let mut last = Error::DestinationUnavailable;
    for ip in addresses {
        match pod.connect(SocketAddr::new(*ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = connect_error(&error),
        }
    }
    Err(last)
}

fn connect_error(error: &ConnectError) -> Error {
    match error {
        ConnectError::Refused(_) => Error::ConnectionRefused,
        ConnectError::Denied(_) | ConnectError::Detached => Error::DestinationIpProhibited,
        ConnectError::Unreachable(_) | ConnectError::TooLarge(_) => Error::DestinationIpUnroutable,
        ConnectError::TimedOut(_) => Error::ConnectionTimeout,
        ConnectError::Outside { .. } => Error::DestinationUnavailable,
    }
}

fn tls_error(host: &str, error: TlsError) -> Error {
    tracing::debug!(host, error = &error as &dyn std::error::Error, "request not secured");
    match error {
        TlsError::NoRoots | TlsError::Configure(_) => Error::InternalError(Some(error.to_string())),
        TlsError::Name(_) => Error::HttpRequestUriInvalid,
        TlsError::Handshake(source) => {
            match source.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                _ => Error::Tls(source),
            }
        }
    }
}

/// The body of an answer, as a guest reads it.
struct Incoming {
    body: Body,
    idle: Duration,
    /// Set when a frame is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: SocketPermit,
}

impl Incoming {
    fn new(body: Body, idle: Duration, permit: SocketPermit) -> Self {
        Self { body, idle, deadline: None, _permit: permit }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.deadline = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(body_error)));
        }
        let idle = self.idle;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + idle)));
        deadline.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn body_error(error: BoxError) -> Error {
    match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Hyper(*error),
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::InternalError(Some(error.to_string())),
        },
    }
}
