//! The list-watch that fills one informer.
//!
//! States: *list* (pages, until complete) → *watch* from the list's version;
//! a watch that ends goes on from the last version seen, one whose version is
//! too old (410) goes back to *list*. kube's own watcher keeps the versions of
//! lists and bookmarks to itself; controllers need them to know that the store
//! has caught up with what they wrote.
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchParams};
use kube::core::{DynamicObject, ObjectList, WatchEvent};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Error, Resource};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{Informer, Kind, Metadata};

/// Objects per page of a list, as client-go's reflector asks for.
const PAGE: u32 = 500;
/// Without a bookmark or the end of the watch (290 s) for so long, the connection is dead.
const SILENCE: Duration = Duration::from_secs(300);

/// A watch that lived so long had no trouble; its successor starts at once.
const HEALTHY: Duration = Duration::from_secs(10);

/// Lists and watches one kind.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// What it delivers.
    type Object: Kind;
    /// One page of a list.
    async fn list(&self, params: &ListParams) -> Result<ObjectList<Self::Object>, Error>;
    /// Events after `version`.
    async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Self::Object>, Error>>, Error>;
}

/// Whole objects.
pub(super) struct Full<K>(pub Api<K>);

/// Objects without their bodies.
pub(super) struct MetadataOnly(pub Api<DynamicObject>);

#[async_trait]
impl<K: Kind> Source for Full<K> {
    type Object = K;

    async fn list(&self, params: &ListParams) -> Result<ObjectList<K>, Error> {
        self.0.list(params).await
    }

    async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<K>, Error>>, Error> {
        Ok(self.0.watch(params, version).await?.boxed())
    }
}

#[async_trait]
impl Source for MetadataOnly {
    type Object = Metadata;

    async fn list(&self, params: &ListParams) -> Result<ObjectList<Metadata>, Error> {
        self.0.list_metadata(params).await
    }

    async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Metadata>, Error>>, Error> {
        Ok(self.0.watch_metadata(params, version).await?.boxed())
    }
}

enum State {
    List,
    Watch { version: String },
}

/// Why a list or a watch did not go on.
enum Ended {
    /// The version is no longer served.
    Expired,
    /// The server closed an idle watch, or the connection fell silent.
    Idle,
    /// It went wrong.
    Failed(Error),
}

/// Keeps `informer` filled; never returns.
pub(super) async fn run<S: Source>(
    source: S,
    kind: String,
    fields: Option<String>,
    informer: Informer<S::Object>,
) {
    let mut state = State::List;
    let mut backoff = DefaultBackoff::default();
    loop {
        let ended = match &mut state {
            State::List => match list(&source, fields.clone(), &informer).await {
                Ok(version) => {
                    debug!(kind, version, objects = informer.len(), "listed");
                    state = State::Watch { version };
                    continue;
                }
                Err(error) => Ended::Failed(error),
            },
            State::Watch { version } => {
                let begun = Instant::now();
                let ended = watch(&source, fields.clone(), &informer, version).await;
                if begun.elapsed() > HEALTHY {
                    Backoff::reset(&mut backoff);
                    if matches!(ended, Ended::Idle) {
                        continue;
                    }
                }
                ended
            }
        };
        match ended {
            Ended::Expired => {
                debug!(kind, "watch expired");
                state = State::List;
            }
            Ended::Idle => debug!(kind, "watch ended"),
            Ended::Failed(error) => {
                warn!(kind, error = &error as &dyn std::error::Error, "informer interrupted");
            }
        }
        tokio::time::sleep(backoff.next().unwrap_or(SILENCE)).await;
    }
}

async fn list<S: Source>(
    source: &S,
    fields: Option<String>,
    informer: &Informer<S::Object>,
) -> Result<String, Error> {
    let mut params = ListParams { field_selector: fields, ..ListParams::default() }.limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = source.list(&params).await?;
        objects.extend(page.items.into_iter().map(strip));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => {
                let version = page.metadata.resource_version.unwrap_or_default();
                informer.replace(objects);
                informer.reach(&version);
                return Ok(version);
            }
        }
    }
}

/// Watches until something ends it; `version` moves along.
async fn watch<S: Source>(
    source: &S,
    fields: Option<String>,
    informer: &Informer<S::Object>,
    version: &mut String,
) -> Ended {
    let params = WatchParams { field_selector: fields, ..WatchParams::default() };
    let mut events = match source.watch(&params, version).await {
        Ok(events) => events,
        Err(Error::Api(status)) if status.code == 410 => return Ended::Expired,
        Err(error) => return Ended::Failed(error),
    };
    loop {
        let event = match tokio::time::timeout(SILENCE, events.try_next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) | Err(_) => return Ended::Idle,
            Ok(Err(Error::SerdeError(source))) => {
                // Relisting would meet the same object again.
                error!(error = &source as &dyn std::error::Error, "cannot decode watch event");
                continue;
            }
            Ok(Err(error)) => return Ended::Failed(error),
        };
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let seen = object.meta().resource_version.clone();
                informer.apply(strip(object));
                seen
            }
            WatchEvent::Deleted(object) => {
                let seen = object.meta().resource_version.clone();
                informer.remove(object);
                seen
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) if status.code == 410 => return Ended::Expired,
            WatchEvent::Error(status) => return Ended::Failed(Error::Api(status)),
        };
        if let Some(seen) = seen {
            informer.reach(&seen);
            *version = seen;
        }
    }
}

/// Drops what no reader needs and what is often larger than the rest.
fn strip<K: Kind>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}
