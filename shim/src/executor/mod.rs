//! Runs guests: in slices, on threads of their own.
//!
//! A guest's future yields after a slice of fuel at the latest, so one poll is
//! one slice. The CPU time of each is measured and charged to the container's
//! [`CpuAccount`]; between two slices the run queue decides anew who is next.
//! The threads are not the API's: a guest that spins delays other guests by one
//! slice, and everybody else not at all.
//!
//! The first slice of a guest may run on its maker's own thread
//! ([`Executor::spawn_inline`]): most requests of a function end within it and
//! never change threads.

mod account;
mod bucket;
mod queue;
mod task;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

pub use account::CpuAccount;
pub use bucket::{CpuBucket, DEFAULT_PERIOD};

use queue::{Next, RunQueue};
use task::Task;

use crate::platform::thread_cpu_time;

/// Fuel of one slice: 35–59 µs of CPU as measured, at about 9 % of overhead;
/// a tenth of it costs 25 %.
pub const FUEL_SLICE: u64 = 1_000_000;

/// The threads that run guests.
pub struct Executor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What workers and tasks share.
struct Shared {
    queue: Mutex<RunQueue<Arc<Task>>>,
    available: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn push(&self, task: Arc<Task>) {
        let account = task.account().clone();
        let mut queue = self.queue.lock();
        // Looked at under the lock that drains the queue: nothing is left in it.
        if self.stopping.load(Ordering::SeqCst) {
            drop(queue);
            task.abort();
            return;
        }
        queue.push(&account, task);
        self.available.notify_one();
    }

    /// Waits for the task that runs next; `waited` is called when there is none yet.
    fn next(&self, mut waited: impl FnMut()) -> Option<Arc<Task>> {
        let mut queue = self.queue.lock();
        loop {
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            match queue.pop(Instant::now()) {
                Next::Run(task) => {
                    if queue.has_ready() {
                        self.available.notify_one();
                    }
                    return Some(task);
                }
                Next::WaitUntil(until) => {
                    self.available.wait_until(&mut queue, until);
                }
                Next::Idle => self.available.wait(&mut queue),
            }
            waited();
        }
    }
}

/// Runs slices until the executor ends. What lies between two slices, such as the choice of the
/// second, is charged with it: a quota of slices would hold and that of the machine not.
fn work(shared: &Shared) {
    let mut charged = None;
    while let Some(task) = shared.next(|| charged = None) {
        charged = Some(task.run_queued(charged));
        // A thread that serves requests may wait for this CPU: the kernel alone would let it wait
        // for milliseconds.
        std::thread::yield_now();
    }
}

impl Executor {
    /// Starts as many threads as there are CPUs. `runtime` drives the guests'
    /// timers and I/O.
    pub fn new(runtime: &Handle) -> std::io::Result<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(runtime, cpus)
    }

    /// Starts this many threads.
    pub fn with_threads(runtime: &Handle, count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(RunQueue::new()),
            available: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let start = |number| {
            let (shared, runtime) = (shared.clone(), runtime.clone());
            std::thread::Builder::new().name(format!("guest-{number}")).spawn(move || {
                let _entered = runtime.enter();
                work(&shared);
            })
        };
        let threads = (0..count.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Runs `future` in slices charged to `account`.
    pub fn spawn(
        &self,
        account: &Arc<CpuAccount>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> GuestTask {
        let task = Task::new(self.shared.clone(), account.clone(), Box::pin(future));
        task.enqueue();
        GuestTask { task: Some(task) }
    }

    /// As [`Self::spawn`], but the first slice runs before this returns, on the
    /// calling thread, if the container has quota. The thread must be one of a
    /// tokio runtime.
    pub fn spawn_inline(
        &self,
        account: &Arc<CpuAccount>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> GuestTask {
        let task = Task::new(self.shared.clone(), account.clone(), Box::pin(future));
        if account.throttled_until(Instant::now()).is_some() {
            task.enqueue();
        } else {
            task.run(thread_cpu_time());
        }
        GuestTask { task: Some(task) }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Taken so that no worker is between its look at `stopping` and its wait.
        let left = self.shared.queue.lock().drain();
        self.shared.available.notify_all();
        left.iter().for_each(|task| task.abort());
        for thread in self.threads.drain(..) {
            // The last owner may be a guest's own future, dropped on a worker.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a guest executor thread panicked");
            }
        }
    }
}

/// A guest that runs; dropped, it is ended.
#[must_use = "a dropped task is ended"]
pub struct GuestTask {
    task: Option<Arc<Task>>,
}

impl GuestTask {
    /// Ends the guest within a slice.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }

    /// Whether the guest is at its end.
    pub fn is_done(&self) -> bool {
        self.task.as_ref().is_none_or(|task| task.is_done())
    }

    /// Lets the guest go on by itself.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for GuestTask {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests;
