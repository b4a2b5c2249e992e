//! The queues of the control loops, under client-go's names.
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Counter, Gauge, Histogram, Kind, Text};

/// client-go's bounds of queue and work durations.
const BOUNDS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// What is counted of one queue.
#[derive(Debug)]
pub struct WorkQueue {
    /// Keys that wait.
    pub depth: Gauge,
    /// Keys that were added.
    pub adds: Counter,
    /// Keys that were added again after a failure.
    pub retries: Counter,
    waited: Histogram<10>,
    worked: Histogram<10>,
}

impl Default for WorkQueue {
    fn default() -> Self {
        Self {
            depth: Gauge::new(),
            adds: Counter::new(),
            retries: Counter::new(),
            waited: Histogram::new(&BOUNDS),
            worked: Histogram::new(&BOUNDS),
        }
    }
}

impl WorkQueue {
    /// A key waited so long.
    pub fn waited(&self, time: Duration) {
        self.waited.observe(time);
    }

    /// A pass took so long.
    pub fn worked(&self, time: Duration) {
        self.worked.observe(time);
    }
}

/// The queues of this process: as many as control loops were started, less those that have ended.
static QUEUES: Mutex<Vec<(&str, Weak<WorkQueue>)>> = Mutex::new(Vec::new());

/// Shows a queue as long as it lives.
pub fn show(name: &'static str, queue: &Arc<WorkQueue>) {
    let mut queues = QUEUES.lock();
    queues.retain(|(_, queue)| queue.strong_count() > 0);
    queues.push((name, Arc::downgrade(queue)));
}

pub(super) fn write(text: &mut Text) {
    let mut queues: Vec<(&str, Arc<WorkQueue>)> = Vec::new();
    for (name, queue) in QUEUES.lock().iter() {
        // Of clusters that share a process, the first is shown.
        if let Some(queue) = queue.upgrade().filter(|_| queues.iter().all(|(n, _)| n != name)) {
            queues.push((name, queue));
        }
    }
    let mut each = |name, kind, help, write: fn(&mut super::Family<'_>, &str, &WorkQueue)| {
        let mut family = text.family(name, kind, help);
        for (name, queue) in &queues {
            write(&mut family, name, queue);
        }
    };
    let help = "Keys that wait.";
    each("workqueue_depth", Kind::Gauge, help, |family, name, queue| {
        family.sample(&[("name", name)], queue.depth.get());
    });
    let help = "Keys that were added.";
    each("workqueue_adds_total", Kind::Counter, help, |family, name, queue| {
        family.sample(&[("name", name)], queue.adds.get());
    });
    let help = "Passes that failed and are tried again.";
    each("workqueue_retries_total", Kind::Counter, help, |family, name, queue| {
        family.sample(&[("name", name)], queue.retries.get());
    });
    let help = "How long keys wait for their pass, in seconds.";
    each("workqueue_queue_duration_seconds", Kind::Histogram, help, |family, name, queue| {
        family.histogram(&[("name", name)], &queue.waited);
    });
    let help = "How long passes take, in seconds.";
    each("workqueue_work_duration_seconds", Kind::Histogram, help, |family, name, queue| {
        family.histogram(&[("name", name)], &queue.worked);
    });
}
