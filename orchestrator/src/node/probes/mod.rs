//! Probes: what a container is asked, how often, and what follows from the answers.
//!
//! Each probe of each running container is a task of its Pod's worker; it
//! counts answers ([`Count`], pure) and wakes the worker when the verdict
//! turns. Readiness and liveness wait until the container has started.
mod dial;
mod grpc;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::pods::Attempt;

pub use dial::{Dialer, Probed};
pub(super) use dial::{HttpGet, http_get};

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) enum Kind {
    /// Whether the container has started.
    Startup,
    /// Whether it gets traffic.
    Readiness,
    /// Whether it is to be restarted.
    Liveness,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// What the probes of a Pod found, by container id.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts(HashMap<(String, Kind), bool>);

impl Verdicts {
    /// Whether an attempt that runs has started.
    pub fn started(&self, container: &Container, attempt: &Attempt) -> bool {
        attempt.running_since().is_some()
            && (container.startup_probe.is_none()
                || self.verdict(attempt, Kind::Startup) == Some(true))
    }

    /// Whether it gets traffic.
    pub fn ready(&self, container: &Container, attempt: &Attempt) -> bool {
        self.started(container, attempt)
            && (container.readiness_probe.is_none()
                || self.verdict(attempt, Kind::Readiness) == Some(true))
    }

    /// Why it is to be restarted, if it is, and the grace in seconds that its probe gives it.
    pub fn condemned(
        &self,
        container: &Container,
        attempt: &Attempt,
    ) -> Option<(String, Option<i64>)> {
        let failed = [Kind::Startup, Kind::Liveness]
            .into_iter()
            .find(|kind| self.verdict(attempt, *kind) == Some(false))?;
        let (probe, name) = (failed.title().to_lowercase(), &container.name);
        let grace = failed.of(container).and_then(|probe| probe.termination_grace_period_seconds);
        Some((format!("Container {name} failed {probe} probe, will be restarted"), grace))
    }

    #[cfg(test)]
    /// Notes what a probe found.
    pub fn set(&mut self, id: &str, kind: Kind, verdict: bool) {
        self.0.insert((id.to_owned(), kind), verdict);
    }

    fn verdict(&self, attempt: &Attempt, kind: Kind) -> Option<bool> {
        self.0.get(&(attempt.id.clone(), kind)).copied()
    }
}

/// Answers counted toward a verdict.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    last: bool,
    run: i32,
}

impl Count {
    /// Counts an answer; the verdict, once there were enough alike in a row.
    pub fn observe(&mut self, good: bool, probe: &Probe) -> Option<bool> {
        self.run = if self.run > 0 && self.last == good { self.run.saturating_add(1) } else { 1 };
        self.last = good;
        let threshold = if good {
            probe.success_threshold.unwrap_or(1)
        } else {
            probe.failure_threshold.unwrap_or(3)
        };
        (self.run >= threshold).then_some(good)
    }
}

/// Tells a failed probe to whoever records Events: container, then the message.
pub(super) type Report = Arc<dyn Fn(&str, String) + Send + Sync>;

/// The probes of one Pod.
pub(super) struct Probes {
    dialer: Arc<dyn Dialer>,
    verdicts: Arc<Mutex<Verdicts>>,
    wake: Arc<Notify>,
    report: Report,
    running: HashMap<(String, Kind), AbortHandle>,
    tasks: JoinSet<()>,
    /// Whether the Pod stops: nothing is restarted any more.
    stopping: bool,
}

impl Probes {
    /// No probes yet; `wake` is told when a verdict turns.
    pub fn new(dialer: Arc<dyn Dialer>, wake: Arc<Notify>, report: Report) -> Self {
        Self {
            dialer,
            verdicts: Arc::default(),
            wake,
            report,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            stopping: false,
        }
    }

    /// What they have found.
    pub fn verdicts(&self) -> Verdicts {
        self.verdicts.lock().clone()
    }

