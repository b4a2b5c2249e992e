//! Functions: guests that are called per request.
//!
//! Every request gets an instance of its own and is forgotten with it, unless
//! the container asks for instances that serve one request after another. A
//! request is Queued (bounded) → Running → Answered. Its first slice runs on
//! the task that brought it; most requests end there, their whole body in hand.
//! What goes wrong with one request is that request's answer: 500 for a trap,
//! fuel or memory, 504 out of time. Only what no guest has seen is refused.
//!
//! A Spin application is one function of several components: a request is for
//! the one that its route leads to, and all share what the container has.

mod answer;
mod call;
mod chain;
mod headers;
mod instance;
mod routes;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::cri::ExitReason;
use crate::engine::{Artifact, Engine};
use crate::executor::{CpuAccount, Executor};
use crate::guest::{Environment, Guest};
use crate::limits::MemoryAccount;
use crate::logs::LogFile;
use crate::network::{HttpHandler, Peer, PodNet, Refused, RefusedReason, Request, Response};
use crate::sockets::Neighbours;

pub use instance::IDLE_TIME;
pub use routes::{Found, Route, RouteError, Routes};

use call::{Call, Start};
use chain::Chain;
use instance::Kept;

/// Requests handled at once where the Pod does not say: Knative's default
/// target, and small enough that a hundred instances of a small guest fit into
/// a usual memory limit.
pub const DEFAULT_CONCURRENCY: usize = 100;

/// How long a request may take where the Pod does not say: what nginx and most
/// ingress controllers wait for an answer.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests handled at once at most, whatever the container asks for: far more than a node
/// has room for, far fewer than the semaphore that counts them can.
pub const MAX_CONCURRENCY: usize = 65_536;

/// How long a request may take at most, whatever the container asks for: a day; clocks do not
/// overflow with it.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Requests that wait for one of those handled: ten times the default of
/// those, a few milliseconds of work for a usual function.
pub const MAX_QUEUE: usize = 1024;

/// A failing function reports at most one request per this time, after a first few; the others
/// are counted with the next. Events are for people; the log has them all.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Requests reported at once: different mistakes often come together.
const REPORT_BURST: u32 = 10;

/// Hears of requests that ended badly.
pub type Report = Box<dyn Fn(ExitReason, String) + Send + Sync>;

/// One guest of a function.
pub struct Component {
    /// Its name within its application.
    id: String,
    pre: ProxyPre<Guest>,
    environment: Arc<Environment>,
}

impl Component {
    /// A guest that is given this; `None` if it is a program.
    pub fn new(id: String, artifact: &Artifact, environment: Arc<Environment>) -> Option<Self> {
        Some(Self { id, pre: artifact.function()?.clone(), environment })
    }
}

/// What a function is made of.
pub struct Setup {
    /// The node's engine.
    pub engine: Arc<Engine>,
    /// Its guests.
    pub components: Vec<Component>,
    /// Which of them a request is for; no route leads to one that is not there.
    pub routes: Routes,
    /// What runs it.
    pub executor: Arc<Executor>,
    /// Where their output goes.
    pub log: Arc<LogFile>,
    /// Its Pod's network.
    pub net: PodNet,
    /// Where their CPU time counts.
    pub cpu: Arc<CpuAccount>,
    /// Where their memory counts.
    pub memory: Arc<MemoryAccount>,
    /// Fuel of each request; shared so that it can change, `u64::MAX` for no limit.
    pub fuel: Arc<AtomicU64>,
    /// Counts requests whose guests have ended.
    pub requests: Arc<AtomicU64>,
    /// Requests handled at once.
    pub concurrency: usize,
    /// Requests that one instance may serve; `None` gives each its own.
    pub reuse: Option<NonZeroU64>,
    /// How long each may take.
    pub timeout: Duration,
    /// Hears of requests that ended badly.
    pub report: Report,
}

/// A function of one container, on all its ports.
#[derive(Clone)]
pub struct Function(Arc<Inner>);

struct Inner {
    setup: Setup,
    kept: Kept,
    /// What its guests call each other by; none where there is no other.
    neighbours: Option<Arc<dyn Neighbours>>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    killed: CancellationToken,
    reports: Reports,
}

/// What was reported, and how much was not since.
struct Reports {
    began: Instant,
    /// When all that was reported would have been, at an even pace.
    paced_millis: AtomicU64,
    unsaid: AtomicU64,
}

