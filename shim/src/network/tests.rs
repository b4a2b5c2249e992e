//! The network as Pods and the host see it.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;
use std::sync::Arc;

const SERVICE: &str = "10.43.0.9:80";

/// Answers its name, the path and how much body it got.
struct Named(&'static str);

#[async_trait]
impl HttpHandler for Named {
    async fn handle(&self, request: Request, _: Peer) -> Result<Response, Refused> {
        let path = request.uri().path().to_string();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(answer(format!("{} {path} {}", self.0, body.len())))
    }
}

/// Refuses all but counts.
#[derive(Default)]
struct Saturated(AtomicUsize);

#[async_trait]
impl HttpHandler for Saturated {
    async fn handle(&self, request: Request, _: Peer) -> Result<Response, Refused> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Refused { request, reason: RefusedReason::Saturated })
    }
}

/// Answers when it is told to.
#[derive(Default)]
struct Slow {
    entered: Notify,
    go: Notify,
}

#[async_trait]
impl HttpHandler for Slow {
    async fn handle(&self, _: Request, _: Peer) -> Result<Response, Refused> {
        self.entered.notify_one();
        self.go.notified().await;
        Ok(answer("slow".to_string()))
    }
}

fn answer(text: String) -> Response {
    Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync())
}

fn get(path: &str) -> Request {
    ::http::Request::get(path).body(Body::default()).unwrap()
}

fn host() -> Peer {
    Peer { source: "10.64.0.1:50000".parse().unwrap() }
}

fn attach(switch: &Switch, name: &str) -> PodNet {
    let config = AttachConfig {
        name: name.to_string(),
        namespace: "shop".to_string(),
        ..AttachConfig::default()
    };
    switch.attach(config).unwrap()
}

fn at(pod: &PodNet, port: u16) -> SocketAddr {
    SocketAddr::new(pod.ip(), port)
}

fn service(endpoints: &[(SocketAddr, Condition)], protocol: Protocol) -> ServiceTable {
    ServiceTable {
        ports: vec![ServicePort {
            address: SERVICE.parse().unwrap(),
            protocol,
            session_affinity: false,
            host_endpoints: false,
            http2: false,
            endpoints: endpoints
                .iter()
                .map(|(address, condition)| Endpoint { address: *address, condition: *condition })
                .collect(),
        }],
    }
}

async fn text(answer: Result<Response, Refused>) -> String {
    let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn two_pods_listen_on_one_port() {
    let switch = Switch::default();
    let (a, b) = (attach(&switch, "a"), attach(&switch, "b"));
    let _a = a.listen_http(8080, Arc::new(Named("a"))).unwrap();
    let _b = b.listen_http(8080, Arc::new(Named("b"))).unwrap();
    assert_eq!(text(switch.request(at(&a, 8080), get("/x"), host()).await).await, "a /x 0");
    assert_eq!(text(b.request(at(&b, 8080), get("/y")).await).await, "b /y 0");
    assert_eq!(
        a.listen_http(8080, Arc::new(Named("c"))).unwrap_err(),
        NetworkError::PortInUse(8080)
    );
}

#[tokio::test]
async fn a_closed_port_refuses_what_is_new_and_finishes_what_it_has_taken() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let slow = Arc::new(Slow::default());
    let listener = pod.listen_http(80, slow.clone()).unwrap();
    let taken = tokio::spawn({
        let (switch, to) = (switch.clone(), at(&pod, 80));
        async move { text(switch.request(to, get("/"), host()).await).await }
    });
    slow.entered.notified().await;
    listener.close();
    let refused = switch.request(at(&pod, 80), get("/"), host()).await.unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NotListening);
    assert_eq!(listener.in_flight(), 1);
    assert!(listener.drained().now_or_never().is_none());
    slow.go.notify_one();
    assert_eq!(taken.await.unwrap(), "slow");
    listener.drained().await;
    assert!(pod.listen_http(80, Arc::new(Named("next"))).is_ok());
}