    /// Starts the probes of what runs now and ends those of what does not.
    pub fn keep(&mut self, running: &[(&Container, &Attempt)], ip: Option<IpAddr>, now: Timestamp) {
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|(id, kind), task| {
            let kept = running.iter().any(|(_, attempt)| &attempt.id == id);
            if !kept {
                task.abort();
                self.verdicts.lock().0.remove(&(id.clone(), *kind));
            }
            kept
        });
        let Some(ip) = ip else { return };
        for (container, attempt) in running {
            let started = self.verdicts.lock().started(container, attempt);
            for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                if self.stopping && kind != Kind::Readiness {
                    continue;
                }
                let Some(probe) = kind.of(container) else { continue };
                let key = (attempt.id.clone(), kind);
                if self.running.contains_key(&key) || (kind != Kind::Startup && !started) {
                    continue;
                }
                let task = self.task(container, attempt, kind, probe, ip, now);
                self.running.insert(key, task);
            }
        }
    }

    /// Ends the probes that could restart a container, for good: the Pod stops.
    pub fn only_readiness(&mut self) {
        self.stopping = true;
        self.running.retain(|(_, kind), task| {
            let kept = *kind == Kind::Readiness;
            if !kept {
                task.abort();
            }
            kept
        });
    }

    fn task(
        &mut self,
        container: &Container,
        attempt: &Attempt,
        kind: Kind,
        probe: &Probe,
        ip: IpAddr,
        now: Timestamp,
    ) -> AbortHandle {
        let delay = Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).max(0) as u64);
        let since = attempt.running_since().unwrap_or(now);
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let task = Task {
            dialer: Arc::clone(&self.dialer),
            verdicts: Arc::clone(&self.verdicts),
            wake: Arc::clone(&self.wake),
            report: Arc::clone(&self.report),
            container: container.clone(),
            id: attempt.id.clone(),
            kind,
            probe: probe.clone(),
            ip,
        };
        self.tasks.spawn(task.run(delay.saturating_sub(passed)))
    }
}

/// One probe of one container.
struct Task {
    dialer: Arc<dyn Dialer>,
    verdicts: Arc<Mutex<Verdicts>>,
    wake: Arc<Notify>,
    report: Report,
    container: Container,
    id: String,
    kind: Kind,
    probe: Probe,
    ip: IpAddr,
}

impl Task {
    async fn run(self, delay: Duration) {
        tokio::time::sleep(delay).await;
        let seconds =
            |n: Option<i32>, default| Duration::from_secs(n.unwrap_or(default).max(1) as u64);
        let period = seconds(self.probe.period_seconds, 10);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = Count::default();
        loop {
            ticks.tick().await;
            let answer = match tokio::time::timeout(timeout, self.ask()).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
            };
            if let Err(why) = &answer {
                let title = self.kind.title();
                (self.report)(&self.container.name, format!("{title} probe failed: {why}"));
            }
            let Some(verdict) = count.observe(answer.is_ok(), &self.probe) else { continue };
            self.decide(verdict);
            let over = match self.kind {
                Kind::Startup => true,
                Kind::Liveness => !verdict,
                Kind::Readiness => false,
            };
            if over {
                return;
            }
        }
    }

    fn decide(&self, verdict: bool) {
        let before = self.verdicts.lock().0.insert((self.id.clone(), self.kind), verdict);
        if before != Some(verdict) {
            self.wake.notify_one();
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let ports = self.container.ports.as_deref().unwrap_or_default();
        if let Some(action) = &self.probe.http_get {
            let get = HttpGet::of(action, ports, self.ip)?;
            return http_get(&*self.dialer, get).await;
        }
        if let Some(action) = &self.probe.tcp_socket {
            let to =
                SocketAddr::new(host(action.host.as_deref(), self.ip)?, port(&action.port, ports)?);
            return self.dialer.connect(to).await;
        }
        if let Some(action) = &self.probe.grpc {
            let to = SocketAddr::new(self.ip, port(&IntOrString::Int(action.port), ports)?);
            return self.dialer.grpc(to, action.service.as_deref().unwrap_or_default()).await;
        }
        Err("only httpGet, tcpSocket and grpc probes have a meaning for WebAssembly".to_owned())
    }
}

/// Whom to ask: the Pod, unless the probe names an address.
fn host(named: Option<&str>, ip: IpAddr) -> Result<IpAddr, String> {
    match named.filter(|host| !host.is_empty()) {
        None => Ok(ip),
        Some(host) => host.parse().map_err(|_| format!("host {host:?} is not an IP address")),
    }
}

/// The number of a port, which may be one of the container's by name.
fn port(
    wanted: &IntOrString,
    ports: &[k8s_openapi::api::core::v1::ContainerPort],
) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => ports
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0).ok_or_else(
        || match wanted {
            IntOrString::Int(number) => format!("invalid port number: {number}"),
            IntOrString::String(name) => format!("couldn't find port: {name}"),
        },
    )
}

#[cfg(test)]
mod tests;
