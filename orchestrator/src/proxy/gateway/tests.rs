//! The gateway with clients we did not write, before functions and guests' sockets.
use std::collections::HashMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use shim::network::{
    AttachConfig, Body, Condition, Endpoint, HttpHandler, HttpListener, Peer, PodNet, Protocol,
    Refused, RefusedReason, Response, ServicePort, ServiceTable, SwitchConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// Tells what it was asked, as headers and body.
struct Echo;

#[async_trait]
impl HttpHandler for Echo {
    async fn handle(
        &self,
        request: shim::network::Request,
        peer: Peer,
    ) -> Result<Response, Refused> {
        if request.uri().path() == "/busy" {
            return Err(Refused { request, reason: RefusedReason::Saturated });
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name: &str| {
            let value = parts.headers.get(name);
            value.map(|value| value.to_str().unwrap().to_string()).unwrap_or_default()
        };
        let said = format!(
            "{} {} host={} for={} proto={} peer={} body={}",
            parts.method,
            parts.uri,
            header("host"),
            header("x-forwarded-for"),
            header("x-forwarded-proto"),
            peer.source.ip(),
            String::from_utf8_lossy(&body),
        );
        let body = Full::from(said).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        Ok(response)
    }
}

/// A gateway before one Pod, whose Service is `web` in `default`.
struct Gateway {
    address: SocketAddr,
    switch: Switch,
    pod: PodNet,
    _port: Option<HttpListener>,
    tasks: Tasks,
    connections: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

const SERVICE: &str = "10.43.0.9:80";

impl Gateway {
    async fn start(handler: Option<Arc<dyn HttpHandler>>) -> Self {
        let hold = Duration::from_millis(100);
        let switch = Switch::new(SwitchConfig { hold, ..SwitchConfig::default() });
        let pod = switch.attach(AttachConfig::default()).unwrap();
        let port = handler.map(|handler| pod.listen_http(8080, handler).unwrap());
        switch.set_services(ServiceTable {
            ports: vec![ServicePort {
                address: SERVICE.parse().unwrap(),
                protocol: Protocol::Tcp,
                session_affinity: false,
                host_endpoints: false,
                http2: false,
                endpoints: vec![Endpoint {
                    address: (pod.ip(), 8080).into(),
                    condition: Condition::Ready,
                }],
            }],
        });
        let service = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 80}]},
        });
        let routes = Routes::new(
            &[],
            &Default::default(),
            &[Arc::new(serde_json::from_value(service).unwrap())],
        );
        let shared = Arc::new(RwLock::new(Arc::new(routes)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::default();
        let gateway = super::Gateway::new(shared, switch.clone(), tasks.clone());
        let connections = gateway.connections.clone();
        let serving = tokio::spawn(async move { gateway.serve(&listener, None).await });
        Self { address, switch, pod, _port: port, tasks, connections, serving }
    }

    async fn get(&self, path: &str) -> (StatusCode, HashMap<String, String>, String) {
        self.send(Request::get(format!("http://{}{path}", self.address)), "").await
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: &'static str,
    ) -> (StatusCode, HashMap<String, String>, String) {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let request = request.header("host", "web.localhost:8080");
        let response = client.request(request.body(Full::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_string()))
            .collect();
        let text = body.collect().await.unwrap().to_bytes();
        (parts.status, headers, String::from_utf8(text.to_vec()).unwrap())
    }

    async fn stop(self) {
        self.serving.abort();
        self.tasks.finish().await;
        self.switch.shutdown().await;
    }
}

