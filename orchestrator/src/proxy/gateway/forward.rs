//! One request through the gateway.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ALLOW, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use shim::network::{Peer, RefusedReason, Request, Response, Switch};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::page::{come_again, page};
use super::routes::Target;
use super::{Shared, Tasks};

/// How long a backend may take until its headers come; a function's own limit is shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers that are about one connection, not about the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Who is at the other end of a connection, in the words of headers.
pub(super) struct Caller {
    source: SocketAddr,
    ip: HeaderValue,
    proto: &'static str,
    /// `for` and `proto` of RFC 7239; the host follows.
    forwarded: String,
    slot: Slot,
}

/// A place among the connections of the gateway, for as long as any part of one goes on.
type Slot = Arc<OwnedSemaphorePermit>;

impl Caller {
    /// A client at `source` that speaks `proto`, `http` or `https`.
    pub(super) fn new(source: SocketAddr, proto: &'static str, slot: OwnedSemaphorePermit) -> Self {
        let ip = source.ip().to_canonical();
        let node = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        Self {
            source,
            ip: HeaderValue::try_from(ip.to_string()).expect("an address is a header's value"),
            proto,
            forwarded: format!("for={node};proto={proto};host="),
            slot: Arc::new(slot),
        }
    }

    /// `Forwarded` as a whole.
    fn forwarded(&self, host: &HeaderValue) -> Option<HeaderValue> {
        // Quoted, as a port's colon is no token; a quote would end it early.
        let host = host.to_str().ok().filter(|host| !host.contains(['"', '\\']))?;
        let mut text = String::with_capacity(self.forwarded.len() + host.len() + 2);
        text.push_str(&self.forwarded);
        text.push('"');
        text.push_str(host);
        text.push('"');
        HeaderValue::try_from(text).ok()
    }
}

/// Sends requests where the routes say.
pub(super) struct Forwarder {
    routes: Shared,
    switch: Switch,
    tasks: Tasks,
}

impl Forwarder {
    pub(super) fn new(routes: Shared, switch: Switch, tasks: Tasks) -> Self {
        Self { routes, switch, tasks }
    }

    /// Answers one request; every failure is a page.
    pub(super) async fn answer(&self, request: Request, caller: &Caller) -> Response {
        if request.method() == Method::CONNECT {
            return no_tunnel();
        }
        if request.headers().get_all(HOST).iter().nth(1).is_some() {
            return page(StatusCode::BAD_REQUEST, "the request has more than one Host header");
        }
        let Some(host) = host_of(&request).map(str::to_ascii_lowercase) else {
            return page(StatusCode::BAD_REQUEST, "the request names no host");
        };
        let routes = Arc::clone(&self.routes.read());
        let path = request.uri().path();
        match routes.find(&host, path) {
            Some(Target::Service(to)) => self.forward(*to, &host, request, caller).await,
            Some(Target::Missing(why)) => page(StatusCode::SERVICE_UNAVAILABLE, why),
            None => {
                let why = format!("no Ingress or Service answers for {host}{path}");
                page(StatusCode::NOT_FOUND, &why)
            }
        }
    }

    async fn forward(
        &self,
        to: SocketAddr,
        host: &str,
        mut request: Request,
        caller: &Caller,
    ) -> Response {
        let upgrade = upgrade_of(request.headers());
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        set_headers(&mut request, caller, upgrade.as_ref());
        let answer = self.switch.request(to, request, Peer { source: caller.source });
        let mut response = match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => return unavailable(host, refused.reason),
            Err(_) => {
                return page(StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time");
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let backend = hyper::upgrade::on(&mut response);
            match client {
                Some(client) => self.tasks.spawn(splice(client, backend, caller.slot.clone())),
                None => return page(StatusCode::BAD_GATEWAY, "nobody asked for an upgrade"),
            }
        } else {
            remove_hop_by_hop(response.headers_mut());
        }
        response
    }
}

/// Carries an upgraded connection, such as a WebSocket, which counts as one still.
async fn splice(client: OnUpgrade, backend: OnUpgrade, _slot: Slot) {
    let (client, backend) = match tokio::try_join!(client, backend) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "connection not upgraded");
            return;
        }
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "upgraded connection ended badly");
    }
}

fn unavailable(host: &str, reason: RefusedReason) -> Response {
    match reason {
        RefusedReason::NotListening => come_again(&format!(
            "no Pod behind {host} is ready and listens on the target port of its Service"
        )),
        RefusedReason::Saturated => come_again(&format!("every Pod behind {host} is busy")),
    }
}

