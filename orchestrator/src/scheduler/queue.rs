//! Pods that wait for a decision.
//!
//! Ready ones go by priority, then by age. One that fits nowhere waits until
//! something changes for a plugin that refused it, and not before its backoff
//! is over; now and then all are tried again, should a change have been missed.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::PodInfo;
use super::reason::Plugins;
use crate::client::ObjectKey;
use crate::metrics::scheduler::{self as metrics, Waiting};

/// The backoff after the first attempt; it doubles with each (kube-scheduler's podInitialBackoffSeconds).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest backoff (podMaxBackoffSeconds).
const BACKOFF_LAST: Duration = Duration::from_secs(10);
/// After so long a Pod is tried again without a reason (podMaxInUnschedulablePodsDuration).
const RETRY: Duration = Duration::from_secs(300);

/// The queue; holds each Pod once.
#[derive(Debug, Default)]
pub struct Queue {
    ready: BTreeSet<(Reverse<i32>, u64, ObjectKey)>,
    known: HashMap<ObjectKey, Known>,
    delayed: BTreeMap<(Instant, u64), ObjectKey>,
    /// By when they are tried without a reason.
    waiting: BTreeMap<(Instant, u64), ObjectKey>,
    next: u64,
}

#[derive(Debug)]
struct Known {
    place: Place,
    uid: String,
    priority: i32,
    generation: i64,
    order: u64,
    attempts: u32,
    backoff_ends: Option<Instant>,
    refused_by: Plugins,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    /// Until then.
    Delayed(Instant),
    /// Taken for a decision.
    Taken,
    /// Fits nowhere; until something changes, or then.
    Waiting(Instant),
}

impl Queue {
    /// Adds a Pod; one that waits and is of another generation now is tried again.
    pub fn add(&mut self, key: &ObjectKey, pod: &PodInfo, now: Instant) {
        if let Some(known) = self.known.get_mut(key) {
            let changed =
                std::mem::replace(&mut known.generation, pod.generation) != pod.generation;
            if changed {
                self.unpark(key, now);
            }
            return;
        }
        self.next += 1;
        let order = self.next;
        self.ready.insert((Reverse(pod.priority), order, key.clone()));
        let known = Known {
            place: Place::Ready,
            uid: pod.uid.clone(),
            priority: pod.priority,
            generation: pod.generation,
            order,
            attempts: 0,
            backoff_ends: None,
            refused_by: Plugins::NONE,
        };
        self.known.insert(key.clone(), known);
    }

    /// The uid of the Pod that waits under this name.
    pub fn uid(&self, key: &ObjectKey) -> Option<&str> {
        self.known.get(key).map(|known| known.uid.as_str())
    }

    /// Forgets a Pod.
    pub fn remove(&mut self, key: &ObjectKey) {
        let Some(known) = self.known.remove(key) else { return };
        match known.place {
            Place::Ready => {
                self.ready.remove(&(Reverse(known.priority), known.order, key.clone()));
            }
            Place::Delayed(at) => {
                self.delayed.remove(&(at, known.order));
            }
            Place::Waiting(until) => {
                self.waiting.remove(&(until, known.order));
            }
            Place::Taken => {}
        }
    }

