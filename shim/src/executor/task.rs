//! One guest's future, from its first slice to its end.
//!
//! States: Idle → Queued → Running → Idle | Queued | Done. A wake-up while it
//! runs is remembered (Notified) and puts it back into the queue, so none is
//! lost. Whoever holds the future's lock runs or drops it; an abort that comes
//! while it runs is carried out by the one who runs it, at the end of the slice.
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::Shared;
use super::account::CpuAccount;
use crate::platform::thread_cpu_time;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const NOTIFIED: u8 = 3;
const DONE: u8 = 4;

type GuestFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A guest that runs in slices.
pub(super) struct Task {
    state: AtomicU8,
    aborted: AtomicBool,
    future: Mutex<Option<GuestFuture>>,
    account: Arc<CpuAccount>,
    shared: Arc<Shared>,
}

impl Task {
    /// A task that its maker is about to run or to enqueue.
    pub(super) fn new(
        shared: Arc<Shared>,
        account: Arc<CpuAccount>,
        future: GuestFuture,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(RUNNING),
            aborted: AtomicBool::new(false),
            future: Mutex::new(Some(future)),
            account,
            shared,
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DONE
    }

    pub(super) fn account(&self) -> &Arc<CpuAccount> {
        &self.account
    }

    /// Puts a running or new task into the queue.
    pub(super) fn enqueue(self: &Arc<Self>) {
        self.state.store(QUEUED, Ordering::SeqCst);
        self.shared.push(self.clone());
    }

    /// Runs one slice of a task taken from the queue; as [`Self::run`].
    pub(super) fn run_queued(self: &Arc<Self>, charged: Option<Duration>) -> Duration {
        self.state.store(RUNNING, Ordering::SeqCst);
        self.run(charged.unwrap_or_else(thread_cpu_time))
    }

    /// Runs one slice on this thread and charges what the thread has used since `charged`;
    /// up to when it is charged then.
    pub(super) fn run(self: &Arc<Self>, charged: Duration) -> Duration {
        let ended = self.slice();
        let now = thread_cpu_time();
        self.account.charge(now.saturating_sub(charged));
        if ended {
            self.state.store(DONE, Ordering::SeqCst);
            return now;
        }
        // An abort during the slice found the future locked and left it to us.
        if self.aborted.load(Ordering::SeqCst) {
            self.drop_future();
            return now;
        }
        let idle = self.state.compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
        if idle.is_err() {
            self.enqueue();
        }
        now
    }

    /// Ends the guest: now, or if it runs, at the end of its slice.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        self.drop_future();
    }

    /// Polls once; whether the guest is at its end.
    fn slice(self: &Arc<Self>) -> bool {
        let waker = Waker::from(self.clone());
        let mut slot = self.future.lock();
        let Some(future) = slot.as_mut() else { return true };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        let ended = !matches!(polled, Ok(Poll::Pending));
        if polled.is_err() {
            tracing::error!("a host function panicked; its guest is ended");
        }
        if ended {
            *slot = None;
        }
        ended
    }

    fn drop_future(&self) {
        let Some(mut slot) = self.future.try_lock() else { return };
        let future = slot.take();
        drop(slot);
        if future.is_some() {
            self.state.store(DONE, Ordering::SeqCst);
        }
        drop(future);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let next = |state| match state {
            IDLE => Some(QUEUED),
            RUNNING => Some(NOTIFIED),
            _ => None,
        };
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(IDLE) {
            self.shared.push(self.clone());
        }
    }
}
