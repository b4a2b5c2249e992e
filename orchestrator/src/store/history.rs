//! What every embedded backend keeps in memory: all entries, the last events,
//! and who follows them.
//!
//! A watcher subscribes under the lock that publishes, so that it can neither
//! miss an event nor see one twice. Older states are today's entries with the
//! newer events undone, so that a list in pages costs no copy of the store.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use parking_lot::RwLock;

use super::{Entry, Error, Event, Page, Range, Revision};

/// Events kept for watchers that come back and lists that go on: several
/// times what a burst of 5,000 Pods makes.
const KEPT_EVENTS: usize = 65_536;

/// Bytes of replaced values those events may hold alive.
const KEPT_BYTES: usize = 16 << 20;

/// What an event costs beside the value it replaced, roughly.
const EVENT_OVERHEAD: usize = 128;

/// Events a watcher may be behind before it is told to list again.
const BACKLOG: usize = 8_192;

/// The entries and the recent past of a store.
pub(super) struct History {
    state: RwLock<State>,
    /// Follows `state.revision` once an event has reached all its followers.
    revision: AtomicU64,
}

struct State {
    entries: BTreeMap<Arc<str>, Entry>,
    expiries: BTreeSet<(Timestamp, Arc<str>)>,
    revision: Revision,
    /// The events after `compacted`, in order.
    events: VecDeque<Event>,
    event_bytes: usize,
    compacted: Revision,
    followers: BTreeMap<Box<str>, Vec<Follower>>,
}

struct Follower {
    events: mpsc::Sender<Event>,
    /// The revision at which it fell behind; 0 while it keeps up.
    lagged: Arc<AtomicU64>,
}

impl History {
    /// The history of a store that was opened with these entries.
    pub(super) fn new(entries: impl IntoIterator<Item = Entry>, revision: Revision) -> Self {
        let mut state = State {
            entries: BTreeMap::new(),
            expiries: BTreeSet::new(),
            revision,
            events: VecDeque::new(),
            event_bytes: 0,
            compacted: revision,
            followers: BTreeMap::new(),
        };
        for entry in entries {
            state.insert(entry);
        }
        Self { state: RwLock::new(state), revision: AtomicU64::new(revision.0) }
    }

    /// The revision of the last published event.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// The present entry of a key.
    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.state.read().entries.get(key).cloned()
    }

    /// The entries of a range.
    pub(super) fn list(&self, range: Range<'_>) -> Result<Page, Error> {
        self.state.read().list(range)
    }

    /// Makes events visible, in order.
    pub(super) fn publish(&self, events: Vec<Event>) {
        let mut state = self.state.write();
        for event in events {
            state.apply(event);
        }
        self.revision.store(state.revision.0, Ordering::Release);
    }

    /// Up to `limit` entries whose time is over.
    pub(super) fn expired(&self, now: Timestamp, limit: usize) -> Vec<Entry> {
        let state = self.state.read();
        let due = state.expiries.iter().take_while(|(at, _)| *at <= now).take(limit);
        due.filter_map(|(_, key)| state.entries.get(key).cloned()).collect()
    }

    /// When the next entry expires.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.state.read().expiries.first().map(|(at, _)| *at)
    }

    /// Forgets the events up to a revision.
    pub(super) fn compact(&self, up_to: Revision) -> Result<(), Error> {
        let mut state = self.state.write();
        if up_to > state.revision {
            return Err(Error::Future { wanted: up_to, current: state.revision });
        }
        while state.events.front().is_some_and(|event| event.revision <= up_to) {
            state.forget_oldest();
        }
        state.compacted = state.compacted.max(up_to);
        Ok(())
    }

    /// The events after a revision, and those to come.
    pub(super) fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let mut state = self.state.write();
        if after < state.compacted {
            return Err(Error::Compacted(state.compacted));
        }
        let replay: Vec<Event> = state
            .events_after(after)
            .filter(|event| event.key().starts_with(prefix))
            .cloned()
            .collect();
        let live = state.follow(prefix).skip_while(move |event| {
            let early = matches!(event, Ok(event) if event.revision <= after);
            std::future::ready(early)
        });
        Ok(stream::iter(replay).map(Ok).chain(live).boxed())
    }
}