    /// Takes the next Pod that is to be decided.
    pub fn take(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.make_ready(&key);
        }
        let (_, _, key) = self.ready.pop_first()?;
        if let Some(known) = self.known.get_mut(&key) {
            known.place = Place::Taken;
            known.attempts += 1;
        }
        Some(key)
    }

    /// Puts a taken Pod aside that fits nowhere, because of these plugins.
    pub fn park(&mut self, key: &ObjectKey, refused_by: Plugins, now: Instant) {
        if let Some(known) = self.known.get_mut(key) {
            known.backoff_ends = Some(now + backoff(known.attempts));
            known.place = Place::Waiting(now + RETRY);
            known.refused_by = refused_by;
            self.waiting.insert((now + RETRY, known.order), key.clone());
        }
    }

    /// Tries a taken Pod again after its backoff, such as when its binding failed.
    pub fn retry(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(known) = self.known.get(key) {
            let at = now + backoff(known.attempts);
            self.delay(key, at);
        }
    }

    /// Something changed for these plugins: those that wait for one of them are
    /// tried once their backoff is over.
    pub fn wake(&mut self, changed: Plugins, now: Instant) {
        let due = |queue: &Self, key: &ObjectKey| {
            queue.known.get(key).is_some_and(|known| known.refused_by.meets(changed))
        };
        let moved: Vec<ObjectKey> =
            self.waiting.values().filter(|key| due(self, key)).cloned().collect();
        for key in moved {
            self.unpark(&key, now);
        }
    }

    /// Whether no Pod waits for a change.
    pub fn is_nobody_waiting(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Wakes what has waited too long; when to call it again.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        while let Some(((until, _), key)) = self.waiting.first_key_value() {
            if *until > now {
                break;
            }
            let key = key.clone();
            self.unpark(&key, now);
        }
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let waiting = self.waiting.first_key_value().map(|((until, _), _)| *until);
        waiting.into_iter().chain(delayed).min()
    }

    /// Tells Prometheus how many Pods wait, and for what.
    pub fn tell(&self) {
        metrics::pending(Waiting::Active, self.ready.len());
        metrics::pending(Waiting::Backoff, self.delayed.len());
        metrics::pending(Waiting::Unschedulable, self.waiting.len());
    }

    fn unpark(&mut self, key: &ObjectKey, now: Instant) {
        let Some(known) = self.known.get(key) else { return };
        let Place::Waiting(until) = known.place else { return };
        self.waiting.remove(&(until, known.order));
        match known.backoff_ends.filter(|ends| *ends > now) {
            Some(ends) => self.delay(key, ends),
            None => self.make_ready(key),
        }
    }

    fn delay(&mut self, key: &ObjectKey, at: Instant) {
        if let Some(known) = self.known.get_mut(key) {
            known.place = Place::Delayed(at);
            self.delayed.insert((at, known.order), key.clone());
        }
    }

    fn make_ready(&mut self, key: &ObjectKey) {
        if let Some(known) = self.known.get_mut(key) {
            known.place = Place::Ready;
            self.ready.insert((Reverse(known.priority), known.order, key.clone()));
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(8));
    doubled.min(BACKOFF_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn pod(priority: i32, generation: i64) -> PodInfo {
        PodInfo { priority, generation, ..PodInfo::default() }
    }

    #[test]
    fn higher_priorities_go_first_then_older_ones() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("a", 0)] {
            queue.add(&key(name), &pod(priority, 1), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take(now)).map(|key| key.name).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn what_fits_nowhere_waits_for_a_change_that_helps_and_for_its_backoff() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add(&key("a"), &pod(0, 1), start);
        assert_eq!(queue.take(start), Some(key("a")));
        queue.park(&key("a"), Plugins::RESOURCES, start);
        assert_eq!(queue.take(start + Duration::from_secs(60)), None, "nothing has changed");
        queue.wake(Plugins::TAINTS, start);
        assert_eq!(queue.take(start + Duration::from_secs(60)), None, "that does not help");
        queue.wake(Plugins::RESOURCES, start);
        assert_eq!(queue.take(start), None, "its backoff is not over");
        let later = start + BACKOFF_FIRST;
        assert_eq!(queue.next_deadline(start), Some(later));
        assert_eq!(queue.take(later), Some(key("a")));
        queue.park(&key("a"), Plugins::RESOURCES, later);
        assert_eq!(queue.next_deadline(later), Some(later + RETRY));
        assert_eq!(queue.next_deadline(later + RETRY), None);
        assert_eq!(queue.take(later + RETRY), Some(key("a")));
        queue.park(&key("a"), Plugins::RESOURCES, later + RETRY);
        queue.add(&key("a"), &pod(0, 1), later + RETRY * 2);
        assert!(queue.ready.is_empty() && queue.delayed.is_empty(), "its status has changed alone");
        queue.add(&key("a"), &pod(0, 2), later + RETRY * 2);
        assert_eq!(queue.take(later + RETRY * 2), Some(key("a")), "its spec has changed");
        queue.remove(&key("a"));
        queue.wake(Plugins::ALL, later + RETRY);
        assert_eq!(queue.take(later + RETRY), None);
    }
}
