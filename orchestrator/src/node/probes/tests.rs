//! Probes against a dialer that answers as told.
use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;
use shim::network::Request;

use super::*;
use crate::node::pods::State;

fn container(probes: serde_json::Value) -> Container {
    let mut container = json!({
        "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
    });
    container.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
    serde_json::from_value(container).unwrap()
}

fn running(id: &str) -> Attempt {
    let state = State::Running { started_at: Timestamp::UNIX_EPOCH };
    Attempt {
        attempt: 0,
        id: id.into(),
        image: String::new(),
        asked: String::new(),
        outdated: false,
        state,
        last_words: None,
    }
}

/// Answers with a status that the test sets, and remembers what it was asked.
#[derive(Default)]
struct Answers {
    status: Mutex<Option<StatusCode>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Dialer for Answers {
    async fn request(&self, _: SocketAddr, request: Request) -> Result<Probed, String> {
        self.asked.lock().push(request.uri().to_string());
        let status = *self.status.lock();
        status.map(|status| Probed { status }).ok_or_else(|| "nobody there".to_owned())
    }

    async fn connect(&self, to: SocketAddr) -> Result<(), String> {
        self.asked.lock().push(format!("tcp {to}"));
        self.status.lock().map(|_| ()).ok_or_else(|| "nobody there".to_owned())
    }

    async fn grpc(&self, to: SocketAddr, service: &str) -> Result<(), String> {
        self.asked.lock().push(format!("grpc {to} {service}"));
        self.status.lock().map(|_| ()).ok_or_else(|| "nobody there".to_owned())
    }
}

fn probes(dialer: &Arc<Answers>) -> (Probes, Arc<Notify>, Arc<Mutex<Vec<String>>>) {
    let wake = Arc::new(Notify::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let report: Report = {
        let told = Arc::clone(&told);
        Arc::new(move |container, message| told.lock().push(format!("{container}: {message}")))
    };
    (Probes::new(Arc::clone(dialer) as Arc<dyn Dialer>, Arc::clone(&wake), report), wake, told)
}

const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 5));

#[test]
fn a_verdict_takes_as_many_answers_as_the_threshold_says() {
    let probe: Probe =
        serde_json::from_value(json!({"successThreshold": 2, "failureThreshold": 3})).unwrap();
    let mut count = Count::default();
    let answers = [true, true, false, false, true, false, false, false];
    let verdicts: Vec<_> = answers.iter().map(|good| count.observe(*good, &probe)).collect();
    assert_eq!(verdicts, [None, Some(true), None, None, None, None, None, Some(false)]);
}

#[test]
fn without_probes_what_runs_is_started_and_ready() {
    let verdicts = Verdicts::default();
    let plain = container(json!({}));
    assert!(verdicts.ready(&plain, &running("a")));
    assert_eq!(verdicts.condemned(&plain, &running("a")), None);
    let created = Attempt { state: State::Created, ..running("a") };
    assert!(!verdicts.started(&plain, &created));
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_startup_and_turns_with_the_answers() {
    let dialer = Arc::new(Answers::default());
    let (mut probes, wake, told) = probes(&dialer);
    let container = container(json!({
        "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1,
        },
    }));
    let attempt = running("a");
    probes.keep(&[(&container, &attempt)], Some(IP), Timestamp::UNIX_EPOCH);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!probes.verdicts().started(&container, &attempt));
    assert!(dialer.asked.lock().iter().all(|asked| asked == "tcp 10.64.0.5:8080"));
    assert_eq!(told.lock()[0], "web: Startup probe failed: nobody there");

    *dialer.status.lock() = Some(StatusCode::OK);
    wake.notified().await;
    assert!(probes.verdicts().started(&container, &attempt));
    assert!(!probes.verdicts().ready(&container, &attempt));

    probes.keep(&[(&container, &attempt)], Some(IP), Timestamp::UNIX_EPOCH);
    wake.notified().await;
    assert!(probes.verdicts().ready(&container, &attempt));
    assert_eq!(dialer.asked.lock().last().unwrap(), "http://10.64.0.5:8080/ready");

    *dialer.status.lock() = Some(StatusCode::SERVICE_UNAVAILABLE);
    wake.notified().await;
    assert!(!probes.verdicts().ready(&container, &attempt));
    assert!(probes.verdicts().started(&container, &attempt));
    assert!(told.lock().contains(
        &"web: Readiness probe failed: HTTP probe failed with statuscode: 503".to_owned()
    ));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_fails_its_liveness_probe_is_condemned() {
    let dialer = Arc::new(Answers::default());
    let (mut probes, wake, _) = probes(&dialer);
    let container = container(json!({
        "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 2},
    }));
    let attempt = running("a");
    let begin = tokio::time::Instant::now();
    probes.keep(&[(&container, &attempt)], Some(IP), Timestamp::UNIX_EPOCH);
    wake.notified().await;
    assert_eq!(begin.elapsed().as_secs(), 1, "one failure is not enough");
    assert_eq!(
        probes.verdicts().condemned(&container, &attempt).unwrap().0,
        "Container web failed liveness probe, will be restarted"
    );
    assert_eq!(probes.verdicts().condemned(&container, &running("b")), None);

    probes.keep(&[(&container, &running("b"))], Some(IP), Timestamp::UNIX_EPOCH);
    assert_eq!(probes.verdicts().condemned(&container, &attempt), None);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_stops_is_only_asked_whether_it_is_ready() {
    let dialer = Arc::new(Answers::default());
    let (mut probes, _, _) = probes(&dialer);
    let container = container(json!({
        "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"port": "http", "path": "/live"}, "periodSeconds": 1},
    }));
    let attempt = running("a");
    probes.only_readiness();
    probes.keep(&[(&container, &attempt)], Some(IP), Timestamp::UNIX_EPOCH);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = dialer.asked.lock();
    assert!(!asked.is_empty() && asked.iter().all(|url| url.ends_with("/ready")), "{asked:?}");
}

#[test]
fn named_ports_are_those_of_the_container() {
    let container = container(json!({}));
    let ports = container.ports.unwrap();
    assert_eq!(port(&IntOrString::String("http".into()), &ports), Ok(8080));
    assert_eq!(
        port(&IntOrString::String("grpc".into()), &ports),
        Err("couldn't find port: grpc".into())
    );
    assert_eq!(port(&IntOrString::Int(0), &ports), Err("invalid port number: 0".into()));
}