impl State {
    fn insert(&mut self, entry: Entry) {
        if let Some(at) = entry.expires() {
            self.expiries.insert((at, entry.shared_key()));
        }
        self.entries.insert(entry.shared_key(), entry);
    }

    fn apply(&mut self, event: Event) {
        if let Some(previous) = &event.previous
            && let Some(at) = previous.expires()
        {
            self.expiries.remove(&(at, previous.shared_key()));
        }
        match &event.entry {
            Some(entry) => self.insert(entry.clone()),
            None => drop(self.entries.remove(event.key())),
        }
        self.revision = event.revision;
        self.tell(&event);
        self.event_bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > KEPT_EVENTS || self.event_bytes > KEPT_BYTES {
            self.forget_oldest();
        }
    }

    fn tell(&mut self, event: &Event) {
        for (prefix, followers) in &mut self.followers {
            if event.key().starts_with(&**prefix) {
                followers.retain_mut(|follower| follower.tell(event));
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.event_bytes -= weight(&event);
            self.compacted = event.revision;
        }
    }

    fn events_after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(first..)
    }

    fn follow(&mut self, prefix: &str) -> BoxStream<'static, Result<Event, Error>> {
        // Those that hung up are otherwise dropped only when a key under their prefix changes.
        self.followers.retain(|_, followers| {
            followers.retain(|follower| !follower.events.is_closed());
            !followers.is_empty()
        });
        let (events, receiver) = mpsc::channel(BACKLOG);
        let lagged = Arc::new(AtomicU64::new(0));
        let follower = Follower { events, lagged: lagged.clone() };
        self.followers.entry(prefix.into()).or_default().push(follower);
        let end = stream::once(async move { lagged.load(Ordering::Acquire) }).filter_map(|at| {
            std::future::ready((at != 0).then_some(Err(Error::Compacted(Revision(at)))))
        });
        receiver.map(Ok).chain(end).boxed()
    }

    fn list(&self, range: Range<'_>) -> Result<Page, Error> {
        let revision = range.at.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(Error::Future { wanted: revision, current: self.revision });
        }
        if revision < self.compacted {
            return Err(Error::Compacted(self.compacted));
        }
        let first = match range.start_after {
            Some(key) if key >= range.prefix => Bound::Excluded(key),
            _ => Bound::Included(range.prefix),
        };
        let present = self
            .entries
            .range::<str, _>((first, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key().starts_with(range.prefix));
        let limit = range.limit.unwrap_or(usize::MAX);

        let undone = self.undone(range.prefix, range.start_after, revision);
        if undone.is_empty() {
            return Ok(page(present, limit, revision));
        }
        let untouched = present.filter(|entry| !undone.contains_key(entry.key()));
        let restored = undone.values().filter_map(|entry| *entry);
        Ok(page(merge(untouched, restored), limit, revision))
    }

    /// The keys that changed after a revision, with what they were at it.
    fn undone(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        revision: Revision,
    ) -> BTreeMap<&str, Option<&Entry>> {
        // From new to old: what the oldest event replaced is what was there.
        self.events_after(revision)
            .rev()
            .filter(|event| event.key().starts_with(prefix))
            .filter(|event| start_after.is_none_or(|start| event.key() > start))
            .map(|event| (event.key(), event.previous.as_ref()))
            .collect()
    }
}

impl Follower {
    /// Whether the follower is to be kept.
    fn tell(&mut self, event: &Event) -> bool {
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(refused) => {
                if refused.is_full() {
                    self.lagged.store(event.revision.0, Ordering::Release);
                }
                false
            }
        }
    }
}

fn weight(event: &Event) -> usize {
    EVENT_OVERHEAD + event.previous.as_ref().map_or(0, |previous| previous.value().len())
}

fn page<'a>(
    mut entries: impl Iterator<Item = &'a Entry>,
    limit: usize,
    revision: Revision,
) -> Page {
    let taken = entries.by_ref().take(limit).cloned().collect();
    Page { entries: taken, remaining: entries.count(), revision }
}

/// Both iterators, which are in order and disjoint, in order.
fn merge<'a>(
    left: impl Iterator<Item = &'a Entry>,
    right: impl Iterator<Item = &'a Entry>,
) -> impl Iterator<Item = &'a Entry> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if l.key() > r.key() => right.next(),
        (None, _) => right.next(),
        _ => left.next(),
    })
}
