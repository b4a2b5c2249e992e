//! The one writer of an embedded store.
//!
//! It drains the writes that wait, checks each against the entries and the
//! writes before it, commits what holds in one go, publishes it and only then
//! answers. So a write is visible and acknowledged once it is durable, and
//! many writers share the cost of one sync.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::history::History;
use super::{Entry, Error, Event, Precondition, Revision};
use crate::clock::Clock;

/// Writes that share one commit at most: enough to spread a sync thin, few
/// enough to answer the first soon.
const BATCH: usize = 512;

/// Writes that wait for the sequencer; more wait where they are made.
pub(super) const QUEUE: usize = 1_024;

/// How long the sequencer sleeps at most while an entry is to expire: the
/// clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// How long expired entries wait after a commit failed.
const RETRY: Duration = Duration::from_secs(1);

/// What makes a batch durable.
pub(super) trait Journal: Send + 'static {
    /// Returns once the events, in order, would survive a crash. After an error none of them is
    /// ever seen, and the next commit may succeed unless it is [`Error::Lost`].
    fn commit(&mut self, events: &[Event]) -> Result<(), Error>;
}

/// A write that waits.
pub(super) struct Request {
    pub(super) key: Arc<str>,
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<Event, Error>>,
}

/// What a write does.
pub(super) enum Change {
    /// Sets the value.
    Put { value: Bytes, only_if: Precondition, expires_after: Option<Duration> },
    /// Removes the key.
    Delete { at: Revision },
}

/// Why the last commit failed, if it did; readers look at it.
pub(super) type Trouble = Arc<RwLock<Option<Error>>>;

/// What the sequencer works with.
pub(super) struct Sequencer {
    pub(super) history: Arc<History>,
    pub(super) journal: Box<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) trouble: Trouble,
}

/// The events of one commit, while they are made.
struct Batch<'a> {
    history: &'a History,
    now: Timestamp,
    revision: Revision,
    events: Vec<Event>,
    /// The keys that the events change, with their last state.
    changed: HashMap<Arc<str>, Option<Entry>>,
}

impl Sequencer {
    /// Serves until nobody can send a request any more, or the journal is lost.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut pause = Duration::ZERO;
        loop {
            let sleep = self.until_next_expiry().max(pause);
            let expiring = self.history.next_expiry().is_some();
            tokio::select! {
                biased;
                received = self.requests.recv_many(&mut waiting, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep(sleep), if expiring => {}
            }
            pause = match self.write(&mut waiting) {
                Ok(()) => Duration::ZERO,
                Err(Error::Lost(_)) => return,
                Err(_) => RETRY,
            };
        }
    }

    fn until_next_expiry(&self) -> Duration {
        let Some(at) = self.history.next_expiry() else { return LONGEST_SLEEP };
        let left = at.duration_since(self.clock.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP)
    }

    /// Writes all that waits and removes what expired.
    fn write(&mut self, waiting: &mut Vec<Request>) -> Result<(), Error> {
        let mut batch = Batch::new(&self.history, self.clock.now());
        let mut answers = Vec::with_capacity(waiting.len());
        for request in waiting.drain(..) {
            answers.push((request.answer, batch.add(request.key, request.change)));
        }
        batch.expire();
        let events = batch.events;

        let committed = if events.is_empty() { Ok(()) } else { self.commit(events) };
        for (answer, result) in answers {
            let result = match &committed {
                Err(error) if result.is_ok() => Err(error.clone()),
                _ => result,
            };
            // Whoever no longer waits for the answer has no use for it.
            drop(answer.send(result));
        }
        committed
    }

    fn commit(&mut self, events: Vec<Event>) -> Result<(), Error> {
        let committed = self.journal.commit(&events);
        self.note(committed.as_ref().err());
        if committed.is_ok() {
            self.history.publish(events);
        }
        committed
    }

    /// Keeps why a commit failed; news are the first failure, the end of them and the last.
    fn note(&self, error: Option<&Error>) {
        let before = self.trouble.read().is_some();
        match error {
            Some(error) if !before || matches!(error, Error::Lost(_)) => {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "cannot write to the store");
            }
            None if before => tracing::info!("the store can be written again"),
            None => return,
            Some(_) => {}
        }
        *self.trouble.write() = error.cloned();
    }
}

impl<'a> Batch<'a> {
    fn new(history: &'a History, now: Timestamp) -> Self {
        let revision = history.revision();
        Self { history, now, revision, events: Vec::new(), changed: HashMap::new() }
    }

    fn add(&mut self, key: Arc<str>, change: Change) -> Result<Event, Error> {
        let previous = match self.changed.get(&key) {
            Some(changed) => changed.clone(),
            None => self.history.get(&key),
        };
        let actual = previous.as_ref().map(Entry::revision);
        let holds = match &change {
            Change::Put { only_if: Precondition::Absent, .. } => actual.is_none(),
            Change::Put { only_if: Precondition::Unchanged(at), .. } | Change::Delete { at } => {
                actual == Some(*at)
            }
        };
        if !holds {
            return Err(Error::Conflict { key: key.to_string(), actual });
        }
        self.revision = self.revision.next();
        let entry = match change {
            Change::Delete { .. } => None,
            Change::Put { value, expires_after, .. } => {
                let expires = expires_after.and_then(|after| self.after(after));
                Some(Entry::new(key.clone(), value, self.revision, expires))
            }
        };
        self.changed.insert(key, entry.clone());
        let event = Event { revision: self.revision, entry, previous };
        self.events.push(event.clone());
        Ok(event)
    }

    /// A time so far away that it cannot be said is never.
    fn after(&self, duration: Duration) -> Option<Timestamp> {
        let duration = SignedDuration::try_from(duration).ok()?;
        self.now.checked_add(duration).ok()
    }

    /// Removes the entries whose time is over, unless this batch wrote them.
    fn expire(&mut self) {
        for entry in self.history.expired(self.now, BATCH) {
            if !self.changed.contains_key(entry.key()) {
                let at = entry.revision();
                // It is there and at that revision, so the deletion holds.
                drop(self.add(entry.shared_key(), Change::Delete { at }));
            }
        }
    }
}
