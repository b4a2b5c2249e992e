//! Unmodified guests over the switch, with no socket of the host.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpHooks};

use super::*;
use crate::network::{
    AttachConfig, Condition, DnsTable, Endpoint, HttpHandler, Peer, Protocol, Record, Refused,
    RefusedReason, Request, Response, ServicePort, ServiceTable, Stream, Switch,
};

const TOOLBOX: &[u8] = include_bytes!("../../../tests/guests/toolbox.wasm");
const PATIENCE: Duration = Duration::from_secs(30);

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    net: NetCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl NetView for State {
    fn net(&mut self) -> NetCtxView<'_> {
        NetCtxView { ctx: &mut self.net, table: &mut self.table }
    }
}

/// The guests of one test.
struct Guests {
    switch: Switch,
    component: Component,
    linker: Arc<Linker<State>>,
}

impl Guests {
    fn new() -> Self {
        let mut config = Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, TOOLBOX).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        linker.allow_shadowing(true);
        add_to_linker(&mut linker).unwrap();
        Self { switch: Switch::default(), component, linker: Arc::new(linker) }
    }

    fn pod(&self, name: &str) -> PodNet {
        let config = AttachConfig {
            name: name.to_string(),
            namespace: "shop".to_string(),
            ..AttachConfig::default()
        };
        self.switch.attach(config).unwrap()
    }

    /// Starts the toolbox in a Pod; ends in what it printed.
    fn run(&self, pod: &PodNet, args: &[&str]) -> JoinHandle<String> {
        let stdout = MemoryOutputPipe::new(64 << 10);
        let wasi = WasiCtx::builder().arg("toolbox").args(args).stdout(stdout.clone()).build();
        let state = State { table: ResourceTable::new(), wasi, net: NetCtx::new(pod.clone()) };
        let mut store = Store::new(self.component.engine(), state);
        let (component, linker) = (self.component.clone(), self.linker.clone());
        tokio::spawn(async move {
            let command =
                Command::instantiate_async(&mut store, &component, &linker).await.unwrap();
            command.wasi_cli_run().call_run(&mut store).await.unwrap().unwrap();
            String::from_utf8(stdout.contents().to_vec()).unwrap()
        })
    }

    async fn ends(&self, guest: JoinHandle<String>) -> String {
        tokio::time::timeout(PATIENCE, guest).await.expect("the guest ends").unwrap()
    }
}

