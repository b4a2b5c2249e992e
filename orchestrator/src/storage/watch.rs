//! Watches: the present state if it is asked for, then every change, seen
//! through selectors.
//!
//! An object that begins or ceases to match is added or deleted, so the
//! version before is looked at too.
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};

use super::stored::check_fields;
use super::{ListQuery, Storage, StorageError, Stored, prefix};
use crate::api::{FieldSelector, LabelSelector, Resource};
use crate::store::{self, Event, Revision, Store};

/// How often a quiet watch that asked for bookmarks gets one, as in Kubernetes.
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

/// What a watch looks at.
struct Lens {
    resource: Arc<Resource>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Storage {
    /// Follows the objects of a resource.
    pub async fn watch(
        &self,
        resource: &Resource,
        query: &WatchQuery,
    ) -> Result<Events, StorageError> {
        check_fields(resource, &query.fields)?;
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
        let prefix = prefix(&resource.stored_as, query.namespace.as_deref());
        let events = self.0.watch(&prefix, Revision(after)).await.map_err(watching)?;
        let lens = Lens {
            resource: Arc::new(resource.clone()),
            labels: query.labels.clone(),
            fields: query.fields.clone(),
        };
        let first = stream::iter(first.into_iter().map(|stored| Ok(WatchEvent::Added(stored))));
        let end = announced
            .then_some(Ok(WatchEvent::Bookmark { revision: after, initial_events_end: true }));
        let live = events.filter_map(move |event| {
            let event = event.map_err(watching).and_then(|event| lens.see(event));
            std::future::ready(event.transpose())
        });
        let live =
            if query.bookmarks { bookmarked(self.0.clone(), live.boxed()) } else { live.boxed() };
        Ok(first.chain(stream::iter(end)).chain(live).boxed())
    }
}

impl Lens {
    fn see(&self, event: Event) -> Result<Option<WatchEvent>, StorageError> {
        let look = |entry| {
            let stored = Stored::of(entry, &self.resource)?;
            let seen = stored.matches(&self.resource, &self.labels, &self.fields)?;
            Ok::<_, StorageError>(seen.then_some(stored))
        };
        let revision = event.revision.0;
        let existed = event.previous.is_some();
        let before = event.previous.map(look).transpose()?.flatten();
        let now = event.entry.map(look).transpose()?.flatten();
        Ok(match (before, now) {
            (Some(_), Some(now)) if existed => Some(WatchEvent::Modified(now)),
            (_, Some(now)) => Some(WatchEvent::Added(now)),
            (Some(before), None) => Some(WatchEvent::Deleted(before.at(revision))),
            (None, None) => None,
        })
    }
}

/// `events` with a bookmark whenever they have been quiet for a while.
fn bookmarked(store: Arc<dyn Store>, events: Events) -> Events {
    let state = (store, events);
    let next = |(store, mut events): (Arc<dyn Store>, Events)| async move {
        let revision = store.revision().0;
        match tokio::time::timeout(BOOKMARKS, events.next()).await {
            Ok(event) => event.map(|event| (event, (store, events))),
            Err(_) => {
                // Read before the wait: all up to it has been yielded.
                let bookmark = WatchEvent::Bookmark { revision, initial_events_end: false };
                Some((Ok(bookmark), (store, events)))
            }
        }
    };
    stream::unfold(state, next).boxed()
}

fn watching(error: store::Error) -> StorageError {
    match error {
        store::Error::Compacted(at) => StorageError::Expired(format!(
            "too old resource version: the history up to {at} is gone"
        )),
        store::Error::Future { wanted, current } => {
            StorageError::Future { wanted: wanted.0, current: current.0 }
        }
        other => StorageError::Backend(other),
    }
}
