//! The keys that wait for a pass of a control loop.
//!
//! A key is idle, waiting, running, or running with another pass wanted.
//! What is added while it runs leads to one more pass when it is done.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::{Change, Informer, ObjectKey};
use crate::metrics::workqueue::WorkQueue;

/// Keys with one pass at a time; bounded by the number of objects.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    metrics: Arc<WorkQueue>,
}

#[derive(Debug, Default)]
struct State {
    /// With the time since when each waits.
    ready: VecDeque<(Instant, Arc<ObjectKey>)>,
    keys: HashMap<Arc<ObjectKey>, Place>,
    delayed: BTreeMap<(Instant, u64), Arc<ObjectKey>>,
    due: HashMap<Arc<ObjectKey>, (Instant, u64)>,
    failures: HashMap<Arc<ObjectKey>, u32>,
    sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Running,
    RunningAndWanted,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks for a pass.
    pub fn add(&self, key: Arc<ObjectKey>) {
        let mut state = self.state.lock();
        if state.add(key) {
            self.metrics.adds.inc();
            self.metrics.depth.set(state.ready.len() as i64);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Asks for a pass after a delay, unless one is asked for earlier.
    pub fn add_after(&self, key: Arc<ObjectKey>, delay: Duration) {
        self.state.lock().delay(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Asks for a pass of every key that a change of the informer's objects names.
    pub fn feed<K: Resource + Send + Sync + 'static>(
        self: &Arc<Self>,
        informer: &Informer<K>,
        keys: impl Fn(&Change<K>, &mut dyn FnMut(ObjectKey)) + Send + Sync + 'static,
    ) {
        let queue: Weak<Self> = Arc::downgrade(self);
        informer.listen(move |change| {
            let Some(queue) = queue.upgrade() else { return std::ops::ControlFlow::Break(()) };
            keys(change, &mut |key| queue.add(Arc::new(key)));
            std::ops::ControlFlow::Continue(())
        });
    }

    /// Asks for a pass of every object of the informer that changes.
    pub fn feed_own<K: Resource + Send + Sync + 'static>(self: &Arc<Self>, informer: &Informer<K>) {
        self.feed(informer, |change, add| add(ObjectKey::clone(&change.key)));
    }

    /// The next key, which is running from now on until [`Queue::done`] or [`Queue::failed`].
    pub(super) async fn next(&self) -> Arc<ObjectKey> {
        loop {
            let notified = self.changed.notified();
            let wake = {
                let mut state = self.state.lock();
                let now = Instant::now();
                if let Some((since, key)) = state.take(now) {
                    self.metrics.waited(now.saturating_duration_since(since));
                    self.metrics.depth.set(state.ready.len() as i64);
                    return key;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match wake {
                None => notified.await,
                Some(at) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// What is counted of it.
    pub(super) fn metrics(&self) -> &Arc<WorkQueue> {
        &self.metrics
    }

    /// Ends a pass that went well.
    pub(super) fn done(&self, key: &Arc<ObjectKey>) {
        let mut state = self.state.lock();
        state.failures.remove(key);
        state.end(key);
        self.changed.notify_one();
    }

    /// Ends a pass that failed; answers how often it failed in a row.
    ///
    /// Changes while it ran do not bring it back before its backoff is over.
    pub(super) fn failed(&self, key: &Arc<ObjectKey>) -> u32 {
        self.metrics.retries.inc();
        let mut state = self.state.lock();
        state.keys.remove(key);
        let failures = state.failures.entry(Arc::clone(key)).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }
}

impl State {
    /// Whether this leads to a pass that nobody has asked for yet.
    fn add(&mut self, key: Arc<ObjectKey>) -> bool {
        match self.keys.get_mut(&key) {
            None => {
                self.keys.insert(Arc::clone(&key), Place::Waiting);
                self.ready.push_back((Instant::now(), key));
                true
            }
            Some(place @ Place::Running) => {
                *place = Place::RunningAndWanted;
                true
            }
            Some(Place::Waiting | Place::RunningAndWanted) => false,
        }
    }

    fn delay(&mut self, key: Arc<ObjectKey>, at: Instant) {
        if let Some(due) = self.due.get(&key) {
            if due.0 <= at {
                return;
            }
            self.delayed.remove(due);
        }
        self.sequence += 1;
        self.delayed.insert((at, self.sequence), Arc::clone(&key));
        self.due.insert(key, (at, self.sequence));
    }

    fn take(&mut self, now: Instant) -> Option<(Instant, Arc<ObjectKey>)> {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
        let (since, key) = self.ready.pop_front()?;
        self.keys.insert(Arc::clone(&key), Place::Running);
        Some((since, key))
    }

    fn end(&mut self, key: &Arc<ObjectKey>) {
        if self.keys.remove(key) == Some(Place::RunningAndWanted) {
            self.add(Arc::clone(key));
        }
    }
}