#[tokio::test]
async fn an_answer_counts_as_in_flight_until_its_body_is_sent() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let listener = pod.listen_http(80, Arc::new(Named("a"))).unwrap();
    let response = switch.request(at(&pod, 80), get("/"), host()).await.unwrap();
    listener.close();
    assert!(listener.drained().now_or_never().is_none());
    drop(response);
    assert!(listener.drained().now_or_never().is_some());
}

#[tokio::test]
async fn a_function_answers_bytes_over_http_1_and_2() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let _listener = pod.listen_http(80, Arc::new(Named("a"))).unwrap();

    let mut raw = switch.dial(at(&pod, 80)).await.unwrap();
    raw.write_all(
        b"POST /raw HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
    )
    .await
    .unwrap();
    let mut said = String::new();
    raw.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("a /raw 3"), "{said}");

    let stream = switch.dial(at(&pod, 80)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Body>(
        hyper_util::rt::TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    let connection = tokio::spawn(connection);
    let body = sender.send_request(get("http://a/two")).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "a /two 0");
    drop(sender);
    connection.await.unwrap().unwrap();
    switch.shutdown().await;
}

#[tokio::test]
async fn a_request_to_a_guest_socket_is_written_to_it() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let mut listener = pod.listen_tcp("0.0.0.0:80".parse().unwrap(), 16).unwrap();
    let guest = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nguest")
            .await
            .unwrap();
        String::from_utf8(heard).unwrap()
    });
    let answer = switch.request(at(&pod, 80), get("http://hello.shop/x?y"), host()).await;
    assert_eq!(text(answer).await, "guest");
    let heard = guest.await.unwrap();
    assert!(heard.starts_with("GET /x?y HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("host: hello.shop\r\n"), "{heard}");
}

#[tokio::test]
async fn a_guest_that_hangs_up_is_a_bad_gateway() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let mut listener = pod.listen_tcp("0.0.0.0:80".parse().unwrap(), 16).unwrap();
    let guest = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut some = [0; 16];
        stream.read_exact(&mut some).await.unwrap();
    });
    let answer = switch.request(at(&pod, 80), get("/"), host()).await.unwrap();
    assert_eq!(answer.status(), 502);
    guest.await.unwrap();
}

#[tokio::test]
async fn pods_talk_over_pipes_and_know_each_other() {
    let switch = Switch::default();
    let (server, client) = (attach(&switch, "server"), attach(&switch, "client"));
    let mut listener = server.listen_tcp("0.0.0.0:7".parse().unwrap(), 16).unwrap();
    let mut near = client.connect(at(&server, 7)).await.unwrap();
    let mut far = listener.try_accept().unwrap();
    assert_eq!(far.peer_addr().ip(), client.ip());
    near.write_all(b"ping").await.unwrap();
    let mut heard = [0; 4];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");
}

#[tokio::test]
async fn a_full_backlog_refuses() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let listener = pod.listen_tcp("0.0.0.0:7".parse().unwrap(), 2).unwrap();
    let first = (switch.dial(at(&pod, 7)).await.unwrap(), switch.dial(at(&pod, 7)).await.unwrap());
    let third = switch.dial(at(&pod, 7)).await;
    assert!(matches!(third, Err(ConnectError::Refused(_))), "{third:?}");
    drop((first, listener));
}

#[tokio::test]
async fn a_pods_loopback_is_its_own() {
    let switch = Switch::default();
    let (a, b) = (attach(&switch, "a"), attach(&switch, "b"));
    let listener = a.listen_tcp("127.0.0.1:7".parse().unwrap(), 16).unwrap();
    assert_eq!(listener.local_addr().to_string(), "127.0.0.1:7");
    assert!(a.connect("127.0.0.1:7".parse().unwrap()).await.is_ok());
    assert!(matches!(b.connect(at(&a, 7)).await, Err(ConnectError::Refused(_))));
    assert!(matches!(
        b.connect("127.0.0.1:7".parse().unwrap()).await,
        Err(ConnectError::Refused(_))
    ));
}

