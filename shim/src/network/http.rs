//! Between bytes and calls: connections to a function, and requests to a guest's socket.
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::listener::HttpPort;
use super::opening::Opening;
use super::{
    Body, Closing, Peer, Refused, RefusedReason, Request, Response, Stream, Switch, leftover,
};

/// How long a caller may take over its headers; idle connections are closed after it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an HTTP/2 caller is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of headers in one request; nginx and Envoy allow about as many.
const MAX_HEADERS: usize = 64 << 10;
/// Requests at once on one connection (HTTP/2), as RFC 9113 recommends at least.
const MAX_STREAMS: u32 = 100;

/// Runs what hyper spawns as tasks of the switch.
#[derive(Clone)]
struct Tasks(Switch);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Who answers what comes over a connection.
#[derive(Debug, Clone)]
pub(super) enum Called {
    /// One function, until its port closes.
    Port(Arc<HttpPort>),
    /// Whichever function is behind a Service when a request comes.
    Service(SocketAddr),
}

impl Called {
    async fn call(&self, switch: &Switch, request: Request, peer: Peer) -> Response {
        let answer = match self {
            Self::Port(port) => port.call(request, peer).await,
            Self::Service(address) => switch.request(*address, request, peer).await,
        };
        answer.unwrap_or_else(|refused| unavailable(refused.reason))
    }

    fn closing(&self) -> CancellationToken {
        match self {
            Self::Port(port) => port.closing.clone(),
            Self::Service(_) => CancellationToken::new(),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 on a connection until it ends or the port closes.
pub(super) async fn serve(switch: Switch, stream: Stream, called: Called) {
    let peer = Peer { source: stream.peer_addr() };
    let (closing, tasks) = (called.closing(), Tasks(switch));
    let mut builder = auto::Builder::new(tasks.clone());
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let (called, peer, tasks) = (called.clone(), peer.clone(), tasks.clone());
        async move {
            let call = |request| called.call(&tasks.0, request, peer);
            Ok::<_, Infallible>(leftover::answer(&tasks, request, call).await)
        }
    });
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
    let stream = TokioIo::new(Opening::new(Closing::new(stream), HEADER_TIMEOUT));
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection to a function ended badly");
    }
}

/// A request that was not answered.
pub(crate) struct Unanswered {
    /// The request, if none of it was sent.
    pub(crate) request: Option<Request>,
    /// Why.
    pub(crate) source: hyper::Error,
}

/// Writes a request to a connection and reads the answer, as HTTP/2 where it
/// cannot be HTTP/1.1.
pub(super) async fn send<T>(
    switch: &Switch,
    connection: T,
    request: Request,
) -> Result<Response, Unanswered>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if is_grpc(&request) {
        send_http2(switch, connection, request).await
    } else {
        send_http1(switch, connection, request).await
    }
}

async fn send_http1<T>(
    switch: &Switch,
    connection: T,
    mut request: Request,
) -> Result<Response, Unanswered>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEADERS)
        .handshake::<_, Body>(TokioIo::new(connection))
        .await;
    let (mut sender, connection) = match shaken {
        Ok(shaken) => shaken,
        Err(source) => return Err(Unanswered { request: Some(request), source }),
    };
    switch.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection of a request ended badly");
        }
    });
    to_origin_form(&mut request);
    match sender.try_send_request(request).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(mut error) => {
            let request = error.take_message();
            Err(Unanswered { request, source: error.into_error() })
        }
    }
}

async fn send_http2<T>(
    switch: &Switch,
    connection: T,
    mut request: Request,
) -> Result<Response, Unanswered>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = hyper::client::conn::http2::Builder::new(Tasks(switch.clone()))
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS as u32)
        .handshake::<_, Body>(TokioIo::new(connection))
        .await;
    let (mut sender, connection) = match shaken {
        Ok(shaken) => shaken,
        Err(source) => return Err(Unanswered { request: Some(request), source }),
    };
    switch.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection of a request ended badly");
        }
    });
    to_absolute_form(&mut request);
    match sender.try_send_request(request).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(mut error) => {
            let request = error.take_message();
            Err(Unanswered { request, source: error.into_error() })
        }
    }
}

/// gRPC has no other form than HTTP/2.
fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A request target as HTTP/2 has it: with the authority that `Host` names.
fn to_absolute_form(request: &mut Request) {
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.authority.is_none() {
        parts.authority = host.and_then(|host| host.as_bytes().try_into().ok());
    }
    if parts.authority.is_some() && parts.scheme.is_none() {
        parts.scheme = Some(http::uri::Scheme::HTTP);
    }
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    // Only an authority without a scheme could fail, and it has one.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
}

/// Sends a request to a guest's own socket. It comes back if none of it was
/// sent; afterwards a failure is a 502.
pub(super) async fn send_to_guest(
    switch: &Switch,
    stream: Stream,
    request: Request,
    http2: bool,
) -> Result<Response, Refused> {
    let sent = if http2 {
        send_http2(switch, stream, request).await
    } else {
        send(switch, stream, request).await
    };
    match sent {
        Ok(response) => Ok(response),
        Err(Unanswered { request: Some(request), .. }) => {
            Err(Refused { request, reason: RefusedReason::NotListening })
        }
        Err(Unanswered { request: None, source }) => {
            tracing::debug!(error = %source, "guest did not answer");
            Ok(status(StatusCode::BAD_GATEWAY))
        }
    }
}

