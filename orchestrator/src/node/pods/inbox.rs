//! What a worker is told: the newest state of its Pod, and to look again.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a Pod is evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct Eviction {
    /// For its status, in the kubelet's words.
    pub message: String,
    /// Whether the node ran low, not the Pod over its limits.
    pub pressure: bool,
}

/// The newest state of one Pod; older ones are forgotten unread.
pub(super) struct Inbox {
    mail: Mutex<(Arc<Pod>, bool)>,
    eviction: Mutex<Option<Eviction>>,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
    /// Cancelled when the Pod is being deleted or gone: what is being started
    /// for it is given up.
    pub ending: CancellationToken,
}

impl Inbox {
    /// The inbox of a Pod that was just seen.
    pub fn new(pod: Arc<Pod>) -> Self {
        let ending = CancellationToken::new();
        if pod.metadata.deletion_timestamp.is_some() {
            ending.cancel();
        }
        let (mail, eviction) = (Mutex::new((pod, false)), Mutex::default());
        Self { mail, eviction, wake: Arc::default(), ending }
    }

    /// The Pod, and whether it is gone from the API.
    pub fn read(&self) -> (Arc<Pod>, bool) {
        self.mail.lock().clone()
    }

    /// The Pod changed.
    pub fn put(&self, pod: Arc<Pod>) {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        self.mail.lock().0 = pod;
        if deleted {
            self.ending.cancel();
        }
        self.wake.notify_one();
    }

    /// The node takes back what the Pod holds.
    pub fn evict(&self, eviction: Eviction) {
        self.eviction.lock().get_or_insert(eviction);
        self.ending.cancel();
        self.wake.notify_one();
    }

    /// Why the node evicts the Pod, if it does.
    pub fn eviction(&self) -> Option<Eviction> {
        self.eviction.lock().clone()
    }

    /// The Pod is gone.
    pub fn leave(&self) {
        self.mail.lock().1 = true;
        self.ending.cancel();
        self.wake.notify_one();
    }
}
