//! Events, as a Kubernetes user reads them under `kubectl describe`.
//!
//! Whoever records one never waits: the queue is bounded and an event that
//! finds it full is dropped, as events tell a story and decide nothing.
//! Repetitions raise the count of one event, similar ones are combined, and
//! an object that talks too much is cut short ([`correlate`]).

mod correlate;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::Clock;
use correlate::{Correlator, Known, Verdict};

/// Events that wait to be written, as many as client-go's broadcaster keeps.
const QUEUE: usize = 1000;

/// Whether an event is news or trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// News.
    Normal,
    /// Trouble.
    Warning,
}

impl EventType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An event before it is written.
#[derive(Debug, Clone, PartialEq)]
struct Draft {
    about: ObjectReference,
    type_: EventType,
    reason: Cow<'static, str>,
    message: String,
    time: jiff::Timestamp,
}

/// Records what a component did or saw; clones share one queue.
#[derive(Clone)]
pub struct EventRecorder {
    queue: mpsc::Sender<Draft>,
    clock: Arc<dyn Clock>,
}

impl EventRecorder {
    /// A recorder of `component`, on node `host` if it belongs to one, and
    /// the writer that has to [run](EventWriter::run) beside it.
    pub fn new(
        client: Client,
        component: &str,
        host: Option<&str>,
        clock: Arc<dyn Clock>,
    ) -> (Self, EventWriter) {
        let (queue, drafts) = mpsc::channel(QUEUE);
        let source = EventSource { component: Some(component.into()), host: host.map(Into::into) };
        (Self { queue, clock }, EventWriter { client, source, drafts })
    }

    /// Tells news about an object; `object.object_ref(&())` makes the reference.
    pub fn normal(&self, about: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(about, EventType::Normal, reason.into(), message.into());
    }

    /// Tells trouble with an object.
    pub fn warning(
        &self,
        about: ObjectReference,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        self.record(about, EventType::Warning, reason.into(), message.into());
    }

    fn record(
        &self,
        about: ObjectReference,
        type_: EventType,
        reason: Cow<'static, str>,
        message: String,
    ) {
        let draft = Draft { about, type_, reason, message, time: self.clock.now() };
        if let Err(error) = self.queue.try_send(draft) {
            let (TrySendError::Full(draft) | TrySendError::Closed(draft)) = &error;
            debug!(%error, reason = %draft.reason, "event dropped");
        }
    }
}

impl Debug for EventRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventRecorder").field("free", &self.queue.capacity()).finish()
    }
}

/// Writes what an [`EventRecorder`] and its clones record.
pub struct EventWriter {
    client: Client,
    source: EventSource,
    drafts: mpsc::Receiver<Draft>,
}

impl EventWriter {
    /// Writes until `stop`, or until the last recorder is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut correlator = Correlator::default();
        while let Some(Some(draft)) = stop.run_until_cancelled(self.drafts.recv()).await {
            let (key, verdict) = correlator.judge(draft);
            let written = match verdict {
                Verdict::Drop => continue,
                Verdict::New(draft) => self.create(&draft, draft.time, 1).await,
                Verdict::Repeat(draft, known) => self.repeat(&draft, known).await,
            };
            match written {
                Ok(known) => correlator.remember(key, known),
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "event not written");
                }
            }
        }
    }

    async fn create(
        &self,
        draft: &Draft,
        first: jiff::Timestamp,
        count: i32,
    ) -> Result<Known, kube::Error> {
        let namespace = namespace(draft);
        let event = event(draft, &self.source, first, count);
        let name = event.metadata.name.clone().unwrap_or_default();
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &event).await?;
        Ok(Known { name, count, first })
    }

    async fn repeat(&self, draft: &Draft, known: Known) -> Result<Known, kube::Error> {
        let count = known.count.saturating_add(1);
        let patch = json!({
            "count": count, "lastTimestamp": Time(draft.time), "message": draft.message,
        });
        let api = Api::<Event>::namespaced(self.client.clone(), namespace(draft));
        match api.patch_metadata(&known.name, &Default::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(Known { count, ..known }),
            // It expired; the story goes on in a new one.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.create(draft, known.first, count).await
            }
            Err(error) => Err(error),
        }
    }
}

impl Debug for EventWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWriter").field("source", &self.source).finish()
    }
}

/// Events about cluster-scoped objects live in `default`, as in Kubernetes.
fn namespace(draft: &Draft) -> &str {
    draft.about.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or("default")
}

fn event(draft: &Draft, source: &EventSource, first: jiff::Timestamp, count: i32) -> Event {
    let about = draft.about.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{:x}", draft.time.as_nanosecond())),
            namespace: Some(namespace(draft).to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: draft.about.clone(),
        type_: Some(draft.type_.as_str().to_owned()),
        reason: Some(draft.reason.to_string()),
        message: Some(draft.message.clone()),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        first_timestamp: Some(Time(first)),
        last_timestamp: Some(Time(draft.time)),
        count: Some(count),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