/// A request target as HTTP/1.1 has it: the path alone, with the authority in `Host`.
fn to_origin_form(request: &mut Request) {
    let uri = request.uri();
    if let Some(authority) = uri.authority()
        && !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.version_mut() = Version::HTTP_11;
}

/// The answer for a caller who cannot take a refusal.
fn unavailable(reason: RefusedReason) -> Response {
    let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
    if reason == RefusedReason::Saturated {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http::header::TE;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper_util::rt::TokioExecutor;

    use super::*;
    use crate::network::{
        AttachConfig, Condition, Endpoint, HttpHandler, PodNet, Protocol, ServicePort, ServiceTable,
    };

    /// A guest that answers as gRPC servers do: a message, then its status in trailers.
    fn serve_http2(pod: &PodNet) {
        let mut listener = pod.listen_tcp("0.0.0.0:80".parse().unwrap(), 16).unwrap();
        pod.switch().spawn(async move {
            let service =
                hyper::service::service_fn(|request: http::Request<Incoming>| async move {
                    let (version, uri) = (request.version(), request.uri().clone());
                    let said = format!("{version:?} {uri} {:?}", request.headers().get(TE));
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    let frames = [Frame::data(Bytes::from(said)), Frame::trailers(trailers)];
                    let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
                    Ok::<_, Infallible>(http::Response::new(StreamBody::new(frames)))
                });
            while let Some(stream) = listener.accept().await {
                let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "the test's client has gone");
                }
            }
        });
    }

    async fn answer(response: Result<Response, Refused>) -> (String, HeaderMap) {
        let collected = response.unwrap().into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
    }

    #[tokio::test]
    async fn grpc_reaches_a_guest_in_http_2_and_its_trailers_the_caller() {
        let switch = Switch::default();
        let pod = switch.attach(AttachConfig::default()).unwrap();
        serve_http2(&pod);
        let request = http::Request::post("/shop.Cart/Get")
            .header(HOST, "cart.shop:80")
            .header(CONTENT_TYPE, "application/grpc+proto")
            .header(TE, "trailers")
            .body(Body::default())
            .unwrap();
        let peer = Peer { source: (switch.node_ip(), 50_000).into() };
        let (said, trailers) =
            answer(switch.request((pod.ip(), 80).into(), request, peer).await).await;
        assert_eq!(said, "HTTP/2.0 http://cart.shop:80/shop.Cart/Get Some(\"trailers\")");
        assert_eq!(trailers["grpc-status"], "0");
        switch.shutdown().await;
    }

    #[tokio::test]
    async fn a_port_of_h2c_is_spoken_to_in_http_2() {
        let switch = Switch::default();
        let pod = switch.attach(AttachConfig::default()).unwrap();
        serve_http2(&pod);
        let service = "10.43.0.9:80".parse().unwrap();
        switch.set_services(ServiceTable {
            ports: vec![ServicePort {
                address: service,
                protocol: Protocol::Tcp,
                session_affinity: false,
                host_endpoints: false,
                http2: true,
                endpoints: vec![Endpoint {
                    address: (pod.ip(), 80).into(),
                    condition: Condition::Ready,
                }],
            }],
        });
        let request = http::Request::get("http://web.shop/x").body(Body::default()).unwrap();
        let peer = Peer { source: (switch.node_ip(), 50_000).into() };
        let (said, _) = answer(switch.request(service, request, peer).await).await;
        assert_eq!(said, "HTTP/2.0 http://web.shop/x None");
        switch.shutdown().await;
    }

    /// Answers its name.
    struct Named(&'static str);

    #[async_trait::async_trait]
    impl HttpHandler for Named {
        async fn handle(&self, _: Request, _: Peer) -> Result<Response, Refused> {
            let body = http_body_util::Full::from(self.0).map_err(|never| match never {});
            Ok(Response::new(body.boxed_unsync()))
        }
    }

    #[tokio::test]
    async fn a_connection_to_a_service_outlives_the_function_that_answered_first() {
        let switch = Switch::default();
        let service = "10.43.0.9:80".parse().unwrap();
        let lead_to = |pod: &PodNet| {
            let address = (pod.ip(), 80).into();
            switch.set_services(ServiceTable {
                ports: vec![ServicePort {
                    address: service,
                    protocol: Protocol::Tcp,
                    session_affinity: false,
                    host_endpoints: false,
                    http2: false,
                    endpoints: vec![Endpoint { address, condition: Condition::Ready }],
                }],
            });
        };
        let [first, second] = [(); 2].map(|()| switch.attach(AttachConfig::default()).unwrap());
        let port = first.listen_http(80, Arc::new(Named("first"))).unwrap();
        lead_to(&first);
        let stream = TokioIo::new(switch.dial(service).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Body>(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut ask = async || {
            sender.ready().await.unwrap();
            let request = http::Request::get("/").header(HOST, "web").body(Body::default());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        };
        assert_eq!(ask().await, "first");

        let _port = second.listen_http(80, Arc::new(Named("second"))).unwrap();
        port.close();
        lead_to(&second);
        port.drained().await;
        drop((port, first));
        assert_eq!(ask().await, "second");
        switch.shutdown().await;
        drop(connection.await);
    }
}
