//! Which events are written, which raise the count of one that was, and which are dropped.
//!
//! The figures are client-go's, so that a cluster looks as its users are used to.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use super::{Draft, EventType};

/// Objects and events remembered; the oldest are forgotten first.
const REMEMBERED: usize = 4096;
/// So many messages that differ in nothing else are combined into one.
const SIMILAR: usize = 10;
/// Similar events are combined if they follow each other within this time.
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Events about one object that are written at once.
const BURST: f64 = 25.0;
/// Further events about it per second: one in five minutes.
const REFILL: f64 = 1.0 / 300.0;

/// What repetitions of an event have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    topic: Topic,
    message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Topic {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
    type_: EventType,
    reason: Cow<'static, str>,
}

/// An event that was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// Its name.
    pub name: String,
    /// How often it was seen.
    pub count: i32,
    /// When it was seen first.
    pub first: Timestamp,
}

/// What to do with a draft.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The object talks too much.
    Drop,
    /// Write it.
    New(Draft),
    /// Raise the count of one that was written.
    Repeat(Draft, Known),
}

/// The memory that the verdicts are made of.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    known: Recent<Key, Known>,
    similar: Recent<Topic, Similar>,
    buckets: Recent<(String, String, String), Bucket>,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Correlator {
    /// Judges a draft, whose message changes if it is combined with similar ones.
    pub(super) fn judge(&mut self, mut draft: Draft) -> (Key, Verdict) {
        let topic = topic(&draft);
        let mut key = Key { topic: topic.clone(), message: Some(draft.message.clone()) };
        if self.is_one_of_many(topic, &draft) {
            key.message = None;
            draft.message = format!("(combined from similar events): {}", draft.message);
        }
        if !self.may_speak(&draft) {
            return (key, Verdict::Drop);
        }
        let verdict = match self.known.get(&key) {
            Some(known) => Verdict::Repeat(draft, known.clone()),
            None => Verdict::New(draft),
        };
        (key, verdict)
    }

    /// Notes that an event has been written.
    pub(super) fn remember(&mut self, key: Key, known: Known) {
        self.known.put(key, known);
    }

    fn is_one_of_many(&mut self, topic: Topic, draft: &Draft) -> bool {
        let similar = self
            .similar
            .get_or_put(topic, || Similar { messages: HashSet::new(), last: draft.time });
        if draft.time.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = draft.time;
        if similar.messages.len() + 1 < SIMILAR {
            similar.messages.insert(draft.message.clone());
            return false;
        }
        !similar.messages.contains(&draft.message)
    }

    fn may_speak(&mut self, draft: &Draft) -> bool {
        let about = &draft.about;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let object = (text(&about.namespace), text(&about.name), text(&about.uid));
        let bucket = self.buckets.get_or_put(object, || Bucket { tokens: BURST, at: draft.time });
        let waited = draft.time.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + waited * REFILL).min(BURST);
        bucket.at = draft.time;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }
}

fn topic(draft: &Draft) -> Topic {
    let about = &draft.about;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Topic {
        kind: text(&about.kind),
        namespace: text(&about.namespace),
        name: text(&about.name),
        uid: text(&about.uid),
        field_path: text(&about.field_path),
        type_: draft.type_,
        reason: draft.reason.clone(),
    }
}

/// A map that forgets what was put in first.
#[derive(Debug)]
struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    fn put(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            self.forget();
        }
    }

    fn get_or_put(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            self.order.push_back(key.clone());
            self.forget();
        }
        self.entries.entry(key).or_insert_with(value)
    }

    fn forget(&mut self) {
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}
