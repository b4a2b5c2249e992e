//! A store inside this process: a history to read, a sequencer to write.
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::sequencer::{Change, Journal, QUEUE, Request, Sequencer, Trouble};
use super::{Entry, Error, Event, Page, Precondition, Range, Revision, Store};
use crate::clock::Clock;

/// The store of [`super::memory`] and [`super::redb`].
///
/// Dropping it waits for the commit that is under way.
pub struct Embedded {
    history: Arc<History>,
    requests: Option<mpsc::Sender<Request>>,
    sequencer: Option<JoinHandle<()>>,
    trouble: Trouble,
    ended: CancellationToken,
}

impl Embedded {
    /// Starts the sequencer over `journal`, which holds these entries.
    pub(super) fn start(
        entries: impl IntoIterator<Item = Entry>,
        revision: Revision,
        journal: Box<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let history = Arc::new(History::new(entries, revision));
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (trouble, ended) = (Trouble::default(), CancellationToken::new());
        let sequencer = Sequencer {
            history: history.clone(),
            journal,
            clock,
            requests: receiver,
            trouble: trouble.clone(),
        };
        let guard = ended.clone().drop_guard();
        // A thread of its own, since a commit blocks.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let sequencer = std::thread::Builder::new().name("store".into()).spawn(move || {
            let _tells = guard;
            runtime.block_on(sequencer.run());
        })?;
        let (requests, sequencer) = (Some(requests), Some(sequencer));
        Ok(Self { history, requests, sequencer, trouble, ended })
    }

    /// Is cancelled once the store takes no more writes.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    async fn write(&self, key: &str, change: Change) -> Result<Event, Error> {
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        let request = Request { key: key.into(), change, answer };
        requests.send(request).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(sequencer) = self.sequencer.take()
            && sequencer.join().is_err()
        {
            tracing::error!("the store's sequencer panicked");
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.history.get(key))
    }

    async fn list(&self, range: Range<'_>) -> Result<Page, Error> {
        self.history.list(range)
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        only_if: Precondition,
        expires_after: Option<Duration>,
    ) -> Result<Entry, Error> {
        let event = self.write(key, Change::Put { value, only_if, expires_after }).await?;
        Ok(event.entry.expect("the event of a put carries what was put"))
    }

    async fn delete(&self, key: &str, at: Revision) -> Result<Event, Error> {
        self.write(key, Change::Delete { at }).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        self.history.watch(prefix, after)
    }

    async fn compact(&self, up_to: Revision) -> Result<(), Error> {
        self.history.compact(up_to)
    }

    fn revision(&self) -> Revision {
        self.history.revision()
    }

    fn trouble(&self) -> Option<Error> {
        self.trouble.read().clone()
    }
}
