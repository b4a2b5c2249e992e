//! Watches: the present state if it is asked for, then every change, seen
//! through selectors.
//!
//! An object that begins or ceases to match is added or deleted, so the
//! version before is looked at too.
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::time::{Instant, Interval};

use super::lens::Lens;
use super::{ListQuery, Storage, StorageError, Stored};
use crate::api::{FieldSelector, LabelSelector, Resource};
use crate::store::{self, Entry, Event};

/// How often a watch that asked for bookmarks gets one, as in Kubernetes.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct WatchQuery {
    /// Of this namespace alone.
    pub namespace: Option<String>,
    /// Selected by labels.
    pub labels: LabelSelector,
    /// Selected by fields.
    pub fields: FieldSelector,
    /// Changes after this revision; none: the present state first, as additions.
    pub after: Option<u64>,
    /// `sendInitialEvents`: the present state first, then a bookmark that says so; `false` never.
    pub initial_events: Option<bool>,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
}

/// What a watch yields.
#[derive(Clone)]
pub enum WatchEvent {
    /// An object is there.
    Added(Stored),
    /// It changed.
    Modified(Stored),
    /// It is gone; its last state with the revision of its end.
    Deleted(Stored),
    /// Everything up to a revision has been yielded.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether this is the end of the initial events.
        initial_events_end: bool,
    },
}

type Events = BoxStream<'static, Result<WatchEvent, StorageError>>;

impl Storage {
    /// Follows the objects of a resource.
    pub async fn watch(
        &self,
        resource: &Resource,
        query: &WatchQuery,
    ) -> Result<Events, StorageError> {
        let namespace = query.namespace.as_deref();
        let lens = Lens::new(resource, self.base, namespace, &query.labels, &query.fields)?;
        let announced = query.initial_events == Some(true);
        let initial = query.initial_events.unwrap_or(query.after.is_none());
        let (first, after): (Vec<Stored>, u64) = if initial {
            let list = ListQuery {
                namespace: query.namespace.clone(),
                labels: query.labels.clone(),
                fields: query.fields.clone(),
                resource_version: query.after.filter(|_| announced),
                ..ListQuery::default()
            };
            let page = self.list(resource, &list).await?;
            (page.items, page.revision)
        } else {
            (Vec::new(), query.after.unwrap_or_else(|| self.revision()))
        };
        let events = self.store.watch(&lens.prefix, self.at(after)).await;
        let events = events.map_err(|error| self.watching(error, after))?;
        let first = stream::iter(first.into_iter().map(|stored| Ok(WatchEvent::Added(stored))));
        let end = announced
            .then_some(Ok(WatchEvent::Bookmark { revision: after, initial_events_end: true }));
        let storage = self.clone();
        let live = events.filter_map(move |event| {
            let event = event
                .map_err(|error| storage.watching(error, after))
                .and_then(|event| lens.see(event, storage.base));
            std::future::ready(event.transpose())
        });
        let live = if query.bookmarks {
            bookmarked(self.clone(), live.boxed(), BOOKMARKS)
        } else {
            live.boxed()
        };
        Ok(first.chain(stream::iter(end)).chain(live).boxed())
    }

    fn watching(&self, error: store::Error, after: u64) -> StorageError {
        match error {
            store::Error::Compacted(at) => {
                let oldest = self.base + at.0;
                StorageError::Expired(format!("too old resource version: {after} ({oldest})"))
            }
            other => self.refused_query(other),
        }
    }
}

impl Lens {
    fn see(&self, event: Event, base: u64) -> Result<Option<WatchEvent>, StorageError> {
        let select = |entry: Option<Entry>| entry.map(|entry| self.select(entry)).transpose();
        let revision = base + event.revision.0;
        let before = select(event.previous)?.flatten();
        let now = select(event.entry)?.flatten();
        Ok(match (before, now) {
            (Some(_), Some(now)) => Some(WatchEvent::Modified(now)),
            (None, Some(now)) => Some(WatchEvent::Added(now)),
            (Some(before), None) => Some(WatchEvent::Deleted(before.at(revision))),
            (None, None) => None,
        })
    }
}

/// `events` with a bookmark in every `period` in which they come to rest.
pub(super) fn bookmarked(storage: Storage, events: Events, period: Duration) -> Events {
    let ticks = tokio::time::interval_at(Instant::now() + period, period);
    let state = (storage, events, ticks);
    let next = |(storage, mut events, mut ticks): (Storage, Events, Interval)| async move {
        let event = tokio::select! {
            biased;
            event = events.next() => event?,
            _ = ticks.tick() => {
                // All up to a revision that was read before is ready: if nothing is, all is told.
                let revision = storage.revision();
                match events.next().now_or_never() {
                    Some(event) => event?,
                    None => Ok(WatchEvent::Bookmark { revision, initial_events_end: false }),
                }
            }
        };
        Some((event, (storage, events, ticks)))
    };
    stream::unfold(state, next).boxed()
}