impl Reports {
    /// Whether something may be reported now, which it then is.
    fn may_tell(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let every = REPORT_EVERY.as_millis() as u64;
        let ahead = every * u64::from(REPORT_BURST - 1);
        let next = |paced: u64| (paced <= now + ahead).then_some(paced.max(now) + every);
        self.paced_millis.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Function {
    /// A function that waits for its first request.
    pub fn new(mut setup: Setup) -> Self {
        setup.concurrency = setup.concurrency.clamp(1, MAX_CONCURRENCY);
        setup.timeout = setup.timeout.min(MAX_TIMEOUT);
        let slots = Arc::new(Semaphore::new(setup.concurrency));
        let reports = Reports {
            began: Instant::now(),
            paced_millis: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        };
        let is_spin = matches!(setup.routes, Routes::Spin(_));
        let inner = Arc::new_cyclic(|own| Inner {
            setup,
            kept: Kept::default(),
            neighbours: is_spin.then(|| Arc::new(Chain(own.clone())) as Arc<dyn Neighbours>),
            slots,
            waiting: AtomicUsize::new(0),
            killed: CancellationToken::new(),
            reports,
        });
        let held = Arc::downgrade(&inner);
        let relief = move || held.upgrade().is_some_and(|inner| inner.kept.give_up_one());
        inner.setup.memory.set_relief(Box::new(relief));
        Self(inner)
    }

    /// Ends instances that nobody has used for [`IDLE_TIME`]; never returns.
    pub async fn expire(&self) {
        self.0.kept.expire().await;
    }

    /// Ends every running request by force, and those that come later at once.
    pub fn kill(&self) {
        self.0.killed.cancel();
        self.0.kept.clear();
    }

    /// Waits until no guest runs.
    pub async fn idle(&self) {
        let all = u32::try_from(self.0.setup.concurrency).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.0.slots.acquire_many(all).await);
    }
}

#[async_trait]
impl HttpHandler for Function {
    async fn handle(&self, request: Request, peer: Peer) -> Result<Response, Refused> {
        let inner = &self.0;
        let refused = |request, reason| Refused { request, reason };
        if inner.killed.is_cancelled() {
            return Err(refused(request, RefusedReason::NotListening));
        }
        let route = match inner.setup.routes.find(request.uri().path()) {
            Found::Everything => None,
            Found::Route(route) => Some(route),
            Found::Health => return Ok(answer::plain(StatusCode::OK, "OK")),
            Found::Nothing => {
                return Ok(answer::plain(StatusCode::NOT_FOUND, "no route leads here"));
            }
        };
        let component = route.map_or(0, |route| route.component);
        let deadline = inner.deadline();
        let Some(slot) = inner.admit(deadline).await else {
            return Err(refused(request, RefusedReason::Saturated));
        };
        // It may have been killed while this waited for its turn.
        if inner.killed.is_cancelled() {
            return Err(refused(request, RefusedReason::NotListening));
        }
        inner.run(component, request, route.map(|route| (route, &peer)), deadline, slot).await
    }
}

impl Inner {
    /// When a request that comes now has to be answered.
    fn deadline(&self) -> Instant {
        Instant::now() + self.setup.timeout
    }

    /// Runs a request in an instance of a component, which is told how it came to it.
    async fn run(
        self: &Arc<Self>,
        component: usize,
        mut request: Request,
        way: Option<(&Route, &Peer)>,
        deadline: Instant,
        slot: OwnedSemaphorePermit,
    ) -> Result<Response, Refused> {
        let start = match self.kept.take(component) {
            Some(instance) => Start::Kept(instance),
            None => match self.setup.engine.try_instance() {
                Some(room) => Start::Fresh(component, room),
                None => return Err(Refused { request, reason: RefusedReason::Saturated }),
            },
        };
        if let Some((route, peer)) = way {
            headers::set(route, &mut request, peer);
        }
        let head_only = request.method() == http::Method::HEAD;
        let (head, answer) = oneshot::channel();
        let verdict = answer::Verdict::default();
        let call = Call { function: self.clone(), verdict: verdict.clone(), deadline, _slot: slot };
        let guest = call.run(start, request, head);
        let task = self.setup.executor.spawn_inline(&self.setup.cpu, guest);
        Ok(answer::response(answer.await, task, verdict, head_only))
    }

    /// Waits for a place among the requests handled at once.
    async fn admit(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        let _waiting = Waiting::enter(&self.waiting)?;
        tokio::time::timeout_at(deadline, self.slots.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Tells of a request that ended badly, unless many were told of just now.
    fn report(&self, reason: ExitReason, message: String) {
        self.setup.log.note(&message);
        let order = Ordering::Relaxed;
        if !self.reports.may_tell() {
            self.reports.unsaid.fetch_add(1, order);
            return;
        }
        let message = match self.reports.unsaid.swap(0, order) {
            0 => message,
            more => format!("{message} (and {more} more requests that ended badly)"),
        };
        (self.setup.report)(reason, message);
    }
}

/// A place in the queue, given back when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let room = |waiting| (waiting < MAX_QUEUE).then_some(waiting + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_told_and_then_one_now_and_then() {
        let reports = Reports {
            began: Instant::now(),
            paced_millis: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        };
        let told = (0..1_000).filter(|_| reports.may_tell()).count();
        assert_eq!(told, REPORT_BURST as usize);
    }
}
