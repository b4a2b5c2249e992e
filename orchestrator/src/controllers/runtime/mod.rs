//! The one runtime of all control loops.
//!
//! A key waits in a [`Queue`] at most once, is worked on by one pass at a
//! time, and comes back with exponential backoff when its pass fails or panics;
//! but not if it failed because its namespace goes: then there is nothing to be done.
//!
//! An informer may be behind the writes of a pass: a second pass would then
//! create the same Pods again. So a pass notes in [`Written`] what it wrote,
//! and its key does not run again until the informers have caught up
//! (Kubernetes calls it expectations).

mod queue;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Resource;
use kube::core::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::client::{Informer, ObjectKey, is_namespace_terminating, status_code};
use crate::clock::Entropy;
use crate::metrics::workqueue;

pub use queue::Queue;

/// Passes of one loop at the same time, as kube-controller-manager's
/// `--concurrent-*-syncs`.
const WORKERS: usize = 5;
/// The wait after the first failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest wait after a failure.
const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// A pass that loses more often in a row than this loses not because others are faster.
const RACES_IN_A_ROW: u32 = 5;
/// An informer that is behind for so long is broken; then better act on what
/// is known than never again (client-go's expectations time out alike).
const CATCH_UP: Duration = Duration::from_secs(300);

/// The longest wait for a time of the day. Waits are measured by a clock that
/// stands still while the computer sleeps, times of the day are not.
const WAIT_LONGEST: Duration = Duration::from_secs(60);

/// When to look at a key again, absent any event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// Only when something changes.
    OnChange,
    /// After this long, at the latest.
    After(Duration),
}

impl From<Option<Duration>> for Requeue {
    fn from(after: Option<Duration>) -> Self {
        after.map_or(Self::OnChange, Self::After)
    }
}

/// One control loop.
///
/// `reconcile` gets a key, never an event: it must do the right thing after a
/// restart, when the events are gone. The runtime calls it for one key at a
/// time, and again with backoff if it fails.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Names the loop in logs.
    const NAME: &'static str;
    /// Passes at the same time.
    const WORKERS: usize = WORKERS;
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Brings one object closer to its `spec`.
    async fn reconcile(&self, key: &ObjectKey, written: &Written) -> Result<Requeue, Self::Error>;
}

/// What one pass wrote, per kind the highest resourceVersion.
#[derive(Default)]
pub struct Written(Mutex<HashMap<TypeId, Note>>);

struct Note {
    version: u64,
    reached: Box<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Written {
    /// Notes that an object was written; `meta` is what the server answered.
    pub fn note<K: Resource + Send + Sync + 'static>(
        &self,
        informer: &Informer<K>,
        meta: &ObjectMeta,
    ) {
        let Some(version) = meta.resource_version.as_deref().and_then(|v| v.parse().ok()) else {
            return;
        };
        let mut notes = self.0.lock();
        let note = notes.entry(TypeId::of::<K>()).or_insert_with(|| {
            let informer = informer.clone();
            let reached = move |version| -> BoxFuture<'static, ()> {
                let informer = informer.clone();
                Box::pin(async move { informer.reached(version).await })
            };
            Note { version, reached: Box::new(reached) }
        });
        note.version = note.version.max(version);
    }

    /// Waits until every informer has what was written.
    async fn settled(&self) {
        let waits: Vec<_> =
            self.0.lock().values().map(|note| (note.reached)(note.version)).collect();
        futures::future::join_all(waits).await;
    }
}

/// Runs one control loop over its queue until `stop`, and until its passes have ended.
pub async fn drive<C: Controller>(
    controller: C,
    queue: Arc<Queue>,
    entropy: Entropy,
    stop: CancellationToken,
) {
    workqueue::show(C::NAME, queue.metrics());
    let controller = Arc::new(controller);
    let workers = Arc::new(Semaphore::new(C::WORKERS));
    let mut passes = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&workers).acquire_owned().await;
            (queue.next().await, permit.expect("the semaphore is never closed"))
        };
        let Some((key, permit)) = stop.run_until_cancelled(next).await else { break };
        while passes.try_join_next().is_some() {}
        let (controller, queue) = (Arc::clone(&controller), Arc::clone(&queue));
        let (entropy, stop) = (entropy.clone(), stop.clone());
        passes.spawn(async move {
            let written = Written::default();
            let began = tokio::time::Instant::now();
            let pass = AssertUnwindSafe(controller.reconcile(&key, &written));
            let result = pass.catch_unwind().await;
            queue.metrics().worked(began.elapsed());
            drop(permit);
            let settling = tokio::time::timeout(CATCH_UP, written.settled());
            match stop.run_until_cancelled(settling).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(_)) => warn!(controller = C::NAME, key = %key, "informer is behind"),
            }
            match result {
                Ok(result) => settle::<C>(&queue, &key, result, &entropy),
                Err(panic) => {
                    let failures = again(&queue, &key, &entropy);
                    let panic = panic_text(&*panic);
                    error!(controller = C::NAME, key = %key, panic, failures, "pass panicked");
                }
            }
        });
    }
    passes.join_all().await;
}

/// Gives the key of an ended pass back to the queue.
fn settle<C: Controller>(
    queue: &Queue,
    key: &Arc<ObjectKey>,
    result: Result<Requeue, C::Error>,
    entropy: &Entropy,
) {
    match result {
        Ok(requeue) => {
            queue.done(key);
            if let Requeue::After(delay) = requeue {
                queue.add_after(Arc::clone(key), delay.min(WAIT_LONGEST));
            }
        }
        Err(error) => {
            let cause = &error as &dyn std::error::Error;
            if answers(cause).any(is_namespace_terminating) {
                debug!(controller = C::NAME, key = %key, "namespace is terminating");
                return queue.done(key);
            }
            let failures = again(queue, key, entropy);
            if failures <= RACES_IN_A_ROW && answers(cause).any(is_race) {
                debug!(controller = C::NAME, key = %key, error = cause, "pass lost a race");
            } else {
                warn!(controller = C::NAME, key = %key, error = cause, failures, "pass failed");
            }
        }
    }
}

/// Asks for another pass of a key after its backoff; answers how often it failed in a row.
fn again(queue: &Queue, key: &Arc<ObjectKey>, entropy: &Entropy) -> u32 {
    let failures = queue.failed(key);
    queue.add_after(Arc::clone(key), backoff(failures, entropy.fraction()));
    failures
}

/// What a panic says.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// The wait after so many failures in a row; `fraction` (0 to 1) spreads it.
fn backoff(failures: u32, fraction: f64) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(BACKOFF_LAST).mul_f64(1.0 + fraction / 4.0)
}

/// What the server answered, of all that led to an error.
fn answers<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a kube::Error> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    // Most errors keep the answer in a box, which hides it from its own source.
    causes.filter_map(|error| {
        let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
        boxed.or_else(|| error.downcast_ref::<kube::Error>())
    })
}

/// Whether somebody else wrote or deleted the object first, which is no trouble.
fn is_race(answer: &kube::Error) -> bool {
    matches!(status_code(answer), Some(404 | 409))
}

#[cfg(test)]
mod tests;
