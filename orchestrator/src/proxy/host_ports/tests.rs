//! NodePorts on real sockets.
use serde_json::{Value, json};
use shim::network::{AttachConfig, Condition, Endpoint, Protocol, ServicePort, ServiceTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::client::{User, in_process};
use crate::clock::SystemClock;

fn host_port(target: SocketAddr) -> HostPort {
    HostPort {
        target,
        field: "spec.ports[0].nodePort".into(),
        namespace: "shop".into(),
        name: "web".into(),
        uid: Some("1-2".into()),
    }
}

fn ports(ports: &[(u16, &str)]) -> BTreeMap<u16, SocketAddr> {
    ports.iter().map(|(port, target)| (*port, target.parse().unwrap())).collect()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A loop over ports, and what it tells, as reason and message.
struct Running {
    host_ports: HostPorts,
    tasks: Tasks,
    events: mpsc::UnboundedReceiver<Value>,
    running: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    fn start(switch: &Switch) -> Self {
        let (written, events) = mpsc::unbounded_channel();
        let record = move |axum::Json(event): axum::Json<Value>| {
            written.send(event.clone()).unwrap();
            std::future::ready(axum::Json(event))
        };
        let router = axum::Router::new().fallback(record);
        let client = in_process(router, User::component("system:kube-proxy"));
        let (recorder, writer) =
            EventRecorder::new(client, "kube-proxy", None, Arc::new(SystemClock));
        let (host_ports, wanted) = HostPorts::new();
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn(writer.run(stop.clone()));
        let running = tokio::spawn({
            let (switch, tasks) = (switch.clone(), tasks.clone());
            async move {
                let ip = "127.0.0.1".parse().unwrap();
                run(wanted, ip, &switch, &tasks, &recorder).await;
            }
        });
        Self { host_ports, tasks, events, running, stop }
    }

    fn set(&self, ports: &[(u16, SocketAddr)]) {
        let of = |(port, target): &(u16, SocketAddr)| (*port, host_port(*target));
        self.host_ports.set(ports.iter().map(of).collect());
    }

    async fn end(self) {
        drop(self.host_ports);
        self.running.await.unwrap();
        self.stop.cancel();
        self.tasks.finish().await;
    }
}

#[test]
fn a_port_that_leads_elsewhere_stays_open() {
    let actual =
        ports(&[(30000, "10.43.0.1:80"), (30001, "10.43.0.2:80"), (30002, "10.43.0.3:80")]);
    let wanted =
        ports(&[(30000, "10.43.0.1:80"), (30001, "10.43.0.9:80"), (30003, "10.43.0.4:80")]);
    let of = |(port, target): (&u16, &SocketAddr)| (*port, host_port(*target));
    let plan = plan(&actual, &wanted.iter().map(of).collect());
    assert_eq!(plan.close, [30002]);
    assert_eq!(plan.turn, [(30001, wanted[&30001])]);
    assert_eq!(plan.open, [(30003, wanted[&30003])]);
}

#[tokio::test]
async fn a_port_leads_elsewhere_and_closes_and_opens_again_at_once() {
    let switch = Switch::default();
    let pods = [(); 2].map(|()| switch.attach(AttachConfig::default()).unwrap());
    let [mut first, mut second] =
        pods.each_ref().map(|pod| pod.listen_tcp("0.0.0.0:7".parse().unwrap(), 64).unwrap());
    let [one, other] = pods.each_ref().map(|pod| SocketAddr::from((pod.ip(), 7)));
    let free = free_port();
    let running = Running::start(&switch);
    let soon = async {
        running.set(&[(free, one)]);
        drop(connected(free).await);
        first.accept().await.unwrap();

        running.set(&[(free, other)]);
        while second.try_accept().is_none() {
            drop(connected(free).await);
            tokio::task::yield_now().await;
        }

        running.set(&[]);
        while TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        running.set(&[(free, one)]);
        drop(connected(free).await);
    };
    timeout(RETRY / 2, soon).await.expect("nothing has to be tried again");
    running.end().await;
}

#[tokio::test]
async fn a_node_port_leads_to_a_guest_socket_and_closes_with_its_service() {
    let switch = Switch::default();
    let pod = switch.attach(AttachConfig::default()).unwrap();
    let mut guest = pod.listen_tcp("0.0.0.0:7".parse().unwrap(), 16).unwrap();
    let service: SocketAddr = "10.43.0.9:7".parse().unwrap();
    switch.set_services(ServiceTable {
        ports: vec![ServicePort {
            address: service,
            protocol: Protocol::Tcp,
            session_affinity: false,
            host_endpoints: false,
            http2: false,
            endpoints: vec![Endpoint {
                address: (pod.ip(), 7).into(),
                condition: Condition::Ready,
            }],
        }],
    });
    let free = free_port();
    let running = Running::start(&switch);
    running.set(&[(free, service)]);

    let mut client = connected(free).await;
    let mut accepted = guest.accept().await.unwrap();
    client.write_all(b"ping").await.unwrap();
    let mut heard = [0; 4];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");

    running.set(&[]);
    while TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    accepted.write_all(b"pong").await.unwrap();
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"pong");
    drop((client, accepted));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_once_that_its_port_is_taken_and_when_it_is_not() {
    let switch = Switch::default();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut running = Running::start(&switch);
    running.set(&[(port, "10.43.0.9:80".parse().unwrap())]);
    let event = running.events.recv().await.unwrap();
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "NodePortNotOpened");
    let about = json!({
        "apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "1-2",
    });
    assert_eq!(event["involvedObject"], about);
    let message = event["message"].as_str().unwrap();
    let first = format!("spec.ports[0].nodePort: port {port} of 127.0.0.1 ");
    assert!(message.starts_with(&first), "{message}");
    assert!(message.contains("set another nodePort"), "{message}");

    sleep(3 * RETRY).await;
    drop(taken);
    let event = running.events.recv().await.unwrap();
    assert_eq!(event["type"], "Normal", "{event}");
    assert_eq!(event["reason"], "NodePortOpened");
    drop(connected(port).await);
    running.end().await;
}

async fn connected(port: u16) -> TcpStream {
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
