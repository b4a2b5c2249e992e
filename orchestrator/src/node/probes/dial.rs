//! How probes and hooks reach a Pod: through the pod network, never a socket.
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction};
use shim::network::{Body, ConnectError, Peer, Refused, RefusedReason, Request, Switch};

use super::grpc;

/// Bytes of an answer that are read before the rest is dropped, as in the kubelet.
const MAX_BODY: usize = 10 << 10;

/// What a probe got back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The status of the answer.
    pub status: StatusCode,
}

/// Reaches Pods from their node.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// Sends a request and reads the answer to its end; otherwise why not, in words.
    async fn request(&self, to: SocketAddr, request: Request) -> Result<Probed, String>;
    /// Whether a connection comes about; otherwise why not, in words.
    async fn connect(&self, to: SocketAddr) -> Result<(), String>;
    /// Whether a gRPC service says that it serves; otherwise why not, in words.
    async fn grpc(&self, to: SocketAddr, service: &str) -> Result<(), String>;
}

#[async_trait]
impl Dialer for Switch {
    async fn request(&self, to: SocketAddr, request: Request) -> Result<Probed, String> {
        let peer = Peer { source: SocketAddr::new(self.node_ip(), 0) };
        let answer = Self::request(self, to, request, peer).await;
        let answer = answer.map_err(|refused| refusal(to, &refused))?;
        let (head, mut body) = answer.into_parts();
        // Only the status counts: a body that breaks off or is too long does no harm.
        let mut left = MAX_BODY;
        while let Some(Ok(frame)) = body.frame().await
            && left > 0
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
        Ok(Probed { status: head.status })
    }

    async fn connect(&self, to: SocketAddr) -> Result<(), String> {
        self.dial(to).await.map(drop).map_err(|error| in_words(to, error))
    }

    async fn grpc(&self, to: SocketAddr, service: &str) -> Result<(), String> {
        let stream = self.dial(to).await.map_err(|error| {
            let why = in_words(to, error);
            format!("error: failed to connect service {:?}: {why}", to.to_string())
        })?;
        grpc::check(stream, to, service).await
    }
}

fn in_words(to: SocketAddr, error: ConnectError) -> String {
    match error {
        ConnectError::Refused(_) => format!("dial tcp {to}: connect: connection refused"),
        error => format!("dial tcp {to}: {error}"),
    }
}

/// What a request that nobody answers meets, in Go's words where it has them.
fn refusal(to: SocketAddr, Refused { reason, .. }: &Refused) -> String {
    match reason {
        RefusedReason::NotListening => format!("dial tcp {to}: connect: connection refused"),
        RefusedReason::Saturated => {
            format!("dial tcp {to}: it serves as many requests as it may, and more wait")
        }
    }
}

/// A request that a probe or a hook makes.
pub(in crate::node) struct HttpGet {
    to: SocketAddr,
    url: String,
    request: Request,
}

impl HttpGet {
    /// The request that an `httpGet` describes, to a Pod at `ip`.
    pub fn of(action: &HTTPGetAction, ports: &[ContainerPort], ip: IpAddr) -> Result<Self, String> {
        if action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
            return Err("https is not served inside a Wasm sandbox; use scheme HTTP".to_owned());
        }
        let to = SocketAddr::new(
            super::host(action.host.as_deref(), ip)?,
            super::port(&action.port, ports)?,
        );
        let path = action.path.as_deref().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("http://{to}{slash}{path}");
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let mut request =
            Request::new(Body::new(Empty::<Bytes>::new().map_err(|never| match never {})));
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, HeaderValue::try_from(to.to_string()).map_err(text)?);
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
        for header in action.http_headers.iter().flatten() {
            let name = HeaderName::try_from(header.name.as_str()).map_err(text)?;
            headers.insert(name, HeaderValue::try_from(header.value.as_str()).map_err(text)?);
        }
        Ok(Self { to, url, request })
    }
}

/// Makes the request; every status from 200 up to 399 is good.
pub(in crate::node) async fn http_get(dialer: &dyn Dialer, get: HttpGet) -> Result<(), String> {
    let HttpGet { to, url, request } = get;
    let Probed { status } =
        dialer.request(to, request).await.map_err(|why| format!("Get {url:?}: {why}"))?;
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_words() {
        let told = |reason| {
            let body = Body::new(Empty::<Bytes>::new().map_err(|never| match never {}));
            let refused = Refused { request: Request::new(body), reason };
            refusal(([10, 64, 0, 5], 80).into(), &refused)
        };
        let nobody = "dial tcp 10.64.0.5:80: connect: connection refused";
        assert_eq!(told(RefusedReason::NotListening), nobody);
        let full = "dial tcp 10.64.0.5:80: it serves as many requests as it may, and more wait";
        assert_eq!(told(RefusedReason::Saturated), full);
    }
}
