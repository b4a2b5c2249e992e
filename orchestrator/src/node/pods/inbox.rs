//! What a worker is told: the newest state of its Pod, and to look again.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The newest state of one Pod; older ones are forgotten unread.
pub(super) struct Inbox {
    mail: Mutex<(Arc<Pod>, bool)>,
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
        Self { mail: Mutex::new((pod, false)), wake: Arc::default(), ending }
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

    /// The Pod is gone.
    pub fn leave(&self) {
        self.mail.lock().1 = true;
        self.ending.cancel();
        self.wake.notify_one();
    }
}