async fn listening(pod: &PodNet, port: u16) {
    let waiting = async {
        while !pod.is_listening(port) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the guest listens");
}

async fn exchange(mut stream: Stream, say: &[u8]) -> Vec<u8> {
    stream.write_all(say).await.unwrap();
    let mut heard = vec![0; say.len()];
    stream.read_exact(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn two_guests_talk_by_service_name() {
    let guests = Guests::new();
    let (server, client) = (guests.pod("server"), guests.pod("client"));
    let service: std::net::IpAddr = "10.43.0.9".parse().unwrap();
    guests.switch.set_services(ServiceTable {
        ports: vec![ServicePort {
            address: (service, 7777).into(),
            protocol: Protocol::Tcp,
            session_affinity: false,
            host_endpoints: false,
            http2: false,
            endpoints: vec![Endpoint {
                address: (server.ip(), 7).into(),
                condition: Condition::Ready,
            }],
        }],
    });
    guests.switch.set_names(DnsTable {
        records: [("echo.shop.svc.cluster.local".to_string(), Record::Addresses(vec![service]))]
            .into(),
    });
    let echo = guests.run(&server, &["echo-server", "0.0.0.0", "7"]);
    listening(&server, 7).await;
    let talk = guests.run(&client, &["echo-client", "echo.shop", "7777", "hello over the switch"]);
    assert_eq!(guests.ends(talk).await, "hello over the switch\n");
    let name = guests.run(&client, &["resolve", "echo"]);
    assert_eq!(guests.ends(name).await, "10.43.0.9\n");
    echo.abort();
}

#[tokio::test]
async fn the_host_dials_a_guest_and_a_guest_survives_those_who_hang_up() {
    let guests = Guests::new();
    let server = guests.pod("server");
    let echo = guests.run(&server, &["echo-server", "0.0.0.0", "7"]);
    listening(&server, 7).await;
    let address = (server.ip(), 7).into();
    drop(guests.switch.dial(address).await.unwrap());
    for round in 0..100u32 {
        let stream = guests.switch.dial(address).await.unwrap();
        let heard = exchange(stream, &round.to_be_bytes()).await;
        assert_eq!(heard, round.to_be_bytes());
    }
    let long = vec![b'x'; 1 << 20];
    let (reader, mut writer) = tokio::io::split(guests.switch.dial(address).await.unwrap());
    let sending = tokio::spawn({
        let long = long.clone();
        async move { writer.write_all(&long).await.unwrap() }
    });
    let mut heard = vec![0; long.len()];
    let mut reader = reader;
    reader.read_exact(&mut heard).await.unwrap();
    sending.await.unwrap();
    assert!(heard == long);
    echo.abort();
}

#[tokio::test]
async fn a_guest_that_finds_nobody_is_told() {
    let guests = Guests::new();
    let pod = guests.pod("alone");
    let refused = guests.run(&pod, &["echo-client", "10.64.0.99", "7", "hello"]);
    let told = refused.await.unwrap_err();
    assert!(told.is_panic(), "the toolbox ends with a failure");
    let own = guests.run(&pod, &["resolve", "alone"]);
    assert_eq!(guests.ends(own).await, format!("{}\n", pod.ip()));
}

#[tokio::test]
async fn bytes_flow_from_guest_to_guest() {
    let guests = Guests::new();
    let (server, client) = (guests.pod("server"), guests.pod("client"));
    let sink = guests.run(&server, &["sink", "0.0.0.0", "9"]);
    listening(&server, 9).await;
    let flood = guests.run(&client, &["flood", &server.ip().to_string(), "9", "16"]);
    assert!(guests.ends(flood).await.starts_with("flood MB/s "));
    sink.abort();
}

/// Answers with where the request was sent.
struct Hello;

#[async_trait]
impl HttpHandler for Hello {
    async fn handle(&self, request: Request, peer: Peer) -> Result<Response, Refused> {
        if request.uri().path() == "/full" {
            return Err(Refused { request, reason: RefusedReason::Saturated });
        }
        let said = format!("{} from {}", request.uri(), peer.source.ip());
        Ok(Response::new(Full::from(said).map_err(|never| match never {}).boxed_unsync()))
    }
}

async fn send(pod: &PodNet, uri: &str) -> Result<::http::Response<WasiBody>, Error> {
    let body = WasiBody::default();
    let request = ::http::Request::get(uri).header("host", "web").body(body).unwrap();
    let done = Box::new(std::future::ready(Ok(())));
    let sent = HttpHooks::new(pod.clone(), None).send_request(request, None, done);
    std::pin::Pin::from(sent).await.map(|(response, _)| response)
}

#[tokio::test]
async fn an_outgoing_request_to_a_function_is_a_call() {
    let switch = Switch::default();
    let attach = |name: &str| {
        let name = name.to_string();
        switch.attach(AttachConfig { name, ..AttachConfig::default() }).unwrap()
    };
    let (web, client) = (attach("web"), attach("client"));
    let _listener = web.listen_http(8080, Arc::new(Hello)).unwrap();
    let uri = format!("http://{}:8080/x?y=1", web.ip());
    let response = send(&client, &uri).await.unwrap();
    let said = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(said, format!("{uri} from {}", client.ip()));
    let full = send(&client, &format!("http://{}:8080/full", web.ip())).await.unwrap();
    assert_eq!(full.status(), 503);
}

#[tokio::test]
async fn an_outgoing_request_that_cannot_be_sent_says_why() {
    let switch = Switch::default();
    let pod = switch.attach(AttachConfig::default()).unwrap();
    let nobody = send(&pod, "http://10.64.0.77/").await.unwrap_err();
    assert!(matches!(nobody, Error::ConnectionRefused), "{nobody:?}");
    let unknown = send(&pod, "http://nobody.shop.svc.cluster.local/").await.unwrap_err();
    assert!(matches!(unknown, Error::DnsError { .. }), "{unknown:?}");
    let denied = send(&pod, "http://169.254.169.254/latest").await.unwrap_err();
    assert!(matches!(denied, Error::DestinationIpProhibited), "{denied:?}");
    let chained = send(&pod, "http://api.spin.internal/x").await.unwrap_err();
    let Error::InternalError(Some(why)) = &chained else { panic!("{chained:?}") };
    assert!(why.contains("api.spin.internal") && why.contains("Service"), "{why}");
}

#[tokio::test]
async fn an_outgoing_request_counts_until_its_answer_is_read() {
    let switch = Switch::default();
    let pod = switch.attach(AttachConfig::default()).unwrap();
    let _listener = pod.listen_http(80, Arc::new(Hello)).unwrap();
    let response = send(&pod, "http://localhost/").await.unwrap();
    let left = std::iter::from_fn(|| pod.socket_permit()).collect::<Vec<_>>();
    assert_eq!(left.len(), crate::network::MAX_SOCKETS - 1);
    let refused = send(&pod, "http://localhost/").await.unwrap_err();
    assert!(matches!(refused, Error::ConnectionLimitReached), "{refused:?}");
    drop((response, left));
    assert!(send(&pod, "http://localhost/").await.is_ok());
}

/// Answers one HTTPS request on a guest's port.
async fn serve_https(
    mut listener: crate::network::TcpListener,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key =
        rustls::pki_types::PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let stream = listener.accept().await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        heard.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn https_within_the_cluster_is_checked_against_its_own_authority() {
    let name = "api.shop.svc.cluster.local".to_string();
    let certificate = || rcgen::generate_simple_self_signed(vec![name.clone()]).unwrap();
    let (ours, other) = (certificate(), certificate());
    let der = ours.cert.der().to_vec().into();
    let config = crate::network::SwitchConfig { cluster_ca: Some(der), ..Default::default() };
    let switch = Switch::new(config);
    let pod = switch.attach(AttachConfig::default()).unwrap();
    switch.set_names(DnsTable {
        records: [(name.clone(), Record::Addresses(vec![pod.ip()]))].into(),
    });
    let listen = || pod.listen_tcp("0.0.0.0:443".parse().unwrap(), 1).unwrap();

    let server = tokio::spawn(serve_https(listen(), ours));
    let response = send(&pod, &format!("https://{name}/")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "secret");
    server.await.unwrap();

    let server = tokio::spawn(serve_https(listen(), other));
    let error = send(&pod, &format!("https://{name}/")).await.unwrap_err();
    assert!(matches!(error, Error::TlsCertificateError), "{error:?}");
    server.await.unwrap();
}