#[tokio::test]
async fn the_host_is_out_of_reach_for_pods() {
    let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = host.local_addr().unwrap().port();
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let to = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
    assert!(matches!(pod.connect(to("127.0.0.1")).await, Err(ConnectError::Refused(_))));
    for ip in ["0.0.0.0", "169.254.169.254"] {
        assert!(matches!(pod.connect(to(ip)).await, Err(ConnectError::Denied(_))), "{ip}");
    }
    assert!(matches!(pod.connect(to("10.99.0.1")).await, Err(ConnectError::Refused(_))));
    assert!(matches!(switch.dial(to("192.0.2.1")).await, Err(ConnectError::Unreachable(_))));
}

#[tokio::test]
async fn a_service_of_the_cluster_itself_may_lead_to_the_host() {
    let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let mut table = service(&[(host.local_addr().unwrap(), Condition::Ready)], Protocol::Tcp);
    switch.set_services(table.clone());
    assert!(pod.connect(SERVICE.parse().unwrap()).await.is_err());
    table.ports[0].host_endpoints = true;
    switch.set_services(table);
    let mut near = pod.connect(SERVICE.parse().unwrap()).await.unwrap();
    let (mut far, _) = host.accept().await.unwrap();
    near.write_all(b"ping").await.unwrap();
    let mut heard = [0; 4];
    far.read_exact(&mut heard).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"pong");
    switch.shutdown().await;
}

#[tokio::test]
async fn a_server_of_the_host_is_reached_where_it_was_exposed_and_nowhere_else() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let exposed = switch.expose(6443, server.local_addr().unwrap());
    let mut near = pod.connect(exposed).await.unwrap();
    let (mut far, _) = server.accept().await.unwrap();
    far.write_all(b"hi").await.unwrap();
    let mut heard = [0; 2];
    near.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hi");
    let beside = SocketAddr::new(exposed.ip(), port);
    assert!(matches!(pod.connect(beside).await, Err(ConnectError::Refused(_))));
    switch.shutdown().await;
}