#[tokio::test]
async fn a_request_reaches_the_function_and_its_answer_the_client() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let request = Request::post(format!("http://{}/a?b=c", gateway.address))
        .header("x-forwarded-for", "6.6.6.6");
    let (status, headers, text) = gateway.send(request, "words").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        "POST /a?b=c host=web.localhost:8080 for=127.0.0.1 proto=http peer=127.0.0.1 body=words"
    );
    assert!(!headers.contains_key("keep-alive"), "{headers:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_on_the_same_port() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://web.localhost/two").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"GET /two host=web.localhost for=127.0.0.1"), "{text:?}");
    drop(sender);
    connection.await.unwrap().unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_host_that_nobody_has_is_not_found() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(b"GET /x HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    raw.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
    assert!(text.ends_with("404 Not Found: no Ingress or Service answers for other.test/x\n"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_without_pods_and_one_that_is_busy_ask_to_come_again() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let (status, headers, text) = gateway.get("/busy").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["retry-after"], "1");
    assert!(text.contains("every Pod behind web.localhost is busy"), "{text}");
    gateway.stop().await;

    let gateway = Gateway::start(None).await;
    let (status, _, text) = gateway.get("/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("no Pod behind web.localhost is ready"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_reaches_a_guest_that_serves_sockets() {
    let gateway = Gateway::start(None).await;
    let mut listener = gateway.pod.listen_tcp("0.0.0.0:8080".parse().unwrap(), 16).unwrap();
    let guest = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
            )
            .await
            .unwrap();
        let mut said = [0; 4];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"ping");
        String::from_utf8(heard).unwrap()
    });
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(
        b"GET /ws HTTP/1.1\r\nhost: web.localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await
    .unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\nhello") {
        heard.push(raw.read_u8().await.unwrap());
    }
    assert!(heard.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
    // One place for it, and one for who comes next.
    let held = || MAX_CONNECTIONS - gateway.connections.available_permits();
    assert_eq!(held(), 2);
    raw.write_all(b"ping").await.unwrap();
    assert!(guest.await.unwrap().contains("upgrade: websocket\r\n"));
    assert_eq!(held(), 2);
    drop(raw);
    while held() > 1 {
        tokio::task::yield_now().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_finishes_what_it_is_at_before_it_stops() {
    /// Answers when it is told to.
    struct Slow(Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>);

    #[async_trait]
    impl HttpHandler for Slow {
        async fn handle(&self, _: shim::network::Request, _: Peer) -> Result<Response, Refused> {
            self.0.notify_one();
            self.1.notified().await;
            Ok(Response::new(Body::default()))
        }
    }

    let (entered, go) = (Arc::default(), Arc::default());
    let gateway = Gateway::start(Some(Arc::new(Slow(Arc::clone(&entered), Arc::clone(&go))))).await;
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nhost: web.localhost\r\n\r\n").await.unwrap();
    entered.notified().await;
    let stopping = tokio::spawn(gateway.stop());
    tokio::task::yield_now().await;
    go.notify_one();
    let mut text = String::new();
    raw.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    stopping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_half_of_a_preface_is_not_waited_for() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    for words in ["", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\n"] {
        let mut raw = TcpStream::connect(gateway.address).await.unwrap();
        raw.write_all(words.as_bytes()).await.unwrap();
        let mut text = String::new();
        let ended = timeout(2 * HEADER_TIMEOUT, raw.read_to_string(&mut text)).await;
        assert!(ended.is_ok(), "{words:?} is still waited for");
    }
    gateway.stop().await;
}

/// Answers without a look at the body.
struct Unread;

#[async_trait]
impl HttpHandler for Unread {
    async fn handle(&self, _: shim::network::Request, _: Peer) -> Result<Response, Refused> {
        Ok(Response::new(Full::from("done").map_err(|never| match never {}).boxed_unsync()))
    }
}

/// What comes back for these bytes, up to the end of the connection.
async fn said(gateway: &Gateway, request: &[u8]) -> String {
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(request).await.unwrap();
    let mut text = String::new();
    raw.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_keeps_its_connection_after_a_body_that_nobody_read() {
    let gateway = Gateway::start(Some(Arc::new(Unread))).await;
    let stream = TokioIo::new(TcpStream::connect(gateway.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for length in [50, 5_000, 100_000].repeat(20) {
        sender.ready().await.unwrap();
        let request = Request::post("/env").header("host", "web.localhost");
        let request = request.body(Full::<Bytes>::from(vec![b'x'; length])).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(!response.headers().contains_key("connection"), "{response:?}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_a_long_body_to_nobody_gets_its_answer() {
    let gateway = Gateway::start(Some(Arc::new(Unread))).await;
    let mut request =
        b"POST / HTTP/1.1\r\nhost: web.localhost\r\ncontent-length: 3145728\r\n\r\n".to_vec();
    request.resize(request.len() + (3 << 20), b'x');
    let text = said(&gateway, &request).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\ndone"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_not_passed_on() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let two = b"GET / HTTP/1.1\r\nhost: web.localhost\r\nhost: other\r\nconnection: close\r\n\r\n";
    let text = said(&gateway, two).await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.ends_with("the request has more than one Host header\n"), "{text}");

    // RFC 9112, 6.3: the chunks count, and the connection ends.
    let [length, chunked] = ["content-length: 4\r\n", "transfer-encoding: chunked\r\n"];
    for headers in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        let head = format!("POST / HTTP/1.1\r\nhost: web.localhost\r\n{headers}\r\n");
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: web.localhost\r\n\r\n";
        let text =
            said(&gateway, format!("{head}3\r\nabc\r\n0\r\n\r\n{smuggled}").as_bytes()).await;
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(text.ends_with("body=abc"), "{text}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tunnel_and_headers_without_end_are_refused_in_words() {
    let gateway = Gateway::start(Some(Arc::new(Echo))).await;
    let connect = b"CONNECT web.localhost:80 HTTP/1.1\r\nhost: web.localhost:80\r\n\r\n";
    let mut raw = TcpStream::connect(gateway.address).await.unwrap();
    raw.write_all(connect).await.unwrap();
    let mut text = [0; 1024];
    let read = raw.read(&mut text).await.unwrap();
    let text = String::from_utf8_lossy(&text[..read]);
    assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
    assert!(text.contains("opens no tunnels"), "{text}");

    let long = "x".repeat(4 * MAX_HEADERS);
    let long = format!("GET / HTTP/1.1\r\nhost: web.localhost\r\nx-long: {long}\r\n\r\n");
    let text = said(&gateway, long.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{text}");
    gateway.stop().await;
}
