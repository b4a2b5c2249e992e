//! Wakes a loop that looks at everything when anything changes.
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::client::Informer;
use crate::client::informer::Kind;

/// How long a loop gathers changes before it looks again: a rollout changes
/// hundreds of objects a second, and one look takes them all in.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// Remembers that something changed, however often, until it is waited for.
#[derive(Default)]
pub(super) struct Wakeup(Arc<Notify>);

impl Wakeup {
    /// Wakes at every change of a kind.
    pub(super) fn on<K: Kind>(&self, informer: &Informer<K>) {
        let notify = Arc::downgrade(&self.0);
        informer.listen(move |_| match notify.upgrade() {
            Some(notify) => {
                notify.notify_one();
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        });
    }

    /// Waits for a change since the last wait.
    pub(super) async fn wait(&self) {
        self.0.notified().await;
    }
}