#[tokio::test]
async fn a_refusal_sends_the_request_to_another_endpoint() {
    let switch = Switch::default();
    let (full, good, gone) =
        (attach(&switch, "full"), attach(&switch, "good"), attach(&switch, "gone"));
    let refusing = Arc::new(Saturated::default());
    let _full = full.listen_http(80, refusing.clone()).unwrap();
    let _good = good.listen_http(80, Arc::new(Named("good"))).unwrap();
    switch.set_services(service(
        &[
            (at(&full, 80), Condition::Ready),
            (at(&gone, 80), Condition::Ready),
            (at(&good, 80), Condition::Ready),
        ],
        Protocol::Tcp,
    ));
    for _ in 0..9 {
        let request = ::http::Request::post("/")
            .body(Full::from("four").map_err(|never| match never {}).boxed_unsync())
            .unwrap();
        let answer = switch.request(SERVICE.parse().unwrap(), request, host()).await;
        assert_eq!(text(answer).await, "good / 4");
    }
    assert!(refusing.0.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn a_saturated_service_says_so_at_once() {
    let switch = Switch::default();
    let pod = attach(&switch, "full");
    let _full = pod.listen_http(80, Arc::new(Saturated::default())).unwrap();
    switch.set_services(service(&[(at(&pod, 80), Condition::Ready)], Protocol::Tcp));
    let refused = switch.request(SERVICE.parse().unwrap(), get("/"), host()).now_or_never();
    assert_eq!(refused.unwrap().unwrap_err().reason, RefusedReason::Saturated);
}

#[tokio::test]
async fn a_request_is_held_until_an_endpoint_appears() {
    let switch = Switch::default();
    let pod = attach(&switch, "late");
    let held = tokio::spawn({
        let switch = switch.clone();
        async move { text(switch.request(SERVICE.parse().unwrap(), get("/"), host()).await).await }
    });
    tokio::task::yield_now().await;
    let _listener = pod.listen_http(80, Arc::new(Named("late"))).unwrap();
    assert!(!held.is_finished());
    switch.set_services(service(&[(at(&pod, 80), Condition::Ready)], Protocol::Tcp));
    assert_eq!(held.await.unwrap(), "late / 0");
}

#[tokio::test]
async fn a_request_is_not_held_for_ever() {
    let hold = Duration::from_millis(50);
    let switch = Switch::new(SwitchConfig { hold, ..SwitchConfig::default() });
    switch.set_services(service(&[], Protocol::Tcp));
    let before = tokio::time::Instant::now();
    let refused = switch.request(SERVICE.parse().unwrap(), get("/"), host()).await.unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NotListening);
    assert!(before.elapsed() >= hold);
    let connection = switch.dial(SERVICE.parse().unwrap()).now_or_never().unwrap();
    assert!(matches!(connection, Err(ConnectError::Refused(_))));
}

#[tokio::test]
async fn a_terminating_endpoint_serves_while_no_other_does() {
    let switch = Switch::default();
    let (old, new) = (attach(&switch, "old"), attach(&switch, "new"));
    let _old = old.listen_http(80, Arc::new(Named("old"))).unwrap();
    let _new = new.listen_http(80, Arc::new(Named("new"))).unwrap();
    let ask =
        || async { text(switch.request(SERVICE.parse().unwrap(), get("/"), host()).await).await };
    switch.set_services(service(&[(at(&old, 80), Condition::Terminating)], Protocol::Tcp));
    assert_eq!(ask().await, "old / 0");
    switch.set_services(service(
        &[(at(&old, 80), Condition::Terminating), (at(&new, 80), Condition::Ready)],
        Protocol::Tcp,
    ));
    for _ in 0..4 {
        assert_eq!(ask().await, "new / 0");
    }
}

#[tokio::test]
async fn a_detached_pod_is_gone_and_its_address_rests() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let ip = pod.ip();
    let listener = pod.listen_http(80, Arc::new(Named("a"))).unwrap();
    pod.detach();
    assert!(switch.request(at(&pod, 80), get("/"), host()).await.is_err());
    assert_eq!(pod.listen_http(81, Arc::new(Named("a"))).unwrap_err(), NetworkError::Detached);
    assert!(matches!(pod.connect(at(&pod, 80)).await, Err(ConnectError::Detached)));
    drop((listener, pod));
    assert_ne!(attach(&switch, "b").ip(), ip);
    let again = AttachConfig { wanted_ip: Some(ip), ..AttachConfig::default() };
    assert_eq!(switch.attach(again).unwrap().ip(), ip);
}