/// `CONNECT` asks a forward proxy for a way to anywhere.
fn no_tunnel() -> Response {
    let why = "this gateway opens no tunnels: send the request itself, with its host and path";
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, why);
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// The host that was asked for, without its port.
fn host_of<B>(request: &http::Request<B>) -> Option<&str> {
    let from_uri = request.uri().host();
    let from_header = || {
        let value = request.headers().get(HOST)?.to_str().ok()?;
        // An IPv6 literal stands in brackets; it has colons of its own.
        let end = value.find(']').map_or(0, |bracket| bracket + 1);
        let port = value[end..].find(':').map_or(value.len(), |colon| end + colon);
        Some(&value[..port])
    };
    from_uri.or_else(from_header).filter(|host| !host.is_empty())
}

/// The protocol that the client wants to go on in, where it is asked for properly.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let tokens = headers.get(CONNECTION)?.to_str().ok()?;
    let asked = tokens.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

fn set_headers<B>(request: &mut http::Request<B>, caller: &Caller, upgrade: Option<&HeaderValue>) {
    // Over HTTP/2 the host stands in the URI alone.
    let authority = request.uri().authority().map(|authority| authority.as_str().to_string());
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    let headers = request.headers_mut();
    // The one such header that is of use beyond: gRPC asks for trailers with it.
    let trailers = headers
        .get(TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| te.split(',').any(|token| token.trim().eq_ignore_ascii_case("trailers")));
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    if let Some(host) = authority.and_then(|host| HeaderValue::try_from(host).ok()) {
        headers.insert(HOST, host);
    }
    // What a stranger says of earlier hops is not to be believed.
    headers.insert(FORWARDED_FOR, caller.ip.clone());
    headers.insert(REAL_IP, caller.ip.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(caller.proto));
    headers.remove(FORWARDED);
    if let Some(host) = headers.get(HOST).cloned() {
        if let Some(forwarded) = caller.forwarded(&host) {
            headers.insert(FORWARDED, forwarded);
        }
        headers.insert(FORWARDED_HOST, host);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(CONNECTION).and_then(|value| value.to_str().ok()) {
        let named: Vec<HeaderName> =
            named.split(',').filter_map(|name| HeaderName::try_from(name.trim()).ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], uri: &str) -> http::Request<()> {
        let mut request = http::Request::get(uri).body(()).unwrap();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    fn caller(source: &str, proto: &'static str) -> Caller {
        let slot = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        Caller::new(source.parse().unwrap(), proto, slot)
    }

    #[test]
    fn the_host_stands_without_its_port() {
        for (header, expected) in [
            ("hello.localhost:8080", Some("hello.localhost")),
            ("hello.localhost", Some("hello.localhost")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            (":80", None),
        ] {
            assert_eq!(host_of(&request(&[("host", header)], "/x")), expected, "{header}");
        }
        assert_eq!(host_of(&request(&[], "http://in.uri:99/x")), Some("in.uri"));
        assert_eq!(host_of(&request(&[], "/x")), None);
    }

    #[test]
    fn a_backend_is_told_who_asked_and_nothing_of_the_connection() {
        let mut request = request(
            &[
                ("connection", "keep-alive, x-secret"),
                ("x-secret", "1"),
                ("te", "deflate"),
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("accept", "*/*"),
            ],
            "http://hello.test:8080/a?b",
        );
        let caller = self::caller("[::ffff:192.0.2.7]:1234", "https");
        set_headers(&mut request, &caller, None);
        let headers = request.headers();
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(headers["host"], "hello.test:8080");
        assert_eq!(headers["x-forwarded-host"], "hello.test:8080");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        let forwarded = "for=192.0.2.7;proto=https;host=\"hello.test:8080\"";
        assert_eq!(headers["forwarded"], forwarded);
        assert_eq!(headers["accept"], "*/*");
        for gone in ["connection", "x-secret", "te"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn an_address_of_version_6_stands_in_quotes_and_brackets() {
        let mut request = request(&[("host", "a\"b"), ("te", "gzip, Trailers")], "/");
        let caller = self::caller("[2001:db8::1]:1", "http");
        set_headers(&mut request, &caller, None);
        assert_eq!(request.headers()["te"], "trailers");
        assert!(!request.headers().contains_key("forwarded"));
        let forwarded = caller.forwarded(&HeaderValue::from_static("a.test")).unwrap();
        assert_eq!(forwarded, "for=\"[2001:db8::1]\";proto=http;host=\"a.test\"");
    }

    #[test]
    fn an_upgrade_that_is_asked_for_properly_is_passed_on() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let mut request = request(&asked, "/");
        let upgrade = upgrade_of(request.headers());
        let caller = self::caller("192.0.2.7:1", "http");
        set_headers(&mut request, &caller, upgrade.as_ref());
        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["upgrade"], "websocket");
        let half = [("upgrade", "h2c")];
        assert_eq!(upgrade_of(super::tests::request(&half, "/").headers()), None);
    }
}
