//! Numbers that many threads raise: one atomic operation, no lock.
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// More by `count`, which may be negative.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// From now on `value`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took, sorted into buckets.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64; N],
    /// Of each bucket alone; what is above all bounds is in `more`.
    counts: [AtomicU64; N],
    more: AtomicU64,
    nanos: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one with these upper bounds, in seconds and ascending.
    pub const fn new(bounds: &'static [f64; N]) -> Self {
        let counts = [const { AtomicU64::new(0) }; N];
        Self { bounds, counts, more: AtomicU64::new(0), nanos: AtomicU64::new(0) }
    }

    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts.get(bucket).unwrap_or(&self.more).fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Each upper bound with the number of observations at or below it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            sum += count.load(Ordering::Relaxed);
            (*bound, sum)
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        let below: u64 = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        below + self.above()
    }

    /// How many are above all bounds.
    pub(super) fn above(&self) -> u64 {
        self.more.load(Ordering::Relaxed)
    }

    /// All of them together, in seconds.
    pub(super) fn sum(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}