#[tokio::test]
async fn datagrams_go_through_a_service_and_the_answer_comes_from_it() {
    let switch = Switch::default();
    let (server, client) = (attach(&switch, "server"), attach(&switch, "client"));
    let listening = server.bind_udp("0.0.0.0:53".parse().unwrap()).unwrap();
    assert!(server.bind_udp("0.0.0.0:53".parse().unwrap()).is_err());
    let asking = client.bind_udp("0.0.0.0:0".parse().unwrap()).unwrap();
    switch.set_services(service(&[(at(&server, 53), Condition::Ready)], Protocol::Udp));
    asking.send(Bytes::from_static(b"question"), SERVICE.parse().unwrap()).unwrap();
    let question = listening.recv().await;
    assert_eq!((&question.data[..], question.from.ip()), (&b"question"[..], client.ip()));
    listening.send(Bytes::from_static(b"answer"), question.from).unwrap();
    let answer = asking.recv().await;
    assert_eq!((&answer.data[..], answer.from), (&b"answer"[..], SERVICE.parse().unwrap()));
    assert!(matches!(
        asking.send(Bytes::new(), "192.0.2.1:53".parse().unwrap()),
        Err(ConnectError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_flood_of_datagrams_is_dropped_not_kept() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let listening = pod.bind_udp("0.0.0.0:53".parse().unwrap()).unwrap();
    let sending = pod.bind_udp("0.0.0.0:0".parse().unwrap()).unwrap();
    for _ in 0..10_000 {
        sending.send(Bytes::from_static(&[0; 1000]), at(&pod, 53)).unwrap();
    }
    let kept = std::iter::from_fn(|| listening.try_recv()).count();
    assert!(kept > 100 && kept * 1000 <= datagram::QUEUED_BYTES, "{kept} kept");
}

#[tokio::test]
async fn a_pod_resolves_itself_and_its_services() {
    let switch = Switch::default();
    let pod = attach(&switch, "web-0");
    switch.set_names(DnsTable {
        records: [(
            "hello.shop.svc.cluster.local".to_string(),
            Record::Addresses(vec!["10.43.0.9".parse().unwrap()]),
        )]
        .into(),
    });
    assert_eq!(pod.resolve("web-0").await, [pod.ip()]);
    assert_eq!(pod.resolve("hello").await, ["10.43.0.9".parse::<std::net::IpAddr>().unwrap()]);
    assert!(pod.resolve("nobody.shop.svc.cluster.local").await.is_empty());
}

#[tokio::test]
async fn a_pod_holds_only_so_many_sockets() {
    let switch = Switch::default();
    let pod = attach(&switch, "a");
    let mut held: Vec<SocketPermit> =
        (0..MAX_SOCKETS).map(|_| pod.socket_permit().unwrap()).collect();
    assert!(pod.socket_permit().is_none());
    held.pop();
    assert!(pod.socket_permit().is_some());
}

/// Answers after another task had its turn.
struct Yielding;

#[async_trait]
impl HttpHandler for Yielding {
    async fn handle(&self, _: Request, _: Peer) -> Result<Response, Refused> {
        tokio::task::yield_now().await;
        Ok(answer("done".to_string()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_update_under_load_loses_no_request() {
    let switch = Switch::default();
    let stop = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (switch, stop) = (switch.clone(), stop.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.is_cancelled() {
                    let answer = switch.request(SERVICE.parse().unwrap(), get("/"), host()).await;
                    assert_eq!(text(answer).await, "done");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut running: Vec<(PodNet, HttpListener)> = Vec::new();
    let rules = |running: &[(PodNet, HttpListener)]| {
        let ready = running.iter().map(|(pod, _)| (at(pod, 80), Condition::Ready));
        service(&ready.collect::<Vec<_>>(), Protocol::Tcp)
    };
    for generation in 0..200 {
        let pod = attach(&switch, &format!("web-{generation}"));
        let listener = pod.listen_http(80, Arc::new(Yielding)).unwrap();
        running.push((pod, listener));
        switch.set_services(rules(&running));
        if running.len() > 2 {
            let (old, listener) = running.remove(0);
            let stopping = tokio::spawn(async move {
                old.unrouted().await;
                listener.close();
                listener.drained().await;
                old
            });
            tokio::task::yield_now().await;
            assert!(!stopping.is_finished(), "it serves while a rule points at it");
            switch.set_services(rules(&running));
            stopping.await.unwrap().detach();
        }
    }
    stop.cancel();
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn the_last_pod_of_a_service_is_not_waited_for() {
    let switch = Switch::default();
    let pod = attach(&switch, "last");
    switch.set_services(service(&[(at(&pod, 80), Condition::Ready)], Protocol::Tcp));
    assert!(pod.unrouted().now_or_never().is_none());
    switch.set_services(service(&[(at(&pod, 80), Condition::Terminating)], Protocol::Tcp));
    assert!(pod.unrouted().now_or_never().is_some());
}
