//! Pods that wait for a decision.
//!
//! Ready ones go by priority, then by age. One that fits nowhere waits until
//! something changes that could help it, and not before its backoff is over;
//! now and then all are tried again, should a change have been missed.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::ObjectKey;

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
    next: u64,
}

#[derive(Debug)]
struct Known {
    place: Place,
    priority: i32,
    order: u64,
    attempts: u32,
    backoff_ends: Option<Instant>,
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
    /// Adds a Pod, unless it is known.
    pub fn add(&mut self, key: &ObjectKey, priority: i32) {
        if self.known.contains_key(key) {
            return;
        }
        self.next += 1;
        let order = self.next;
        self.ready.insert((Reverse(priority), order, key.clone()));
        let known = Known { place: Place::Ready, priority, order, attempts: 0, backoff_ends: None };
        self.known.insert(key.clone(), known);
    }

    /// Forgets a Pod.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(known) = self.known.remove(key) {
            self.ready.remove(&(Reverse(known.priority), known.order, key.clone()));
            if let Place::Delayed(at) = known.place {
                self.delayed.remove(&(at, known.order));
            }
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

    /// Puts a taken Pod aside that fits nowhere.
    pub fn park(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(known) = self.known.get_mut(key) {
            known.backoff_ends = Some(now + backoff(known.attempts));
            known.place = Place::Waiting(now + RETRY);
        }
    }

    /// Tries a taken Pod again after its backoff, such as when its binding failed.
    pub fn retry(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(known) = self.known.get(key) {
            let at = now + backoff(known.attempts);
            self.delay(key, at);
        }
    }

    /// Something changed: those that wait are tried once their backoff is over.
    pub fn wake(&mut self, now: Instant) {
        self.move_waiting(now, |_| true);
    }

    /// Wakes what has waited too long; when to call it again.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        self.move_waiting(now, |until| until <= now);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let waiting = self.known.values().filter_map(|known| match known.place {
            Place::Waiting(until) => Some(until),
            _ => None,
        });
        waiting.chain(delayed).min()
    }

    fn move_waiting(&mut self, now: Instant, due: impl Fn(Instant) -> bool) {
        let moved: Vec<(ObjectKey, Option<Instant>)> = self
            .known
            .iter()
            .filter(|(_, known)| matches!(known.place, Place::Waiting(until) if due(until)))
            .map(|(key, known)| (key.clone(), known.backoff_ends))
            .collect();
        for (key, ends) in moved {
            match ends.filter(|ends| *ends > now) {
                Some(ends) => self.delay(&key, ends),
                None => self.make_ready(&key),
            }
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

    #[test]
    fn higher_priorities_go_first_then_older_ones() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("a", 0)] {
            queue.add(&key(name), priority);
        }
        let now = Instant::now();
        let order: Vec<_> = std::iter::from_fn(|| queue.take(now)).map(|key| key.name).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn what_fits_nowhere_waits_for_a_change_and_for_its_backoff() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add(&key("a"), 0);
        assert_eq!(queue.take(start), Some(key("a")));
        queue.park(&key("a"), start);
        assert_eq!(queue.take(start + Duration::from_secs(60)), None, "nothing has changed");
        queue.wake(start);
        assert_eq!(queue.take(start), None, "its backoff is not over");
        let later = start + BACKOFF_FIRST;
        assert_eq!(queue.next_deadline(start), Some(later));
        assert_eq!(queue.take(later), Some(key("a")));
        queue.park(&key("a"), later);
        assert_eq!(queue.next_deadline(later), Some(later + RETRY));
        assert_eq!(queue.next_deadline(later + RETRY), None);
        assert_eq!(queue.take(later + RETRY), Some(key("a")));
        queue.remove(&key("a"));
        queue.wake(later + RETRY);
        assert_eq!(queue.take(later + RETRY), None);
    }
}
