//! What an informer tells those who listen.
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::api::ObjectKey;

/// An object that came, changed or went.
#[derive(Debug)]
pub struct Change<K> {
    /// Which object.
    pub key: Arc<ObjectKey>,
    /// As it was; absent for one that came.
    pub old: Option<Arc<K>>,
    /// As it is; absent for one that went.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The old and the new object, as far as there are any.
    pub fn both(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(&self.new)
    }
}

/// A listener; [`ControlFlow::Break`] ends its interest.
///
/// It is called on the reflector's task, so it must not block.
pub(super) type Listener<K> = Box<dyn Fn(&Change<K>) -> ControlFlow<()> + Send + Sync>;

/// The keys of changed objects, each at most once until it is taken.
///
/// Bounded by the number of objects, as it holds no events.
#[derive(Debug)]
pub struct Changes(Arc<Pending>);

impl Changes {
    /// The next changed key; waits for one. Cancel safe.
    pub async fn next(&mut self) -> Arc<ObjectKey> {
        loop {
            // Created before the look, so that a change after it is not missed.
            let notified = self.0.changed.notified();
            if let Some(key) = self.0.pop() {
                return key;
            }
            notified.await;
        }
    }

    pub(super) fn new<K>() -> (Self, Listener<K>) {
        let pending = Arc::new(Pending::default());
        let listening: Weak<Pending> = Arc::downgrade(&pending);
        let listener = move |change: &Change<K>| match listening.upgrade() {
            None => ControlFlow::Break(()),
            Some(pending) => {
                pending.push(Arc::clone(&change.key));
                ControlFlow::Continue(())
            }
        };
        (Self(pending), Box::new(listener))
    }
}

#[derive(Debug, Default)]
struct Pending {
    keys: Mutex<Keys>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Keys {
    order: VecDeque<Arc<ObjectKey>>,
    known: HashSet<Arc<ObjectKey>>,
}

impl Pending {
    fn push(&self, key: Arc<ObjectKey>) {
        let Keys { order, known } = &mut *self.keys.lock();
        if known.insert(Arc::clone(&key)) {
            order.push_back(key);
            self.changed.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<ObjectKey>> {
        let Keys { order, known } = &mut *self.keys.lock();
        let key = order.pop_front()?;
        known.remove(&key);
        Some(key)
    }
}
